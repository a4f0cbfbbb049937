//! An upstream's error response: read once, and put into the shape that clients expect.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::error_table::{self, Fault};
use crate::{
    backend::Provider,
    classify::ErrorBody,
    endpoint::Endpoint,
    error::Failure,
    mask,
    render::{AnthropicErrors, OpenAiErrors, Refusal, Render, RequestSummary},
    sse::scan::BASE_RESP,
};

/// The bytes of an error's body that are read.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// The longest body that is no JSON and is shown.
const MAX_PLAIN_TEXT: usize = 1024;
/// The longest `type`, `code` and `param` that are shown.
const MAX_WORD: usize = 200;

/// Reads an error's body in the shapes of OpenAI, Anthropic, Google, FastAPI (a `detail`, also under
/// `message`), llama.cpp, DashScope, MiniMax (`base_resp`), and as a plain text. Its
/// [class](ErrorBody::class) is set where the [table](error_table) knows what the error means.
pub(crate) fn parse(body: &[u8], endpoint: Endpoint, provider: &Provider) -> ErrorBody {
    let json = serde_json::from_slice::<Value>(body);
    let plain = if json.is_err() { plain_text(body) } else { None };
    let value = json.unwrap_or_default();
    // Google wraps the error of a stream in a list.
    let value = value.get(0).unwrap_or(&value);
    let none = Map::new();
    let top = value.as_object().unwrap_or(&none);
    let error = top.get("error").and_then(Value::as_object).unwrap_or(top);
    if let Some(inner) = passed_on(error).map(|raw| parse(&raw, endpoint, provider))
        && (inner.message.is_some() || inner.class.is_some())
    {
        return inner;
    }
    let (message, field) = message(top, error);
    let message = message.or(plain);
    let word = |names: &[&str]| names.iter().find_map(|name| error.get(*name).and_then(scalar));
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    let reasons: Vec<String> = details.filter_map(|detail| detail.get("reason").and_then(scalar)).collect();
    let base = top.get("base_resp").and_then(|base| base.get("status_code")).and_then(Value::as_i64);
    let (kind, code) = (word(&["type", "status"]), word(&["code"]));

    let status = error.get("status").and_then(scalar);
    let codes = [&code, &kind, &status].into_iter().flatten().chain(&reasons);
    let dialect = provider.dialect();
    let fault = codes.filter_map(|code| error_table::by_code(dialect, code)).next();
    let sentence = message.as_deref().and_then(|message| error_table::by_sentence(dialect, message));
    // MiniMax's sentences say more than its numbers.
    let fault = fault.or(sentence).or_else(|| base.and_then(error_table::by_minimax));
    let fault = fault.filter(|fault| *fault != Fault::AccountBound || endpoint == Endpoint::Responses);

    // A key may be quoted in any of them.
    let shown = |text: String| clipped(mask::masked(&provider.mask(&text)));
    ErrorBody {
        endpoint: Some(endpoint),
        kind: kind.map(shown),
        code: if fault == Some(Fault::TooLong) { Some("context_length_exceeded".to_owned()) } else { code.map(shown) },
        param: word(&["param"]).or(field).map(shown),
        message: message.map(|text| mask::masked(&provider.mask(&text))),
        reason: reasons.into_iter().next(),
        class: fault.map(Fault::class),
    }
}

/// The error of another provider that OpenRouter passes on, as JSON: `{"message":"Provider returned error",
/// "metadata":{"raw":"…"}}` (https://openrouter.ai/docs/api-reference/errors).
fn passed_on(error: &Map<String, Value>) -> Option<Vec<u8>> {
    let raw = error.get("metadata")?.get("raw")?;
    error.get("message").filter(|message| **message == "Provider returned error")?;
    let text = match raw {
        Value::String(text) => text,
        raw => return Some(raw.to_string().into_bytes()),
    };
    let is_json = serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object() || value.is_array());
    match text.as_str() {
        "" => None,
        json if is_json => Some(json.as_bytes().to_vec()),
        text => Some(serde_json::json!({ "message": text }).to_string().into_bytes()),
    }
}

