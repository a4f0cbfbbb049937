//! Keys and tokens in texts that are shown.

use std::fmt;

use berry_tower::backend::secret_parts;
use secrecy::{ExposeSecret, SecretString};

use crate::config::Config;

/// Shorter secrets are no secrets, and masking them would garble every text.
const SHORTEST: usize = 6;
/// A word is as long as this before it is taken for a key.
const LIKE_A_KEY: usize = 20;
/// What the keys of well-known providers begin with.
const BEGINNINGS: [&str; 8] = ["sk-", "sk_", "pk-", "rk-", "AIza", "gsk_", "xai-", "hf_"];

/// Masks the secrets of one configuration: those that it holds always, and what looks like a key
/// unless a setting says otherwise.
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
        for secret in keys.chain(headers).chain(tokens).filter(|secret| secret.len() >= SHORTEST) {
            // Inside of JSON it may be written otherwise.
            let escaped = serde_json::to_string(secret).unwrap_or_default();
            let escaped = escaped.trim_matches('"');
            secrets.extend((escaped != secret).then(|| escaped.to_owned()));
            secrets.push(secret.to_owned());
        }
        // One may be the beginning of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets: secrets.into_iter().map(Into::into).collect(), lookalikes: config.settings.mask_api_keys }
    }

    /// How long what the end of a text has cut may be without being known, in bytes.
    pub(crate) fn longest(&self) -> usize {
        // The end may have cut a character too, which is another then.
        self.secrets.first().map_or(0, |secret| secret.expose_secret().len()).max(LIKE_A_KEY) + '\u{fffd}'.len_utf8()
    }

    /// The text without them.
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

/// A key as it is shown: `sk-…abcd`.
fn short(key: &str) -> String {
    let parts = (key.len() >= LIKE_A_KEY).then(|| Some((key.get(..3)?, key.get(key.len() - 4..)?))).flatten();
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
        let is_key = word.len() >= LIKE_A_KEY && BEGINNINGS.iter().any(|beginning| word.starts_with(beginning));
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
    fn secrets_of_the_configuration_are_masked_always_and_lookalikes_by_the_setting() {
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
    fn what_follows_a_headers_scheme_is_masked_and_a_short_value_is_not() {
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
