//! Writes the messages of a chat request as one backend accepts them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    members::{Members, Writer},
    request_rules::Rules,
};
use crate::backend::{OptionalField, ReasoningHistory};

/// What stands for reasoning that is not known: an empty text counts as none at Moonshot.
const BLANK: &str = "\" \"";

/// Returns the messages as the rules want them; `None` if they are so already.
pub(super) fn rewritten(messages: &str, rules: &Rules) -> Option<String> {
    let history = rules.history();
    let changes_reasoning = matches!(history, ReasoningHistory::Remove | ReasoningHistory::ToolCalls);
    let fields = [
        OptionalField::DeveloperRole,
        OptionalField::TextParts,
        OptionalField::SystemMessages,
        OptionalField::MessageNames,
    ];
    if !changes_reasoning && !fields.iter().any(|field| rules.omits(*field)) {
        return None;
    }
    let list: Vec<&RawValue> = serde_json::from_str(messages).ok()?;
    let mut out: Vec<Cow<'_, str>> =
        list.iter().map(|raw| message(raw.get(), rules).map_or(Cow::Borrowed(raw.get()), Cow::Owned)).collect();
    let is_joined = rules.omits(OptionalField::SystemMessages) && join_system_messages(&mut out);
    let is_changed = is_joined || out.iter().any(|message| matches!(message, Cow::Owned(_)));
    is_changed.then(|| format!("[{}]", out.join(",")))
}

/// Returns a message as the rules want it; `None` if it is so already.
fn message(raw: &str, rules: &Rules) -> Option<String> {
    let Members(members) = serde_json::from_str(raw).ok()?;
    let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| value.get());
    let role = text(member("role")?)?;
    let is_assistant = role == "assistant";
    let has_calls = member("tool_calls").is_some_and(|calls| !matches!(calls, "null" | "[]"));
    let reasoning = ["reasoning_content", "reasoning"]
        .into_iter()
        .find_map(|name| member(name).filter(|value| text(value).is_some_and(|text| !text.is_empty())));
    let (drops_reasoning, needs_reasoning) = match rules.history() {
        ReasoningHistory::Remove => (is_assistant, false),
        ReasoningHistory::ToolCalls => (is_assistant, is_assistant && has_calls),
        _ => (false, false),
    };
    let mut out = Writer::with_capacity(raw.len() + 32);
    let mut is_changed = false;
    for (key, value) in &members {
        let value = value.get();
        let replacement = match key.as_str() {
            "role" if role == "developer" && rules.omits(OptionalField::DeveloperRole) => Some("\"system\"".to_owned()),
            "content" if rules.omits(OptionalField::TextParts) => joined_text(value),
            "name" if rules.omits(OptionalField::MessageNames) && !matches!(&*role, "tool" | "function") => {
                is_changed = true;
                continue;
            }
            "reasoning_content" | "reasoning" if drops_reasoning => {
                is_changed |= !(needs_reasoning && key == "reasoning_content" && reasoning == Some(value));
                continue;
            }
            _ => None,
        };
        is_changed |= replacement.is_some();
        out.member(key, replacement.as_deref().unwrap_or(value));
    }
    if needs_reasoning {
        is_changed |= reasoning.is_none();
        out.member("reasoning_content", reasoning.unwrap_or(BLANK));
    }
    is_changed.then(|| out.into_text())
}

fn text(raw: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw).ok()
}

/// A content of text parts only as one string, as JSON.
fn joined_text(content: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        text: Option<Cow<'a, str>>,
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(content).ok()?;
    let texts: Option<Vec<_>> = parts.into_iter().map(|part| part.text.filter(|_| part.kind == "text")).collect();
    let texts = texts.filter(|texts| !texts.is_empty())?;
    serde_json::to_string(&texts.join("\n")).ok()
}

/// Joins all system messages into one before the others. Returns whether that changed anything.
fn join_system_messages(messages: &mut Vec<Cow<'_, str>>) -> bool {
    let system: Vec<_> = messages.iter().map(|message| system_text(message)).collect();
    let positions: Vec<usize> = (0..system.len()).filter(|at| system[*at].is_some()).collect();
    if positions.iter().enumerate().all(|(number, at)| number == *at) && positions.len() < 2 {
        return false;
    }
    // One that holds more than text stays where it is, and so do all others.
    let texts: Option<Vec<String>> = system.into_iter().flatten().collect();
    let Some(texts) = texts else { return false };
    let mut at = 0;
    messages.retain(|_| {
        at += 1;
        !positions.contains(&(at - 1))
    });
    let mut out = Writer::with_capacity(64);
    out.member("role", "\"system\"");
    // Writing a string as JSON cannot fail.
    out.member("content", &serde_json::to_string(&texts.join("\n\n")).unwrap_or_default());
    messages.insert(0, Cow::Owned(out.into_text()));
    true
}

