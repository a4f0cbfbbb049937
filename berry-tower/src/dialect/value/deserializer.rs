//! Reads a value as a type, without a detour over text.

use serde::{
    Deserializer,
    de::{
        Error as _, IntoDeserializer, Visitor,
        value::{BorrowedStrDeserializer, Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{Object, Value};

impl<'de> IntoDeserializer<'de, Error> for &'de Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Value {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., Some(number)) => visitor.visit_f64(number),
                _ => Err(Error::custom("a number that is none")),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(elements) => {
                let mut elements = SeqDeserializer::new(elements.iter());
                let value = visitor.visit_seq(&mut elements)?;
                elements.end().map(|()| value)
            }
            Value::Object(members) => {
                let mut members = access(members);
                let value = visitor.visit_map(&mut members)?;
                members.end().map(|()| value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Value::String(text) => visitor.visit_enum(BorrowedStrDeserializer::new(text)),
            Value::Object(members) => visitor.visit_enum(MapAccessDeserializer::new(access(members))),
            _ => Err(Error::custom("expected a text or an object")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

type Access<'de, I> = MapDeserializer<'de, I, Error>;

fn access(members: &Object) -> Access<'_, impl Iterator<Item = (BorrowedStrDeserializer<'_, Error>, &Value)>> {
    MapDeserializer::new(members.iter().map(|(name, value)| (BorrowedStrDeserializer::new(name), value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, de::DeserializeOwned};

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sample {
        count: Option<u32>,
        ratio: f64,
        #[serde(default)]
        words: Vec<String>,
        kind: Kind,
        tagged: Tagged,
        any: Any,
        #[serde(flatten)]
        other: Object,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Unit,
        Held(i8),
        Named { a: bool },
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Tagged {
        Text { text: String },
        Nothing,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Any {
        Number(i64),
        Pair(Box<(String, Value)>),
        Other(Value),
    }

    /// Reads the value directly and by its text.
    fn both<T: DeserializeOwned>(value: &Value) -> (Option<T>, Option<T>) {
        (value.read(), serde_json::from_str(&value.to_string()).ok())
    }

    #[test]
    fn reads_what_the_text_says() {
        for kind in [r#""unit""#, r#"{"held":-3}"#, r#"{"named":{"a":true}}"#, r#""held""#, "7", r#"{"unit":null}"#] {
            for (tagged, any) in [
                (r#"{"type":"text","text":"t"}"#, "-1"),
                (r#"{"type":"nothing"}"#, r#"["a",{"b":[1.5]}]"#),
                (r#"{"type":"unknown"}"#, "null"),
                (r#"{"type":"nothing"}"#, "[1,2,3]"),
            ] {
                let text = format!(
                    r#"{{"count":null,"ratio":2,"words":["a"],"kind":{kind},"tagged":{tagged},"any":{any},"z":{{"y":[]}}}}"#
                );
                let (direct, by_text) = both::<Sample>(&Value::parse(&text).unwrap());
                assert_eq!(direct, by_text, "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn types_read_of_any_value_what_its_text_says(
            text in r#"(null|true|-?(0|[1-9][0-9]{0,2})(\.5)?|"[a-z]{0,2}"|\[\]|\[1,2\]|\["a",null\]|\{\}|\{"unit":1\}|\{"held":1\}|\{"type":"text","text":"x"\})"#
        ) {
            let value = Value::parse(&text).unwrap();
            macro_rules! same {
                ($($type:ty),*) => {$(
                    let (direct, by_text) = both::<$type>(&value);
                    prop_assert_eq!(direct, by_text);
                )*};
            }
            same!(Value, bool, u8, i64, f64, String, char, Option<u32>, Vec<u8>, (u8, u8), (), Kind, Tagged, Any, Object);
        }
    }
}
