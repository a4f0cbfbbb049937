//! The published rules of `generateContent` requests that a table cannot express.

use super::tables::REQUEST;
use super::turn::{declarations, parts};
use crate::base64::decoded_len;
use crate::check::{Checked, Problem, Violation};
use crate::refusal::Refusal;
use serde_json::Value;

/// The data fields of a part, which must have exactly one of them.
const DATA: [&str; 7] =
    ["text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"];
const MEDIA: [&str; 9] = [
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/heic",
    "image/heif",
    "application/pdf",
    "audio/",
    "video/",
    "text/",
];
/// The maximum number of stop sequences, and the maximum length of a function name.
const MAX_STOPS: usize = 5;
const MAX_NAME: usize = 64;

pub(super) fn check(body: &Value) -> Result<(), Refusal> {
    REQUEST.check(body, true).and_then(|()| rules(body)).map_err(words)
}

/// Checks a request for the count of a prompt's tokens: bare contents, or a whole request that names its model.
pub(super) fn check_count(body: &Value, model: &str) -> Result<(), Refusal> {
    let unknown = |name: &str| Problem::new(Violation::Unknown).under_key(name);
    let mut fields = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    if let Some(name) = fields.find(|name| !matches!(*name, "contents" | "generateContentRequest")) {
        return Err(words(unknown(name)));
    }
    match (body.get("contents"), body.get("generateContentRequest")) {
        (Some(_), Some(_)) => rule("contents", "it and 'generateContentRequest' exclude each other").map_err(words),
        (_, Some(whole)) if whole["model"] != format!("models/{model}") => {
            rule("generateContentRequest.model", "it must be the model of the address").map_err(words)
        }
        (_, Some(whole)) => {
            let mut whole = whole.clone();
            whole.as_object_mut().map(|fields| fields.remove("model"));
            check(&whole)
        }
        _ => check(body),
    }
}

fn words(problem: Problem) -> Refusal {
    let path = problem.bracketed();
    let message = match problem.wrong.clone() {
        Violation::Unknown => {
            let (parent, name) = problem.split();
            let place = parent.bracketed();
            let place = if place.is_empty() { place } else { format!(" at '{place}'") };
            format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field.")
        }
        Violation::Missing => format!("* {path}: required field is missing"),
        Violation::Not(expected) => format!("Invalid value at '{path}': expected {expected}"),
        Violation::Rule(rule) => format!("* {path}: {rule}"),
    };
    Refusal::invalid(message).param(path)
}

fn rule<T>(path: &str, text: &str) -> Result<T, Problem> {
    Err(Problem::rule(path, text))
}

fn rules(body: &Value) -> Checked {
    let contents = body["contents"].as_array().map_or(&[][..], Vec::as_slice);
    if contents.is_empty() {
        return rule("contents", "contents is not specified");
    }
    for (index, content) in contents.iter().enumerate() {
        if content["role"].is_null() && contents.len() > 1 {
            return rule(&format!("contents.{index}.role"), "please use a valid role: user, model");
        }
        let is_model = content["role"] == "model";
        if parts(content).is_empty() {
            return rule(&format!("contents.{index}.parts"), "must not be empty");
        }
        for (at, given) in parts(content).iter().enumerate() {
            part(&format!("contents.{index}.parts.{at}"), given, is_model)?;
        }
    }
    for (at, part) in parts(&body["systemInstruction"]).iter().enumerate() {
        if part["text"].as_str().is_none_or(str::is_empty) {
            return rule(&format!("systemInstruction.parts.{at}"), "only text is supported");
        }
    }
    tools(body)?;
    generation(&body["generationConfig"])?;
    answered_calls(contents)
}

