//! The names of tools: those within a namespace are flattened for formats without namespaces.

use sha2::{Digest, Sha256};

/// The longest name of a function.
const LONGEST: usize = 64;

/// The number of hexadecimal digits that stand for the rest of a long name.
const DIGITS: usize = 8;

/// Returns the name under which the model knows a tool: `namespace__name`, in the characters and the length that every
/// format takes. A name that must be changed ends in a hash of the whole.
pub(super) fn flat(namespace: Option<&str>, name: &str) -> String {
    let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) else { return name.to_owned() };
    let whole = format!("{namespace}__{name}");
    let plain: String = whole.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == whole && plain.len() <= LONGEST {
        return plain;
    }
    let hash = Sha256::digest(whole.as_bytes());
    let hash: String = hash.iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    let kept = plain.len().min(LONGEST - DIGITS - 1);
    // The characters are ASCII.
    format!("{}_{hash}", &plain[..kept])
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flattens_names_within_64_characters() {
        assert_eq!(flat(None, "read"), "read");
        assert_eq!(flat(Some("crm"), "find"), "crm__find");
        let (long, other) = ("n".repeat(70), format!("{}m", "n".repeat(70)));
        assert_eq!(flat(Some("ns"), &long).len(), 64);
        assert_ne!(flat(Some("ns"), &long), flat(Some("ns"), &other));
        let strange = flat(Some("täg.x"), "a b");
        assert!(strange.starts_with("t_g_x__a_b_") && strange.chars().all(is_plain), "{strange}");
    }
}
