//! A JSON value that fits a JSON schema: what simulated models call tools with and answer in JSON
//! mode.

use serde_json::{Map, Value};

/// References are followed, and objects entered, so deep; a schema may contain itself.
const MAX_DEPTH: usize = 8;

/// The value: required properties and no others (all when none is), the first of each choice, and
/// `text` wherever a string is free.
pub(super) fn fit(schema: &Value, text: &str) -> Value {
    SchemaSample { root: schema, text }.value(schema, 0)
}

struct SchemaSample<'a> {
    root: &'a Value,
    text: &'a str,
}

impl SchemaSample<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
            return value.clone();
        }
        let reference = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#'));
        let other = reference.and_then(|pointer| self.root.pointer(pointer));
        let first = || ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[key].get(0));
        if let Some(other) = other.or_else(first) {
            return self.value(other, depth + 1);
        }
        match kind(schema).as_str() {
            "object" => self.object(schema, depth),
            "array" => {
                let count = bound(schema, "minItems").unwrap_or(1.0) as usize;
                let item = self.value(&schema["items"], depth + 1);
                vec![item; count.min(MAX_DEPTH)].into()
            }
            "integer" => (least(schema).ceil() as i64).into(),
            "number" => least(schema).into(),
            "boolean" => true.into(),
            "null" => Value::Null,
            _ => self.string(schema).into(),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let Some(properties) = schema["properties"].as_object() else {
            return Map::new().into();
        };
        let required = schema["required"].as_array();
        let wanted = |name: &&String| required.is_none_or(|all| all.iter().any(|r| r.as_str() == Some(name)));
        let names = properties.keys().filter(wanted);
        names.map(|name| (name.clone(), self.value(&properties[name], depth + 1))).collect()
    }

    fn string(&self, schema: &Value) -> String {
        let most = bound(schema, "maxLength").unwrap_or(f64::MAX) as usize;
        let least = bound(schema, "minLength").unwrap_or(0.0) as usize;
        let mut text: String = self.text.chars().take(most).collect();
        let missing = least.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('.', missing));
        text
    }
}

/// The type's name in small letters (one provider writes it in capitals); of several the first
/// that is not null.
fn kind(schema: &Value) -> String {
    let name = match &schema["type"] {
        Value::Array(all) => all.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    let guess = if schema.get("properties").is_some() { "object" } else { "string" };
    name.unwrap_or(guess).to_ascii_lowercase()
}

fn bound(schema: &Value, key: &str) -> Option<f64> {
    // One provider writes such counts as strings.
    let value = schema.get(key)?;
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The least number that the bounds allow, or one where they are silent.
fn least(schema: &Value) -> f64 {
    let low = bound(schema, "minimum").or_else(|| bound(schema, "exclusiveMinimum").map(|low| low + 1.0));
    let high = bound(schema, "maximum").or_else(|| bound(schema, "exclusiveMaximum").map(|high| high - 1.0));
    low.unwrap_or_else(|| high.unwrap_or(1.0).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn required_properties_are_there_and_of_their_types() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["C", "F"]},
                "days": {"type": "integer", "minimum": 2},
                "tags": {"type": "array", "items": {"type": ["null", "boolean"]}},
                "at": {"$ref": "#/$defs/place"},
                "never": {"type": "number"},
            },
            "required": ["city", "unit", "days", "tags", "at"],
            "$defs": {"place": {"type": "object", "properties": {"x": {"type": "NUMBER"}, "within": {"$ref": "#/$defs/place"}}, "required": ["x"]}},
        });
        let fits = json!({"city": "Rome", "unit": "C", "days": 2, "tags": [true], "at": {"x": 1.0}});
        assert_eq!(fit(&schema, "Rome"), fits);
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(fit(&schema, "x")["next"]["next"].is_object());
        assert_eq!(fit(&json!({"type": "string", "maxLength": 2}), "long"), json!("lo"));
        assert_eq!(fit(&json!({"anyOf": [{"type": "null"}, {"type": "string"}]}), "x"), Value::Null);
    }
}
