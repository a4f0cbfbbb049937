//! Extracts the turn to answer from a `generateContent` request.

use crate::reply::{Choice, Tool, Turn, at_url, of_bytes};
use crate::words::count;
use serde_json::Value;

pub(super) fn parts(content: &Value) -> &[Value] {
    content["parts"].as_array().map_or(&[], Vec::as_slice)
}

/// Returns the declared functions with their paths.
pub(super) fn declarations(body: &Value) -> Vec<(String, &Value)> {
    let mut out = Vec::new();
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let functions = tool["functionDeclarations"].as_array().into_iter().flatten().enumerate();
        out.extend(functions.map(|(at, function)| (format!("tools.{index}.functionDeclarations.{at}"), function)));
    }
    out
}

pub(super) fn turn(body: &Value) -> Turn {
    let contents = body["contents"].as_array().map_or(&[][..], Vec::as_slice);
    let config = &body["generationConfig"];
    let last = contents.last();
    let ends_as_model = last.is_some_and(|content| content["role"] == "model");
    let users = || contents.iter().rev().filter(|content| content["role"] != "model");
    let stops = config["stopSequences"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Turn {
        asked: users().map(text).find(|text| !text.is_empty()).unwrap_or_default(),
        prefix: if ends_as_model { last.map(text).unwrap_or_default() } else { String::new() },
        limit: config["maxOutputTokens"].as_u64().and_then(|limit| usize::try_from(limit).ok()),
        stops: stops.filter(|stop| !stop.is_empty()).map(str::to_owned).collect(),
        media: users().next().map(|content| parts(content).iter().filter_map(medium).collect()).unwrap_or_default(),
        results: last.map(results).unwrap_or_default(),
        done: contents.iter().map(|content| results(content).len()).sum(),
        tools: tools(body),
        choice: choice(body),
        single: false,
        json: json(config),
        thinks: config["thinkingConfig"]["includeThoughts"] == Value::Bool(true),
        prompt: contents.iter().map(|content| count(&text(content)) + 4).sum::<usize>()
            + count(&text(&body["systemInstruction"]))
            + 3,
    }
}

/// Returns the text of a turn without thoughts.
fn text(content: &Value) -> String {
    let said = parts(content).iter().filter(|part| part["thought"] != Value::Bool(true));
    said.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
}

/// Returns the function results: a single text unchanged, anything else as JSON.
fn results(content: &Value) -> Vec<String> {
    let responses = parts(content).iter().filter_map(|part| part["functionResponse"]["response"].as_object());
    let result = |response: &serde_json::Map<String, Value>| match response.values().next() {
        Some(Value::String(text)) if response.len() == 1 => text.clone(),
        _ => Value::from(response.clone()).to_string(),
    };
    responses.map(result).collect()
}

fn medium(part: &Value) -> Option<String> {
    let blob = &part["inlineData"];
    match (blob["mimeType"].as_str(), blob["data"].as_str()) {
        (Some(media_type), Some(data)) => Some(of_bytes(media_type, data)),
        _ => part["fileData"]["fileUri"].as_str().map(at_url),
    }
}

/// Returns the functions that may be called.
fn tools(body: &Value) -> Vec<Tool> {
    let allowed = body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"].as_array();
    let tool = |(_, function): (String, &Value)| {
        let schema = function.get("parametersJsonSchema").or_else(|| function.get("parameters"));
        let name = function["name"].as_str()?;
        let may = allowed.is_none_or(|allowed| allowed.is_empty() || allowed.iter().any(|one| one == name));
        may.then(|| Tool { name: name.to_owned(), schema: schema.cloned().unwrap_or_default(), ..Tool::default() })
    };
    declarations(body).into_iter().filter_map(tool).collect()
}

fn choice(body: &Value) -> Choice {
    match body["toolConfig"]["functionCallingConfig"]["mode"].as_str() {
        Some("NONE") => Choice::No,
        Some("ANY") => Choice::Any,
        _ => Choice::Auto,
    }
}

fn json(config: &Value) -> Option<Value> {
    let schema = config.get("responseJsonSchema").or_else(|| config.get("responseSchema"));
    (config["responseMimeType"] == "application/json").then(|| schema.cloned().unwrap_or_default())
}
