//! The number of values in a JSON text.

/// Returns about how many values a JSON text has, which bounds the memory that a tree of it takes. Of a text
/// that is not JSON, the number means nothing.
pub(crate) fn count_values(json: &[u8]) -> usize {
    let (mut values, mut rest) = (1, json);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b',' | b':' | b'[' | b'{' => values += 1,
            b'"' => rest = after_string(rest),
            _ => {}
        }
    }
    values
}

/// Returns what follows a string whose first quote has been read.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_values_outside_of_strings() {
        for (json, least, most) in [
            ("1", 1, 1),
            ("[1,2,3]", 4, 4),
            (r#"{"a":[{},"b,c:[{",null]}"#, 5, 7),
            (r#""\\\",,,,""#, 1, 1),
            (r#"["\\",1]"#, 3, 3),
            (r#""open"#, 1, 1),
            (r#""open\"#, 1, 1),
        ] {
            let counted = count_values(json.as_bytes());
            assert!((least..=most).contains(&counted), "{json}: {counted}");
        }
    }
}