/// A text, or a number as its digits.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn clipped(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().find(|(at, _)| *at > MAX_WORD) {
        text.truncate(at);
    }
    text
}

/// The message, and the field that it is about where the shape names one.
fn message(top: &Map<String, Value>, error: &Map<String, Value>) -> (Option<String>, Option<String>) {
    let base = top.get("base_resp").and_then(|base| base.get("status_msg"));
    let values = [error.get("message"), error.get("detail"), top.get("error"), error.get("msg"), base];
    // Baidu's, and those of frameworks that list errors.
    let rarer = ["error_msg", "error_message", "errors"].map(|name| error.get(name));
    for value in values.into_iter().chain(rarer).flatten() {
        let value = value.get("detail").unwrap_or(value);
        let value = value.get("message").unwrap_or(value);
        match value {
            Value::String(text) => return (Some(text.clone()), None),
            Value::Array(problems) => {
                if let Some(found) = validation(problems).or_else(|| Some((Some(listed(problems)?), None))) {
                    return found;
                }
            }
            _ => {}
        }
    }
    (None, None)
}

/// The messages of a list of errors as one text.
fn listed(errors: &[Value]) -> Option<String> {
    let texts = errors.iter().filter_map(|error| error.get("message").unwrap_or(error).as_str());
    let text = texts.collect::<Vec<_>>().join("; ");
    (!text.is_empty()).then_some(text)
}

/// A body that is no JSON but a short text.
fn plain_text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body.get(..MAX_PLAIN_TEXT.min(body.len()))?).ok()?.trim();
    (body.len() <= MAX_PLAIN_TEXT && !text.is_empty() && !text.starts_with(['<', '{', '['])).then(|| text.to_owned())
}

/// FastAPI's list of validation problems, `{loc, msg}` each, as one text and the first field.
fn validation(problems: &[Value]) -> Option<(Option<String>, Option<String>)> {
    let mut field = None;
    let mut text = String::new();
    for problem in problems {
        let Some(what) = problem.get("msg").and_then(Value::as_str) else { continue };
        let steps = problem.get("loc").and_then(Value::as_array).into_iter().flatten().filter_map(scalar);
        let path = steps.skip_while(|step| step == "body").collect::<Vec<_>>().join(".");
        if !text.is_empty() {
            text.push_str("; ");
        }
        if !path.is_empty() {
            text.push_str(&path);
            text.push_str(": ");
        }
        text.push_str(what);
        field = field.or((!path.is_empty()).then_some(path));
    }
    (!text.is_empty()).then_some((Some(text), field))
}

/// The seconds that Google asks to wait, which are in the error and not in a header.
pub(super) fn retry_delay(body: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get(0).unwrap_or(&value).get("error")?;
    let delays = error.get("details")?.as_array()?.iter().filter_map(|detail| detail.get("retryDelay")?.as_str());
    let seconds = delays.filter_map(|delay| delay.strip_suffix('s')?.parse::<f64>().ok()).next()?;
    // A cast of what is no such number is 0, and the reader bounds it.
    Some(seconds.ceil() as u64)
}

/// The same failure, without the provider's secrets, and with the class that the error has.
pub(super) fn masked(failure: Failure, provider: &Provider) -> Failure {
    let Failure::ErrorEvent(mut error) = failure else { return failure };
    error.class = error.class.or_else(|| class_of(&error, provider));
    // A mark of the readers, and no word of the provider's.
    error.kind = error.kind.take().filter(|kind| kind != BASE_RESP);
    let ErrorBody { kind, code, param, message, reason, .. } = &mut *error;
    for text in [kind, code, param, message, reason].into_iter().flatten() {
        *text = provider.mask(text);
    }
    Failure::ErrorEvent(error)
}

