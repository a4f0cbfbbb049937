//! Maps the hub's field paths to those of Messages requests.

use crate::dialect::messages::{Block, Content, Request, Role};

/// Returns the caller's path for a path of the hub.
pub(in crate::dialect::messages) fn param_path(param: &str, request: &Request) -> String {
    let (field, rest) = param.split_at(param.find(['.', '[']).unwrap_or(param.len()));
    match field {
        "messages" => in_messages(rest, request).unwrap_or_else(|| field.to_owned()),
        "tools" if !rest.starts_with('[') || !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => param.to_owned(),
        "tools" => param.replacen(".function.parameters", ".input_schema", 1).replacen(".function", "", 1),
        "parallel_tool_calls" => "tool_choice.disable_parallel_tool_use".to_owned(),
        "response_format" => match &request.output_config {
            Some(config) if config.format.is_some() => "output_config.format".to_owned(),
            _ => "output_format".to_owned(),
        },
        "reasoning_effort" => (if request.thinking.is_some() { "thinking" } else { "output_config.effort" }).to_owned(),
        "stop" => format!("stop_sequences{rest}"),
        "max_completion_tokens" => "max_tokens".to_owned(),
        "tool_choice" => param.replacen(".function", "", 1),
        "user" => "metadata.user_id".to_owned(),
        _ => param.to_owned(),
    }
}

fn in_messages(rest: &str, request: &Request) -> Option<String> {
    let (at, rest) = index(rest)?;
    Some(messages(request).get(at)?.field(rest))
}

