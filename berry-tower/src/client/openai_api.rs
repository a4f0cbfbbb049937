//! Refusals that say in which of OpenAI's two formats an upstream must be asked.

use http::StatusCode;

use crate::{backend::OpenAiApi, classify::ErrorBody, dialect::Dialect};

/// How OpenAI says that a model must be asked in Responses.
const NEEDS_RESPONSES: [&str; 3] = ["v1/responses", "responses api", "responses endpoint"];

/// The words of a 404 that is about something else than the address.
const OTHER_SUBJECTS: [&str; 5] = ["model", "previous response", "previous_response", "item with id", "conversation"];

/// Returns the format that an upstream needs which has refused a request in another one.
pub(super) fn needed(asked: Dialect, status: StatusCode, error: &ErrorBody) -> Option<OpenAiApi> {
    let message = error.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match asked {
        Dialect::Responses => {
            let code = error.code.as_deref().unwrap_or_default();
            let is_about_address = error.param.is_none()
                && !code.contains("model")
                && !code.contains("response")
                && !says(&OTHER_SUBJECTS);
            let is_missing =
                status == StatusCode::METHOD_NOT_ALLOWED || status == StatusCode::NOT_FOUND && is_about_address;
            is_missing.then_some(OpenAiApi::Chat)
        }
        Dialect::OpenAi => {
            let is_refused = matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND);
            (is_refused && says(&NEEDS_RESPONSES)).then_some(OpenAiApi::Responses)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_which_format_is_needed() {
        let error = |message: &str| ErrorBody::default().with_message(message);
        let needed =
            |asked, status: u16, error: &ErrorBody| needed(asked, StatusCode::from_u16(status).unwrap(), error);
        let (chat, responses) = (Some(OpenAiApi::Chat), Some(OpenAiApi::Responses));
        for (asked, status, error, expected) in [
            (Dialect::Responses, 404, error("Not Found"), chat),
            (Dialect::Responses, 404, error("Unknown request URL: POST /v1/responses").with_code("unknown_url"), chat),
            (Dialect::Responses, 405, error("Method Not Allowed"), chat),
            (Dialect::Responses, 404, error("The model `x` does not exist").with_code("model_not_found"), None),
            (Dialect::Responses, 404, error("Previous response with id 'resp_1' not found."), None),
            (Dialect::Responses, 400, error("Not Found"), None),
            (
                Dialect::OpenAi,
                400,
                error(
                    "Function tools with reasoning_effort are not supported for m in /v1/chat/completions. Please use /v1/responses instead.",
                ),
                responses,
            ),
            (
                Dialect::OpenAi,
                404,
                error("This model is only supported in v1/responses and not in v1/chat/completions."),
                responses,
            ),
            (Dialect::OpenAi, 400, error("messages is required"), None),
            (Dialect::Claude, 404, error("Not Found"), None),
        ] {
            assert_eq!(needed(asked, status, &error), expected, "{error:?}");
        }
    }
}
