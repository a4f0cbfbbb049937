//! Masks keys and tokens in logged text.

use std::fmt;

use berry_tower::backend::secret_parts;
use secrecy::{ExposeSecret, SecretString};

use crate::config::Config;

/// The shortest secret that is masked; masking shorter ones would garble every text.
const MIN_SECRET_BYTES: usize = 6;
/// The shortest word that may be a key.
const MIN_KEY_BYTES: usize = 20;
/// The prefixes of well-known providers' keys.
const KEY_PREFIXES: [&str; 8] = ["sk-", "sk_", "pk-", "rk-", "AIza", "gsk_", "xai-", "hf_"];

/// Masks the secrets of one configuration, and what looks like a key unless `mask_api_keys` is off.
pub(crate) struct Mask {
    secrets: Vec<SecretString>,
    lookalikes: bool,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").field("lookalikes", &self.lookalikes).finish_non_exhaustive()
    }
}

impl Mask {
    pub(crate) fn new(config: &Config) -> Self {
        let keys = config.providers.values().map(|provider| provider.api_key.expose_secret());
        let headers = config.providers.values().flat_map(|provider| provider.headers.values());
        let headers = headers.filter_map(|value| value.to_str().ok()).flat_map(secret_parts);
        let tokens = config.users.values().filter_map(|user| user.credential.token()).map(ExposeSecret::expose_secret);
        let mut secrets: Vec<String> = Vec::new();
        for secret in keys.chain(headers).chain(tokens).filter(|secret| secret.len() >= MIN_SECRET_BYTES) {
            // The secret as it stands in JSON.
            let escaped = serde_json::to_string(secret).unwrap_or_default();
            let escaped = escaped.trim_matches('"');
            secrets.extend((escaped != secret).then(|| escaped.to_owned()));
            secrets.push(secret.to_owned());
        }
        // A secret may be the prefix of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets: secrets.into_iter().map(Into::into).collect(), lookalikes: config.settings.mask_api_keys }
    }

    /// Returns the most bytes of a secret that a cut may leave unmasked.
    pub(crate) fn longest(&self) -> usize {
        // A cut character becomes a replacement character.
        self.secrets.first().map_or(0, |secret| secret.expose_secret().len()).max(MIN_KEY_BYTES) + '\u{fffd}'.len_utf8()
    }

    /// Returns the text with its secrets masked.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().map(ExposeSecret::expose_secret) {
            if text.contains(secret) {
                text = text.replace(secret, &short(secret));
            }
        }
        if self.lookalikes { without_lookalikes(&text) } else { text }
    }
}

/// Returns the masked form of a key: `sk-…abcd`.
fn short(key: &str) -> String {
    let parts = (key.len() >= MIN_KEY_BYTES).then(|| Some((key.get(..3)?, key.get(key.len() - 4..)?))).flatten();
    parts.map_or_else(|| "***".to_owned(), |(first, last)| format!("{first}…{last}"))
}

fn without_lookalikes(text: &str) -> String {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(in_word) {
        let (before, word) = rest.split_at(start);
        let (word, after) = word.split_at(word.find(|c| !in_word(c)).unwrap_or(word.len()));
        masked.push_str(before);
        let is_key = word.len() >= MIN_KEY_BYTES && KEY_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        if is_key {
            masked.push_str(&short(word));
        } else {
            masked.push_str(word);
        }
        rest = after;
    }
    masked + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BASIC_EXAMPLE, parse};

    fn mask(settings: &str, token: &str) -> Mask {
        let text = format!("[settings]\n{settings}\n[users.extra]\ntoken = {token:?}\n{BASIC_EXAMPLE}");
        let text = text.replace("[settings]\n\n", "");
        let key = |_: &str| Some("sk-of-the-house-0123456789wxyz".to_owned());
        Mask::new(&parse(&text, &key).unwrap().config)
    }

    #[test]
    fn masks_configured_secrets_always_and_lookalikes_by_setting() {
        let text = r#"{"a":"sk-of-the-house-0123456789wxyz","b":"quoted\"token-0123456789","c":"sk-from-elsewhere-0123456789abcd","d":"risk-free"}"#;
        let on = mask("", "quoted\"token-0123456789");
        assert_eq!(on.text(text), r#"{"a":"sk-…wxyz","b":"quo…6789","c":"sk-…abcd","d":"risk-free"}"#);
        let off = mask("mask_api_keys = false", "quoted\"token-0123456789");
        assert_eq!(
            off.text(text),
            r#"{"a":"sk-…wxyz","b":"quo…6789","c":"sk-from-elsewhere-0123456789abcd","d":"risk-free"}"#
        );
        assert!(!format!("{on:?}").contains("quoted"));
    }

    #[test]
    fn masks_what_follows_a_header_scheme_but_no_short_value() {
        let text = BASIC_EXAMPLE.replacen(
            "api_key =",
            "headers = { x-house = \"Bearer house-secret-0123456789\", x-version = \"2024-10-21\" }\napi_key =",
            1,
        );
        let mask = Mask::new(&parse(&text, &|_| Some("sk-of-the-house-0123456789wxyz".to_owned())).unwrap().config);
        let shown = mask.text("house-secret-0123456789 on 2024-10-21");
        assert_eq!(shown, "hou…6789 on 2024-10-21");
    }
}
