//! An upstream's error answer: read once, and put into the shape that clients know.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use crate::{
    backend::Provider,
    classify::ErrorBody,
    dialect::Dialect,
    endpoint::Endpoint,
    error::Failure,
    render::{AnthropicErrors, OpenAiErrors, Refusal, Render, RequestSummary},
};

/// How much of an error's body is read.
pub(crate) const MOST: usize = 64 * 1024;

/// Reads an error's body, in OpenAI's, Anthropic's, Google's or a common framework's shape.
pub(crate) fn parse(body: &[u8], endpoint: Endpoint, provider: &Provider) -> ErrorBody {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    // Google wraps an error of a stream in a list.
    let value = value.get(0).unwrap_or(&value);
    let error = value.get("error").unwrap_or(value);
    let text = |v: &Value| match v {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    };
    // A key may be quoted in any of them.
    let field = |name: &str| error.get(name).and_then(text).map(|text| provider.mask(&text));
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    let message =
        error.as_str().map(|text| provider.mask(text)).or_else(|| field("message")).or_else(|| field("detail"));
    let too_long = message.as_deref().is_some_and(|message| is_too_long(provider.dialect, message));
    ErrorBody {
        endpoint: Some(endpoint),
        kind: field("type").or_else(|| field("status")),
        code: if too_long { Some("context_length_exceeded".to_owned()) } else { field("code") },
        param: field("param"),
        message,
        reason: details.filter_map(|d| d.get("reason").and_then(text)).next(),
        class: None,
    }
}

/// Anthropic and Google have no code for a request that is too long for the model; it is told by
/// the beginning of their own sentence, and of nobody else's.
fn is_too_long(dialect: Dialect, message: &str) -> bool {
    dialect.format().is_context_overflow(message)
}

/// How many seconds Google asks to wait, which says so in the error and not in a header.
pub(super) fn retry_delay(body: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get(0).unwrap_or(&value).get("error")?;
    let delays = error.get("details")?.as_array()?.iter().filter_map(|detail| detail.get("retryDelay")?.as_str());
    let seconds = delays.filter_map(|delay| delay.strip_suffix('s')?.parse::<f64>().ok()).next()?;
    // Whatever is no such number is 0, and what is endless is bounded by who reads it.
    Some(seconds.ceil() as u64)
}

/// The same failure, without the provider's secrets where it quotes the provider.
pub(super) fn masked(failure: Failure, provider: &Provider) -> Failure {
    let Failure::ErrorEvent(mut error) = failure else { return failure };
    let ErrorBody { kind, code, param, message, reason, .. } = &mut *error;
    for text in [kind, code, param, message, reason].into_iter().flatten() {
        *text = provider.mask(text);
    }
    Failure::ErrorEvent(error)
}

/// The body for the client, in the shape of the API that it called: as it came where it has that
/// shape and quotes no secret, else told anew.
pub(super) fn body(
    raw: Bytes,
    status: StatusCode,
    error: &ErrorBody,
    provider: &Provider,
    request_id: Option<&HeaderValue>,
) -> Bytes {
    // Read and written again, since an escape may hide what a client would read.
    let value = serde_json::from_slice::<Value>(&raw).unwrap_or_default();
    let plain = value.to_string();
    let secret = provider.mask(&plain) != plain;
    let messages = error.endpoint == Some(Endpoint::Messages);
    if !secret && if messages { has_anthropics_shape(&value) } else { has_openais_shape(&value) } {
        return raw;
    }
    let message = error.message.clone().unwrap_or_else(|| format!("the provider answered {}", status.as_u16()));
    let kind = error.kind.clone().unwrap_or_else(|| "invalid_request_error".to_owned());
    let mut refusal = Refusal::new(status, kind, message);
    refusal.code = error.code.clone().map(Into::into);
    refusal.param = error.param.clone().map(Into::into);
    let request = RequestSummary::default().with_request_id(request_id.cloned());
    if messages {
        AnthropicErrors.render(refusal, &request).into_body()
    } else {
        OpenAiErrors.render(refusal, &request).into_body()
    }
}

/// Whether it is `{"type":"error","error":{"type","message"}}`.
fn has_anthropics_shape(value: &Value) -> bool {
    let text = |name: &str| value.pointer(name).is_some_and(Value::is_string);
    value.get("type").is_some_and(|v| v == "error") && text("/error/type") && text("/error/message")
}

