//! What Anthropic publishes about requests, as assertions.

use std::collections::HashSet;

use serde_json::Value;

const MEMBERS: [&str; 15] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "metadata",
    "service_tier",
];

/// Asserts that Anthropic takes this body.
pub(crate) fn assert_valid(body: &Value) {
    for (name, value) in body.as_object().expect("an object") {
        assert!(MEMBERS.contains(&name.as_str()), "`{name}` is no member");
        assert!(!value.is_null(), "`{name}` is null");
    }
    assert!(body["model"].is_string());
    assert!(body["max_tokens"].as_u64().is_some_and(|max| max >= 1));
    if let Some(system) = body.get("system") {
        content(system, &["text"]);
    }
    for stop in list(body.get("stop_sequences")) {
        assert!(!stop.as_str().unwrap().trim().is_empty(), "a stop sequence of white space");
    }
    assert!(body.pointer("/metadata/user_id").is_none_or(|id| id.as_str().unwrap().chars().count() <= 256));
    let number = |name: &str| body.get(name).map(|value| value.as_f64().unwrap());
    assert!(number("temperature").is_none_or(|t| (0.0..=1.0).contains(&t)));
    assert!(number("top_p").is_none_or(|p| (0.0..=1.0).contains(&p)));
    tools(body);
    messages(body);
    thinking(body);
}

fn list(value: Option<&Value>) -> &[Value] {
    value.map_or(&[], |value| value.as_array().expect("a list"))
}

/// A content's blocks; a text is none.
fn content<'a>(content: &'a Value, kinds: &[&str]) -> &'a [Value] {
    if let Some(text) = content.as_str() {
        assert!(!text.trim().is_empty(), "an empty text");
        return &[];
    }
    let blocks = list(Some(content));
    assert!(!blocks.is_empty(), "an empty content");
    for block in blocks {
        let kind = block["type"].as_str().unwrap();
        assert!(kinds.contains(&kind), "a block of kind {kind}");
        match kind {
            "text" => assert!(!block["text"].as_str().unwrap().trim().is_empty(), "an empty text"),
            "image" => source(block, &["image/jpeg", "image/png", "image/gif", "image/webp"]),
            "document" => source(block, &["application/pdf"]),
            "thinking" => assert!(!block["signature"].as_str().unwrap().is_empty(), "a thought without a proof"),
            "tool_result" => {
                if let Some(result) = block.get("content") {
                    content_of_result(result);
                }
            }
            _ => {}
        }
    }
    blocks
}

fn content_of_result(result: &Value) {
    content(result, &["text", "image", "document"]);
}

fn source(block: &Value, types: &[&str]) {
    match block["source"]["type"].as_str().unwrap() {
        "url" => assert!(block["source"]["url"].as_str().unwrap().starts_with("https://")),
        "base64" => {
            assert!(types.contains(&block["source"]["media_type"].as_str().unwrap()));
            assert!(!block["source"]["data"].as_str().unwrap().is_empty());
        }
        other => panic!("a source of kind {other}"),
    }
}

fn is_name(name: &Value) -> bool {
    let name = name.as_str().unwrap();
    (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn tools(body: &Value) {
    let mut names = HashSet::new();
    for tool in list(body.get("tools")) {
        assert!(is_name(&tool["name"]));
        assert!(names.insert(&tool["name"]), "two tools have one name");
        assert_eq!(tool["input_schema"]["type"], "object");
    }
    let Some(choice) = body.get("tool_choice") else { return };
    assert!(!names.is_empty(), "a choice of no tools");
    match choice["type"].as_str().unwrap() {
        "tool" => assert!(names.contains(&choice["name"]), "a tool that is not there"),
        kind => assert!(["auto", "any", "none"].contains(&kind)),
    }
}

fn messages(body: &Value) {
    let messages = list(body.get("messages"));
    assert_eq!(messages.first().expect("a message")["role"], "user");
    let mut ids = HashSet::new();
    let mut open: HashSet<&Value> = HashSet::new();
    for (i, message) in messages.iter().enumerate() {
        assert_eq!(message["role"], if i % 2 == 0 { "user" } else { "assistant" }, "roles take turns");
        if i % 2 == 0 {
            let blocks = content(&message["content"], &["text", "image", "document", "tool_result"]);
            let results: Vec<_> = blocks.iter().take_while(|block| block["type"] == "tool_result").collect();
            assert!(blocks[results.len()..].iter().all(|block| block["type"] != "tool_result"), "results come first");
            for result in results {
                assert!(open.remove(&result["tool_use_id"]), "a result of no call");
            }
            assert!(open.is_empty(), "a call without a result");
        } else {
            let blocks = content(&message["content"], &["text", "tool_use", "thinking", "redacted_thinking"]);
            assert!(!blocks.last().is_some_and(is_thought), "a thought at the end");
            for call in blocks.iter().filter(|block| block["type"] == "tool_use") {
                assert!(is_name(&call["name"]) && is_name(&call["id"]) && call["input"].is_object());
                assert!(ids.insert(&call["id"]), "two calls have one id");
                open.insert(&call["id"]);
            }
        }
    }
    assert!(open.is_empty(), "a call without a result");
    assert!(ids.is_empty() || !list(body.get("tools")).is_empty(), "calls of tools that are not there");
    let last = &messages[messages.len() - 1];
    let blocks = last["content"].as_array();
    let text = last["content"].as_str().or_else(|| blocks?.last()?["text"].as_str());
    if let Some(text) = text.filter(|_| last["role"] == "assistant") {
        assert_eq!(text, text.trim_end(), "white space at the end of a prefix");
    }
}

fn is_thought(block: &Value) -> bool {
    block["type"] == "thinking" || block["type"] == "redacted_thinking"
}

fn thinking(body: &Value) {
    let Some(thinking) = body.get("thinking").filter(|thinking| thinking["type"] != "disabled") else { return };
    if thinking["type"] == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().unwrap();
        assert!(budget >= 1024 && budget < body["max_tokens"].as_u64().unwrap());
    }
    assert!(body.get("temperature").is_none_or(|t| *t == 1.0));
    assert!(body.get("top_p").is_none_or(|p| p.as_f64().unwrap() >= 0.95));
    assert!(body.get("top_k").is_none());
    assert!(body.pointer("/tool_choice/type").is_none_or(|kind| kind != "any" && kind != "tool"));
    let messages = list(body.get("messages"));
    assert_eq!(messages[messages.len() - 1]["role"], "user", "a prefix for one who thinks");
    let last = messages.iter().rfind(|message| message["role"] == "assistant");
    let blocks = last.and_then(|last| last["content"].as_array()).map_or(&[][..], Vec::as_slice);
    assert!(blocks.iter().all(|block| block["type"] != "tool_use") || is_thought(&blocks[0]));
}
