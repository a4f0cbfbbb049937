//! Texts of an upstream without addresses and without what may be a key.

/// The longest text that is shown.
const MAX_TEXT: usize = 1_000;

/// Replaces addresses and key-like words, and cuts the text at 1,000 bytes.
pub(crate) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let mask = if bare.contains("://") {
            "[address]"
        } else if is_like_a_key(bare) {
            "[key]"
        } else {
            bare
        };
        if out.len() + mask.len() > MAX_TEXT {
            out.push('…');
            break;
        }
        out.push_str(mask);
        out.push_str(&word[bare.len()..]);
    }
    out
}

/// Whether a word begins like a key, or holds a long run of letters and digits mixed.
fn is_like_a_key(word: &str) -> bool {
    const LONG: usize = 24;
    let of_a_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.' | '/' | '+' | '=');
    word.split(|c| !of_a_key(c)).any(|run| {
        let begins = ["sk-", "pk-", "gsk_", "xai-", "AIza", "key="].iter().any(|b| run.contains(b));
        let mixed = run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_alphabetic());
        begins && run.len() >= 8 || mixed && run.split(['.', '/', '-']).any(|part| part.len() >= LONG)
    })
}