/// Splits a path that begins with an index.
fn index(path: &str) -> Option<(usize, &str)> {
    let (number, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

/// A message of the hub and the blocks from which it was decoded.
struct Message<'a> {
    path: String,
    /// The path of its blocks.
    list: String,
    /// The blocks and their indices.
    blocks: Vec<(usize, &'a Block)>,
}

impl<'a> Message<'a> {
    fn new(path: String, list: String, content: Option<&'a Content>, takes: impl Fn(&Block) -> bool) -> Self {
        let blocks = content.map(blocks).unwrap_or_default().iter().enumerate();
        Self { path, list, blocks: blocks.filter(|(_, block)| takes(block)).collect() }
    }

    /// Returns the path of a field of the hub's message.
    fn field(&self, name: &str) -> String {
        let Self { path, list, .. } = self;
        if let Some((at, rest)) = name.strip_prefix(".tool_calls").and_then(index)
            && let Some(at) = self.nth(at, is_call)
        {
            let rest = rest.replacen(".function.arguments", ".input", 1).replacen(".function", "", 1);
            return format!("{list}[{at}]{rest}");
        }
        let Some(rest) = name.strip_prefix(".content") else {
            return path.clone() + if name == ".tool_call_id" { ".tool_use_id" } else { name };
        };
        let part = index(rest).and_then(|(at, rest)| Some((self.nth(at, is_said)?, rest)));
        match part {
            Some((at, rest)) if rest.starts_with(".image_url") || rest.starts_with(".file") => {
                format!("{list}[{at}].source")
            }
            Some((at, rest)) => format!("{list}[{at}]{rest}"),
            None => list.clone(),
        }
    }

    fn nth(&self, at: usize, is: impl Fn(&Block) -> bool) -> Option<usize> {
        self.blocks.iter().filter(|(_, block)| is(block)).nth(at).map(|(at, _)| *at)
    }
}

fn blocks(content: &Content) -> &[Block] {
    match content {
        Content::Text(_) => &[],
        Content::Blocks(blocks) => blocks,
    }
}

const fn is_call(block: &Block) -> bool {
    matches!(block, Block::ToolUse { .. })
}

const fn is_result(block: &Block) -> bool {
    matches!(block, Block::ToolResult { .. })
}

const fn is_said(block: &Block) -> bool {
    !is_call(block) && !matches!(block, Block::Thinking { .. } | Block::RedactedThinking { .. })
}

/// The hub's messages, as [`to_chat`](super::to_chat) makes them.
fn messages(request: &Request) -> Vec<Message<'_>> {
    let mut all = Vec::new();
    let says = |content: &&Content| match content {
        Content::Text(text) => !text.is_empty(),
        Content::Blocks(blocks) => !blocks.is_empty(),
    };
    if let Some(system) = request.system.as_ref().filter(says) {
        all.push(Message::new("system".to_owned(), "system".to_owned(), Some(system), |_| true));
    }
    for (at, turn) in request.messages.iter().enumerate() {
        let (path, list) = (format!("messages[{at}]"), format!("messages[{at}].content"));
        let is_users = turn.role == Role::User;
        for (at, block) in blocks(&turn.content).iter().enumerate() {
            if let (true, Block::ToolResult { content, .. }) = (is_users, block) {
                let path = format!("{list}[{at}]");
                let list = format!("{path}.content");
                all.push(Message::new(path, list, content.as_ref(), |_| true));
            }
        }
        let message = Message::new(path, list, Some(&turn.content), |block| !is_result(block));
        // A system turn without text says nothing.
        if turn.role == Role::System && !says(&&turn.content) && !matches!(turn.content, Content::Text(_)) {
            continue;
        }
        if !is_users || matches!(turn.content, Content::Text(_)) || !message.blocks.is_empty() {
            all.push(message);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        dialect::{Conversation, Dialect},
        endpoint::Endpoint,
    };

    /// What a format refuses of a request with these members.
    fn refused(dialect: Dialect, members: &Value) -> String {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let conversation = Conversation::new(Endpoint::Messages, body.to_string().into());
        conversation.supports(dialect).unwrap_err().param.clone()
    }

    #[test]
    fn what_a_format_refuses_has_its_callers_name() {
        let gemini = |members: Value| refused(Dialect::Gemini, &members);
        assert_eq!(gemini(json!({"stop_sequences": ["1", "2", "3", "4", "5", "6"]})), "stop_sequences");
        let tool = json!([{"name": "0 bad", "input_schema": {}}]);
        assert_eq!(gemini(json!({"tools": tool})), "tools[0].name");
        assert_eq!(refused(Dialect::OpenAi, &json!({"top_k": 5})), "top_k");
    }

    #[test]
    fn what_is_wrong_in_a_turn_is_found_there() {
        let image = |url: &str| json!({"type": "image", "source": {"type": "url", "url": url}});
        let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "look", "input": {}});
        let result = |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
        let text = json!({"type": "text", "text": "so"});
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
        let gemini = |last: Value| {
            let turns = json!([
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [thought, text, call("a"), call("b")]},
                {"role": "user", "content": last},
            ]);
            refused(Dialect::Gemini, &json!({"system": "be brief", "messages": turns}))
        };
        let done = || json!("done");
        assert_eq!(gemini(json!([result("a", done()), result("c", done())])), "messages[2].content[1].tool_use_id");
        assert_eq!(gemini(json!([result("a", done()), text])), "messages[1].content[3]");
        assert_eq!(
            gemini(json!([result("a", done()), result("b", done()), text, image("ftp://x/y.png")])),
            "messages[2].content[3].source"
        );
        let pictures = json!([text, image("ftp://x/y.png")]);
        assert_eq!(gemini(json!([result("a", pictures)])), "messages[2].content[0].content[1].source");
    }

    #[test]
    fn dropped_fields_have_their_callers_names() {
        let alone = json!({"type": "auto", "disable_parallel_tool_use": true});
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "look", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
            "tool_choice": alone, "speed": "fast"});
        let conversation = Conversation::new(Endpoint::Messages, body.to_string().into());
        let dropped = ["speed", "tool_choice.disable_parallel_tool_use", "tools[web_search]"];
        assert_eq!(*conversation.dropped(Dialect::Gemini), dropped);
        let refusing = Conversation::new(Endpoint::Messages, body.to_string().into()).refuse_optional(true);
        assert_eq!(refusing.supports(Dialect::Gemini).unwrap_err().param, "speed");
    }

    #[test]
    fn other_fields_have_their_own_names() {
        let request = |members: Value| {
            let mut body = json!({"max_tokens": 9, "messages": []});
            body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            Request::parse(body.to_string().as_bytes()).unwrap()
        };
        let schema = json!({"type": "json_schema", "schema": {}});
        let plain = request(json!({"output_format": schema}));
        for (hub, own) in [
            ("max_completion_tokens", "max_tokens"),
            ("user", "metadata.user_id"),
            ("reasoning_effort", "output_config.effort"),
            ("response_format.json_schema", "output_format"),
            ("tools[1].function.parameters", "tools[1].input_schema"),
            ("messages", "messages"),
            ("tool_choice.function.name", "tool_choice.name"),
            ("messages[7].role", "messages"),
            ("top_k", "top_k"),
        ] {
            assert_eq!(param_path(hub, &plain), own);
        }
        let thinking = json!({"type": "enabled", "budget_tokens": 1024});
        let newer = request(json!({"thinking": thinking, "output_config": {"format": schema}}));
        assert_eq!(param_path("reasoning_effort", &newer), "thinking");
        assert_eq!(param_path("response_format", &newer), "output_config.format");
        let called = json!([{"role": "assistant", "content": [
            {"type": "text", "text": "so"}, {"type": "tool_use", "id": "a", "name": "look", "input": 7},
        ]}]);
        let called = request(json!({"messages": called}));
        assert_eq!(param_path("messages[0].tool_calls[0].function.arguments", &called), "messages[0].content[1].input");
    }
}
