//! Decodes a chat request of a caller.

use crate::dialect::{hub, unsupported::UnsupportedField, value::Value};

/// Decodes a request.
///
/// # Errors
/// The field that is not of the format.
pub(super) fn decode_request(body: &[u8]) -> Result<hub::Request, UnsupportedField> {
    let mut request = hub::Request::parse(body)?;
    allow_tools(&mut request);
    Ok(request)
}

/// Replaces a choice of the type `allowed_tools` by its mode, with the tools that it allows.
fn allow_tools(request: &mut hub::Request) {
    let Some(hub::ToolChoice::Other(choice)) = &request.tool_choice else { return };
    if choice.get("type").is_none_or(|kind| *kind != "allowed_tools") {
        return;
    }
    let choice = choice.get("allowed_tools").unwrap_or(choice);
    let mode = match choice.get("mode").and_then(Value::as_str) {
        Some("required") => hub::ToolMode::Required,
        Some("auto") | None => hub::ToolMode::Auto,
        Some(_) => return,
    };
    let name =
        |tool: &Value| tool.get("function").unwrap_or(tool).get("name").and_then(Value::as_str).map(str::to_owned);
    let allowed: Vec<String> =
        choice.get("tools").and_then(Value::as_array).unwrap_or_default().iter().filter_map(name).collect();
    if let Some(tools) = &mut request.tools {
        tools.retain(|tool| tool.function.as_ref().is_none_or(|function| allowed.contains(&function.name)));
    }
    request.tool_choice = Some(hub::ToolChoice::Mode(mode));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_choice_of_allowed_tools_leaves_the_others_out() {
        let tool = |name: &str| json!({ "type": "function", "function": { "name": name } });
        let choice =
            |mode: &str| json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": [tool("b")] } });
        let decoded = |mode: &str| {
            let body =
                json!({ "model": "m", "messages": [], "tools": [tool("a"), tool("b")], "tool_choice": choice(mode) });
            decode_request(body.to_string().as_bytes()).unwrap()
        };
        let request = decoded("required");
        assert_eq!(request.tool_choice, Some(hub::ToolChoice::Mode(hub::ToolMode::Required)));
        let names: Vec<_> = request.tools.unwrap().into_iter().map(|tool| tool.function.unwrap().name).collect();
        assert_eq!(names, ["b"]);
        assert_eq!(decoded("auto").tool_choice, Some(hub::ToolChoice::Mode(hub::ToolMode::Auto)));
        assert_eq!(decoded("odd").tools.unwrap().len(), 2);
    }

    #[test]
    fn a_picture_may_be_a_mere_address() {
        let part = json!({ "type": "image_url", "image_url": "https://x.example/a.png" });
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": [part] }] });
        let request = decode_request(body.to_string().as_bytes()).unwrap();
        let Some(hub::Content::Parts(parts)) = &request.messages[0].content else { panic!() };
        let expected = hub::ImageUrl { url: "https://x.example/a.png".to_owned(), detail: None };
        assert_eq!(parts[..], [hub::Part::ImageUrl { image_url: expected, other: hub::Other::default() }]);
    }
}
