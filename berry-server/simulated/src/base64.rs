//! Standard base64, which is too short to need a dependency.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= group.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// Returns the number of bytes that the text encodes; `None` if it is empty or not padded base64.
pub(super) fn decoded_len(text: &str) -> Option<usize> {
    let bytes = text.trim_end_matches('=');
    let padding = text.len() - bytes.len();
    let fits = !bytes.is_empty() && text.len().is_multiple_of(4) && padding <= 2;
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    (fits && bytes.bytes().all(is_letter)).then(|| text.len() / 4 * 3 - padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_standard_alphabet_and_padding() {
        let cases = [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in cases {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decoded_len(coded), Some(plain.len()));
        }
        assert_eq!(encode(b""), "");
        assert_eq!(encode(&[0xff, 0xfe, 0xfd]), "//79");
        for wrong in ["", "====", "Zg", "Zg=", "Zm9", "Z===", "Zm9-", "Z=g="] {
            assert_eq!(decoded_len(wrong), None, "{wrong}");
        }
    }
}