/// Whether it is `{"error":{"message","type","param","code"}}` with values of the right types.
fn has_openais_shape(value: &Value) -> bool {
    let Some(error) = value.get("error").and_then(Value::as_object) else { return false };
    let text_or_null = |name: &str| error.get(name).is_some_and(|v| v.is_string() || v.is_null());
    error.get("message").is_some_and(Value::is_string) && ["type", "param", "code"].into_iter().all(text_or_null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Provider {
        Provider::new("p", "https://host").unwrap().key("sk-the-key").unwrap()
    }

    #[test]
    fn every_common_shape_is_read() {
        let parse = |body: &str| parse(body.as_bytes(), Endpoint::ChatCompletions, &provider());
        let openai = parse(r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#);
        assert_eq!(
            (openai.kind.as_deref(), openai.code.as_deref(), openai.param.as_deref()),
            (Some("t"), Some("c"), Some("p"))
        );
        let anthropic = parse(r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
        assert!(anthropic.is_overload());
        let google = parse(
            r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
        );
        assert_eq!((google.code.as_deref(), google.reason.as_deref()), (Some("400"), Some("API_KEY_INVALID")));
        assert_eq!(parse(r#"{"error":"text"}"#).message.as_deref(), Some("text"));
        assert_eq!(parse(r#"{"detail":"text"}"#).message.as_deref(), Some("text"));
        assert_eq!(parse("<html>").message, None);
    }

    #[test]
    fn who_has_no_code_for_it_says_in_words_that_a_request_is_too_long() {
        let too_long = |dialect, body: &str| {
            let provider = Provider::new("p", "https://host").unwrap().dialect(dialect);
            parse(body.as_bytes(), Endpoint::ChatCompletions, &provider).is_too_long()
        };
        let claude =
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#;
        let google =
            r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"The input token count (9) exceeds 8"}}"#;
        assert!(too_long(Dialect::Claude, claude) && too_long(Dialect::Gemini, google));
        assert!(!too_long(Dialect::OpenAi, claude) && !too_long(Dialect::Claude, google));
    }

    #[test]
    fn google_says_in_the_error_how_long_to_wait() {
        let delay =
            |text: &str| retry_delay(format!(r#"{{"error":{{"details":[{{"retryDelay":{text}}}]}}}}"#).as_bytes());
        assert_eq!(
            (delay(r#""34.07s""#), delay(r#""0s""#), delay("3"), delay(r#""soon""#)),
            (Some(35), Some(0), None, None)
        );
    }

    #[test]
    fn a_body_in_shape_passes_untouched_and_others_are_told_anew() {
        let told = |raw: &'static str| {
            let error = parse(raw.as_bytes(), Endpoint::ChatCompletions, &provider());
            let body = body(Bytes::from_static(raw.as_bytes()), StatusCode::BAD_REQUEST, &error, &provider(), None);
            String::from_utf8(body.to_vec()).unwrap()
        };
        let good = r#"{"error": {"message":"m", "type":"t", "param":null, "code":null, "more":1}}"#;
        assert_eq!(told(good), good);
        assert_eq!(
            told(r#"{"error":{"message":"bad sk-the-key","type":"t","param":null,"code":7}}"#),
            r#"{"error":{"message":"bad ***","type":"t","param":null,"code":"7"}}"#
        );
        assert!(told("<html>oops</html>").contains("the provider answered 400"));
    }

    #[test]
    fn a_caller_of_messages_is_told_in_anthropics_shape() {
        let told = |raw: &'static str| {
            let error = parse(raw.as_bytes(), Endpoint::Messages, &provider());
            let id = HeaderValue::from_static("r1");
            let body =
                body(Bytes::from_static(raw.as_bytes()), StatusCode::BAD_REQUEST, &error, &provider(), Some(&id));
            String::from_utf8(body.to_vec()).unwrap()
        };
        let good = r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"},"request_id":"theirs"}"#;
        assert_eq!(told(good), good);
        assert_eq!(
            told(r#"{"error":{"message":"bad","type":"t","param":null,"code":null}}"#),
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"bad"},"request_id":"r1"}"#
        );
    }
}
