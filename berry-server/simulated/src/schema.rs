//! Generates a JSON value for a JSON schema, for tool calls and JSON mode.

use serde_json::{Map, Value};

/// The maximum depth of references and objects, because a schema may be recursive.
const MAX_DEPTH: usize = 8;

/// Returns a value with the required properties (all if none is required), the first alternative of each
/// choice, and `text` for unrestricted strings.
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
            "integer" => (smallest(schema).ceil() as i64).into(),
            "number" => smallest(schema).into(),
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
        let smallest = bound(schema, "minLength").unwrap_or(0.0) as usize;
        let mut text: String = self.text.chars().take(most).collect();
        let missing = smallest.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('.', missing));
        text
    }
}

/// Returns the name of the type in lower case, because Google uses upper case. Of several types it is the
/// first that is not null.
fn kind(schema: &Value) -> String {
    let name = match &schema["type"] {
        Value::Array(all) => all.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    let guess = if schema.get("properties").is_some() { "object" } else { "string" };
    name.unwrap_or(guess).to_ascii_lowercase()
}

fn bound(schema: &Value, key: &str) -> Option<f64> {
    // Google writes such counts as strings.
    let value = schema.get(key)?;
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// Returns the smallest number within the bounds, or 1 without bounds.
fn smallest(schema: &Value) -> f64 {
    let low = bound(schema, "minimum").or_else(|| bound(schema, "exclusiveMinimum").map(|low| low + 1.0));
    let high = bound(schema, "maximum").or_else(|| bound(schema, "exclusiveMaximum").map(|high| high - 1.0));
    low.unwrap_or_else(|| high.unwrap_or(1.0).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn generates_required_properties_of_the_right_types() {
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
    fn recursive_schema_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(fit(&schema, "x")["next"]["next"].is_object());
        assert_eq!(fit(&json!({"type": "string", "maxLength": 2}), "long"), json!("lo"));
        assert_eq!(fit(&json!({"anyOf": [{"type": "null"}, {"type": "string"}]}), "x"), Value::Null);
    }
}