/// The text of a system message, `Some(None)` if it is no mere text; `None` for any other message.
fn system_text(message: &str) -> Option<Option<String>> {
    let Members(members) = serde_json::from_str(message).ok()?;
    let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| value.get());
    if !matches!(&*text(member("role")?)?, "system" | "developer") {
        return None;
    }
    let content = member("content").unwrap_or("\"\"");
    let joined = joined_text(content);
    Some(text(joined.as_deref().unwrap_or(content)).map(Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::{
        super::request_rules::tests::{omitting, with_history},
        *,
    };

    #[test]
    fn writes_developers_as_system_and_text_parts_as_one_string() {
        let rules = omitting(&[OptionalField::DeveloperRole, OptionalField::TextParts, OptionalField::MessageNames]);
        let messages = r#"[{"role":"developer","content":"a","name":"n"},{"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":"c","x":1}]},{"role":"user","content":[{"type":"text","text":"d"},{"type":"image_url","image_url":{"url":"u"}}]}]"#;
        assert_eq!(
            rewritten(messages, &rules).unwrap(),
            r#"[{"role":"system","content":"a"},{"role":"user","content":"b\nc"},{"role":"user","content":[{"type":"text","text":"d"},{"type":"image_url","image_url":{"url":"u"}}]}]"#
        );
        assert_eq!(rewritten(r#"[{"role":"user","content":"a"}]"#, &rules), None);
    }

    #[test]
    fn joins_system_messages_before_the_others() {
        let rules = omitting(&[OptionalField::SystemMessages]);
        let join = |messages: &str| rewritten(messages, &rules);
        let (first, user, second) = (
            r#"{"role":"system","content":"a"}"#,
            r#"{"role":"user","content":"u"}"#,
            r#"{"role":"developer","content":[{"type":"text","text":"b"}]}"#,
        );
        let joined = format!(r#"[{{"role":"system","content":"a\n\nb"}},{user}]"#);
        assert_eq!(join(&format!("[{first},{second},{user}]")), Some(joined.clone()));
        assert_eq!(join(&format!("[{first},{user},{second}]")), Some(joined));
        assert_eq!(join(&format!("[{first},{user}]")), None);
        assert_eq!(join(&format!("[{user}]")), None);
        let moved = format!(r#"[{{"role":"system","content":"a"}},{user}]"#);
        assert_eq!(join(&format!("[{user},{first}]")), Some(moved));
        assert_eq!(join(&format!(r#"[{first},{{"role":"system","content":[{{"type":"x"}}]}}]"#)), None);
    }

    #[test]
    fn keeps_reasoning_where_the_provider_demands_it() {
        let turn = |more: &str| format!(r#"[{{"role":"assistant","content":"a"{more}}}]"#);
        let calls = r#","tool_calls":[{"id":"1"}]"#;
        let remove = |messages: &str| rewritten(messages, &with_history(ReasoningHistory::Remove));
        assert_eq!(remove(&turn(r#","reasoning_content":"r""#)), Some(turn("")));
        assert_eq!(remove(&turn("")), None);
        let needs = |messages: &str| rewritten(messages, &with_history(ReasoningHistory::ToolCalls));
        assert_eq!(needs(&turn(r#","reasoning_content":"r""#)), Some(turn("")));
        assert_eq!(needs(&turn(calls)), Some(turn(&format!(r#"{calls},"reasoning_content":" ""#))));
        assert_eq!(needs(&turn(&format!(r#"{calls},"reasoning_content":"r""#))), None);
        let renamed = turn(&format!(r#"{calls},"reasoning_content":"r""#));
        assert_eq!(needs(&turn(&format!(r#","reasoning":"r"{calls}"#))), Some(renamed));
        let blank = turn(&format!(r#"{calls},"reasoning_content":" ""#));
        assert_eq!(needs(&turn(&format!(r#"{calls},"reasoning_content":"""#))), Some(blank));
        assert_eq!(needs(r#"[{"role":"user","content":"u"}]"#), None);
    }
}