fn part(path: &str, part: &Value, is_model: bool) -> Checked {
    let given = DATA.iter().filter(|field| part.get(**field).is_some_and(|value| !value.is_null()));
    let given: Vec<_> = given.copied().collect();
    let has_text = part["text"].as_str().is_none_or(|text| !text.is_empty() || part.get("thoughtSignature").is_some());
    match given.as_slice() {
        ["functionResponse"] if is_model => rule(path, "a functionResponse belongs in a user's turn"),
        ["functionCall"] if !is_model => rule(path, "a functionCall belongs in a model's turn"),
        ["inlineData"] => {
            let blob = &part["inlineData"];
            let media_type = blob["mimeType"].as_str().unwrap_or_default();
            if !MEDIA.iter().any(|known| media_type.starts_with(known)) {
                return rule(&format!("{path}.inlineData.mimeType"), &format!("unsupported MIME type: {media_type}"));
            }
            match blob["data"].as_str().and_then(decoded_len) {
                Some(_) => Ok(()),
                None => rule(&format!("{path}.inlineData.data"), "Base64 decoding failed"),
            }
        }
        [_] if has_text => Ok(()),
        _ => rule(&format!("{path}.data"), "required oneof field 'data' must have one initialized field"),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    let begins = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.len() <= MAX_NAME && name.as_bytes().first().is_some_and(begins) && name.bytes().all(fits)
}

fn tools(body: &Value) -> Checked {
    let declared = declarations(body);
    let mut names: Vec<&str> = Vec::new();
    for (path, function) in &declared {
        let name = function["name"].as_str().unwrap_or_default();
        if !is_name(name) {
            return rule(
                &format!("{path}.name"),
                "Invalid function name. Must start with a letter or an underscore, and be of letters, digits, \
                 underscores, dots, colons or dashes, 64 at most",
            );
        }
        if names.contains(&name) {
            return rule(&format!("{path}.name"), &format!("Duplicate function declaration found: {name}"));
        }
        names.push(name);
        if function.get("parameters").is_some() && function.get("parametersJsonSchema").is_some() {
            return rule(&format!("{path}.parametersJsonSchema"), "it and 'parameters' exclude each other");
        }
        let schema = &function["parametersJsonSchema"];
        if schema.as_object().is_some_and(|schema| schema.get("type").is_some_and(|kind| kind != "object")) {
            return rule(&format!("{path}.parametersJsonSchema"), "schema type should be 'object'");
        }
    }
    let config = &body["toolConfig"]["functionCallingConfig"];
    let (mode, path) = (config["mode"].as_str().unwrap_or("AUTO"), "toolConfig.functionCallingConfig");
    if mode == "ANY" && names.is_empty() {
        return rule(&format!("{path}.mode"), "Function calling mode is ANY but no function declarations are given");
    }
    let allowed = config["allowedFunctionNames"].as_array().map_or(&[][..], Vec::as_slice);
    if !allowed.is_empty() && !matches!(mode, "ANY" | "VALIDATED") {
        return rule(&format!("{path}.allowedFunctionNames"), "should only be set when the mode is ANY or VALIDATED");
    }
    match allowed.iter().filter_map(Value::as_str).find(|name| !names.contains(name)) {
        Some(name) => rule(&format!("{path}.allowedFunctionNames"), &format!("'{name}' is not declared")),
        None => Ok(()),
    }
}

fn generation(config: &Value) -> Checked {
    let has = |field: &str| config.get(field).is_some_and(|value| !value.is_null());
    let at = |field: &str| format!("generationConfig.{field}");
    if config["stopSequences"].as_array().is_some_and(|stops| stops.len() > MAX_STOPS) {
        return rule(&at("stopSequences"), "at most 5 are allowed");
    }
    if has("responseSchema") && has("responseJsonSchema") {
        return rule(&at("responseJsonSchema"), "it and 'responseSchema' exclude each other");
    }
    let schema = ["responseSchema", "responseJsonSchema"].into_iter().find(|field| has(field));
    let is_json = matches!(config["responseMimeType"].as_str(), Some("application/json" | "text/x.enum"));
    if let Some(schema) = schema.filter(|_| !is_json) {
        return rule(&at(schema), "needs a 'responseMimeType' of 'application/json'");
    }
    if has("logprobs") && config["responseLogprobs"] != Value::Bool(true) {
        return rule(&at("logprobs"), "is only allowed when 'responseLogprobs' is true");
    }
    let thinking = &config["thinkingConfig"];
    if thinking.get("thinkingBudget").is_some() && thinking.get("thinkingLevel").is_some() {
        return rule(&at("thinkingConfig"), "'thinkingBudget' and 'thinkingLevel' exclude each other");
    }
    Ok(())
}

/// The name and optional id of a call or of its response.
type Named<'a> = (&'a str, Option<&'a str>);

fn named<'a>(content: &'a Value, field: &str) -> Vec<Named<'a>> {
    let found = parts(content).iter().filter_map(|part| part.get(field));
    found.map(|one| (one["name"].as_str().unwrap_or_default(), one["id"].as_str())).collect()
}

/// Checks that a turn with calls follows a user turn, and that the next turn has one response per call with
/// the same name and, if both have one, the same id.
fn answered_calls(contents: &[Value]) -> Checked {
    let mut open: Vec<Named<'_>> = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let path = format!("contents.{index}.parts");
        let responses = named(content, "functionResponse");
        if responses.len() != open.len() {
            return rule(
                &path,
                "the number of function response parts must equal the number of function call parts of the function \
                 call turn",
            );
        }
        for (name, id) in responses {
            let fits = |call: &Named<'_>| call.0 == name && (id.is_none() || call.1.is_none() || id == call.1);
            let Some(at) = open.iter().position(fits) else {
                return rule(&path, &format!("functionResponse.name and id must be those of a functionCall: {name}"));
            };
            open.swap_remove(at);
        }
        open = named(content, "functionCall");
        if !open.is_empty() && (index == 0 || contents[index - 1]["role"] == "model") {
            return rule(&path, "a function call turn must come immediately after a user turn");
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    rule(&format!("contents.{}", contents.len()), "a function call turn must be followed by its function responses")
}