/// The class of an error event, by its codes and its message.
fn class_of(error: &ErrorBody, provider: &Provider) -> Option<crate::classify::Class> {
    let codes = [&error.code, &error.kind, &error.reason].into_iter().flatten();
    let fault = codes.filter_map(|code| error_table::by_code(provider.dialect(), code)).next();
    let sentence = || error_table::by_sentence(provider.dialect(), error.message.as_deref()?);
    let number = || {
        error.kind.as_deref().filter(|kind| *kind == BASE_RESP)?;
        error_table::by_minimax(error.code.as_deref()?.parse().ok()?)
    };
    fault.or_else(sentence).or_else(number).map(Fault::class)
}

/// The body for the client, in the shape of the API that it called: unchanged where it has that
/// shape and quotes neither a secret nor an address, else written anew.
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
    let quotes = provider.mask(&plain) != plain || plain.contains("://") || !is_shown_as_it_is(&value, error);
    let messages = error.endpoint == Some(Endpoint::Messages);
    if !quotes && if messages { has_anthropics_shape(&value) } else { has_openais_shape(&value) } {
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

/// Whether the message and the field are shown as they are.
fn is_shown_as_it_is(value: &Value, error: &ErrorBody) -> bool {
    let text = |name: &str| value.pointer(name).and_then(Value::as_str);
    text("/error/message") == error.message.as_deref()
        && text("/error/param").is_none_or(|param| error.param.as_deref() == Some(param))
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
    use crate::{classify::Class, dialect::Dialect};

    fn provider() -> Provider {
        Provider::new("p", "https://host").unwrap().with_key("sk-the-key").unwrap()
    }

    #[test]
    fn reads_every_common_shape() {
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
        for body in [
            "text",
            r#"{"detail":{"message":"text"}}"#,
            r#"{"errors":[{"message":"text"}]}"#,
            r#"{"errors":["text"]}"#,
            r#"{"error":{"code":400,"errors":[{"message":"text"}]}}"#,
            r#"{"error_code":336003,"error_msg":"text"}"#,
        ] {
            assert_eq!(parse(body).message.as_deref(), Some("text"), "{body}");
        }
    }

    #[test]
    fn reads_validation_errors_as_lists() {
        let problem =
            r#"[{"type":"extra_forbidden","loc":["body","tools",0,"strict"],"msg":"Extra inputs are not permitted"}]"#;
        for body in [
            format!(r#"{{"detail":{problem}}}"#),
            format!(
                r#"{{"object":"error","message":{{"detail":{problem}}},"type":"invalid_request_error","code":null}}"#
            ),
            format!(r#"{{"object":"Error","detail":{problem},"message":{problem},"code":3001}}"#),
        ] {
            let error = parse(body.as_bytes(), Endpoint::ChatCompletions, &provider());
            assert_eq!(error.message.as_deref(), Some("tools.0.strict: Extra inputs are not permitted"), "{body}");
            assert_eq!(error.param.as_deref(), Some("tools.0.strict"));
        }
    }

    #[test]
    fn the_class_comes_from_codes_first_and_then_from_the_vendors_sentence() {
        let class = |dialect, endpoint, body: &str| {
            let provider = Provider::new("p", "https://host").unwrap().with_dialect(dialect);
            parse(body.as_bytes(), endpoint, &provider).class
        };
        let chat = |body| class(Dialect::OpenAi, Endpoint::ChatCompletions, body);
        assert_eq!(chat(r#"{"code":"Arrearage","message":"Access denied"}"#), Some(Class::Auth));
        assert_eq!(
            chat(r#"{"error":{"message":"Model Not Exist","type":"invalid_request_error"}}"#),
            Some(Class::Model)
        );
        assert_eq!(
            chat(r#"{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#),
            Some(Class::Auth)
        );
        assert_eq!(chat(r#"{"error":{"code":400,"type":"exceed_context_size_error"}}"#), Some(Class::TooLong));
        assert_eq!(chat(r#"{"error":{"message":"a wrong value: Model Not Exist"}}"#), None);
        let lost = r#"{"error":{"message":"x","type":"invalid_request_error","code":"previous_response_not_found"}}"#;
        assert_eq!(class(Dialect::OpenAi, Endpoint::Responses, lost), Some(Class::EndpointNotServed));
        assert_eq!(chat(lost), None);
        let location =
            r#"{"error":{"code":400,"message":"User location is not supported","status":"FAILED_PRECONDITION"}}"#;
        assert_eq!(class(Dialect::Gemini, Endpoint::ChatCompletions, location), Some(Class::Auth));
        assert_eq!(chat(location), None);
    }

    #[test]
    fn reads_the_error_that_a_router_passes_on() {
        let parse = |raw: &str| {
            let metadata = serde_json::json!({ "raw": raw, "provider_name": "X" });
            let error = serde_json::json!({ "message": "Provider returned error", "code": 400, "metadata": metadata });
            let body = serde_json::json!({ "error": error }).to_string();
            parse(body.as_bytes(), Endpoint::ChatCompletions, &provider())
        };
        let long = parse(r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#);
        assert_eq!((long.class, long.message.as_deref()), (Some(Class::TooLong), Some("too long")));
        assert_eq!(parse("Model Not Exist").class, Some(Class::Model));
        assert_eq!(parse("").message.as_deref(), Some("Provider returned error"));
    }

    #[test]
    fn detects_context_overflow_without_error_code() {
        let too_long = |dialect, body: &str| {
            let provider = Provider::new("p", "https://host").unwrap().with_dialect(dialect);
            parse(body.as_bytes(), Endpoint::ChatCompletions, &provider).is_too_long()
        };
        let claude =
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#;
        let google = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"The input token count (9) exceeds the maximum number of tokens allowed (8)."}}"#;
        assert!(too_long(Dialect::Claude, claude) && too_long(Dialect::Gemini, google));
        assert!(!too_long(Dialect::OpenAi, claude) && !too_long(Dialect::Claude, google));
    }

    #[test]
    fn reads_googles_retry_delay() {
        let delay =
            |text: &str| retry_delay(format!(r#"{{"error":{{"details":[{{"retryDelay":{text}}}]}}}}"#).as_bytes());
        assert_eq!(
            (delay(r#""34.07s""#), delay(r#""0s""#), delay("3"), delay(r#""soon""#)),
            (Some(35), Some(0), None, None)
        );
    }

    #[test]
    fn passes_bodies_in_shape_and_rewrites_others() {
        let rendered = |raw: &'static str| {
            let error = parse(raw.as_bytes(), Endpoint::ChatCompletions, &provider());
            let body = body(Bytes::from_static(raw.as_bytes()), StatusCode::BAD_REQUEST, &error, &provider(), None);
            String::from_utf8(body.to_vec()).unwrap()
        };
        let good = r#"{"error": {"message":"m", "type":"t", "param":null, "code":null, "more":1}}"#;
        assert_eq!(rendered(good), good);
        assert_eq!(
            rendered(r#"{"error":{"message":"bad sk-the-key","type":"t","param":null,"code":7}}"#),
            r#"{"error":{"message":"bad ***","type":"t","param":null,"code":"7"}}"#
        );
        assert!(rendered("<html>oops</html>").contains("the provider answered 400"));
        let address =
            rendered(r#"{"error":{"message":"see https://host.internal/x","type":"t","param":null,"code":null}}"#);
        assert!(address.contains("see [address]"), "{address}");
    }

    #[test]
    fn messages_errors_have_anthropics_shape() {
        let rendered = |raw: &'static str| {
            let error = parse(raw.as_bytes(), Endpoint::Messages, &provider());
            let id = HeaderValue::from_static("r1");
            let body =
                body(Bytes::from_static(raw.as_bytes()), StatusCode::BAD_REQUEST, &error, &provider(), Some(&id));
            String::from_utf8(body.to_vec()).unwrap()
        };
        let good = r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"},"request_id":"theirs"}"#;
        assert_eq!(rendered(good), good);
        assert_eq!(
            rendered(r#"{"error":{"message":"bad","type":"t","param":null,"code":null}}"#),
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"bad"},"request_id":"r1"}"#
        );
    }
}
