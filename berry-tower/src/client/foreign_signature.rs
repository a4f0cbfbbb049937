//! Refusals of signed reasoning: the upstream takes a signature only from its own account, model or conversation.

use http::StatusCode;

use crate::{classify::ErrorBody, dialect::Dialect};

/// Whether a refusal is about a signature, so that the request may succeed without signed reasoning.
pub(super) fn is_refused(asked: Dialect, status: StatusCode, error: &ErrorBody) -> bool {
    let message = error.message.as_deref().unwrap_or_default();
    status == StatusCode::BAD_REQUEST
        && match asked {
            // messages.1.content.0: Invalid `signature` in `thinking` block …
            Dialect::Claude => {
                message.contains("Invalid `signature` in `thinking` block")
                    || message.contains("Invalid `data` in `redacted_thinking` block")
            }
            // Corrupted thought signature. Thought signature is not valid …
            Dialect::Gemini => message.to_ascii_lowercase().contains("thought signature"),
            Dialect::Responses => {
                error.code.as_deref() == Some("invalid_encrypted_content")
                    || message.starts_with("The encrypted content ") && message.contains("could not be verified")
            }
            Dialect::OpenAi => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_words_of_each_provider() {
        let is_refused = |asked, status: u16, message: &str| {
            is_refused(asked, StatusCode::from_u16(status).unwrap(), &ErrorBody::default().with_message(message))
        };
        let claude = "messages.1.content.0: Invalid `signature` in `thinking` block";
        assert!(is_refused(Dialect::Claude, 400, claude));
        assert!(is_refused(
            Dialect::Claude,
            400,
            &format!("{claude}. The block is bound to a different conversation.")
        ));
        assert!(is_refused(Dialect::Gemini, 400, "Corrupted thought signature."));
        assert!(is_refused(Dialect::Gemini, 400, "Thought signature is not valid"));
        assert!(!is_refused(Dialect::Gemini, 400, claude) && !is_refused(Dialect::OpenAi, 400, claude));
        let openai =
            "The encrypted content gAAA... could not be verified. Reason: it could not be decrypted or parsed.";
        assert!(is_refused(Dialect::Responses, 400, openai) && !is_refused(Dialect::OpenAi, 400, openai));
        assert!(!is_refused(Dialect::Claude, 429, claude) && !is_refused(Dialect::Claude, 400, "messages: required"));
    }
}
