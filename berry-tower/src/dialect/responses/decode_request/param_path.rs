//! Maps the paths of a decoded request to those of the caller's.

use crate::dialect::hub;

/// Returns the caller's path for a path into the decoded request.
pub(in crate::dialect::responses) fn param_path(param: &str, request: &hub::Request) -> String {
    let Some(caller) = request.caller.as_deref() else { return param.to_owned() };
    if let Some((at, rest)) = indexed(param, "tools[") {
        return match caller.tool_paths.get(at) {
            Some(path) => format!("{path}{}", rest.replacen(".function", "", 1)),
            None => "tools".to_owned(),
        };
    }
    if let Some((at, rest)) = indexed(param, "messages[") {
        let Some(message) = caller.messages.get(at) else { return "input".to_owned() };
        let Some((call, rest)) = indexed(rest, ".tool_calls[") else {
            let is_output = request.messages.get(at).is_some_and(|message| message.role == hub::Role::Tool);
            return match rest.strip_prefix(".content") {
                Some(rest) if is_output => format!("{}.output{}", message.path, in_part(rest)),
                Some(rest) if !rest.is_empty() => format!("{}.content{}", message.path, in_part(rest)),
                _ if message.path == "instructions" || message.path == "input" => message.path.clone(),
                _ => format!("{}{}", message.path, rest.replacen(".tool_call_id", ".call_id", 1)),
            };
        };
        let path = message.calls.get(call).map_or("input", |path| path);
        let rest = rest.replacen(".function", "", 1);
        return format!("{path}{}", if rest == ".id" { ".call_id" } else { &rest });
    }
    let (first, rest) = param.split_at(param.find(['.', '[']).unwrap_or(param.len()));
    let first = match first {
        "messages" => "input",
        "max_completion_tokens" | "max_tokens" => "max_output_tokens",
        "reasoning_effort" => "reasoning.effort",
        "response_format" => "text.format",
        "verbosity" => "text.verbosity",
        "logprobs" => "top_logprobs",
        "tool_choice" => return format!("{first}{}", rest.replacen(".function", "", 1)),
        first => first,
    };
    format!("{first}{}", rest.replacen(".json_schema", "", 1))
}

/// Returns the caller's path within a list of parts, whose members are those of objects in chat requests.
fn in_part(rest: &str) -> String {
    rest.replacen(".file.", ".", 1).replacen(".image_url.url", ".image_url", 1)
}

/// Splits `name[3].rest` into the index and the rest.
fn indexed<'a>(param: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let (index, rest) = param.strip_prefix(name)?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}
