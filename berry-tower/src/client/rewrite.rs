//! Writes a request of OpenAI's format as one backend accepts it. Every value that stays is as the caller wrote it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    history,
    members::{Members, Writer},
    request_rules::Rules,
};
use crate::backend::{Effort, OptionalField};

/// The members of a request that are omitted or renamed, by name.
const MEMBERS: [(OptionalField, &str); 5] = [
    (OptionalField::StreamOptions, "stream_options"),
    (OptionalField::MaxCompletionTokens, "max_completion_tokens"),
    (OptionalField::MaxTokens, "max_tokens"),
    (OptionalField::ParallelToolCalls, "parallel_tool_calls"),
    (OptionalField::User, "user"),
];

/// The name that replaces a field's, where it has another.
const fn other_name(field: OptionalField) -> Option<&'static str> {
    match field {
        OptionalField::MaxCompletionTokens => Some("max_tokens"),
        OptionalField::MaxTokens => Some("max_completion_tokens"),
        _ => None,
    }
}

impl Rules {
    /// Returns a body as the backend accepts it; the body itself if it is so already.
    pub(super) fn apply(&self, body: Bytes) -> Bytes {
        if *self == Self::default() {
            return body;
        }
        self.rewritten(&body).map_or(body, Bytes::from)
    }

    fn rewritten(&self, body: &[u8]) -> Option<Vec<u8>> {
        let Members(members) = serde_json::from_slice(body).ok()?;
        let has = |name: &str| members.iter().any(|(key, _)| key == name);
        let mut out = Writer::with_capacity(body.len() + 64);
        let mut is_changed = false;
        for (key, value) in &members {
            let edit = self.edit(key, value, &has);
            is_changed |= edit != Edit::Keep;
            match edit {
                Edit::Keep => out.member(key, value.get()),
                Edit::Drop => {}
                Edit::Rename(name) => out.member(name, value.get()),
                Edit::Replace(value) => out.member(key, &value),
            }
        }
        is_changed.then(|| out.finish())
    }

    fn edit(&self, key: &str, value: &RawValue, has: &impl Fn(&str) -> bool) -> Edit {
        if let Some((field, _)) = MEMBERS.into_iter().find(|(field, name)| key == *name && self.omits(*field)) {
            return match other_name(field).filter(|other| !has(other)) {
                Some(other) => Edit::Rename(other),
                None => Edit::Drop,
            };
        }
        match key {
            "reasoning_effort" => self.effort(value),
            "reasoning" => Edit::of(self.reasoning(value)),
            "tools" if self.omits(OptionalField::Strict) => Edit::of(without_strict(value.get())),
            "tool_choice" if self.omits(OptionalField::RequiredToolChoice) && is_required(value.get()) => {
                Edit::Replace("\"auto\"".to_owned())
            }
            "messages" => Edit::of(history::rewritten(value.get(), self)),
            _ => Edit::Keep,
        }
    }

    /// The member `reasoning` of the Responses API with another effort, or without one.
    fn reasoning(&self, value: &RawValue) -> Option<String> {
        let Members(members) = serde_json::from_str(value.get()).ok()?;
        let (_, effort) = members.iter().find(|(key, _)| key == "effort")?;
        let edit = self.effort(effort);
        if edit == Edit::Keep {
            return None;
        }
        let mut out = Writer::with_capacity(value.get().len());
        for (key, value) in &members {
            match &edit {
                Edit::Replace(effort) if key == "effort" => out.member(key, effort),
                _ if key == "effort" => {}
                _ => out.member(key, value.get()),
            }
        }
        Some(out.into_text())
    }

    fn effort(&self, value: &RawValue) -> Edit {
        if self.omits(OptionalField::ReasoningEffort) {
            return Edit::Drop;
        }
        let effort = serde_json::from_str::<Cow<'_, str>>(value.get()).ok().and_then(|name| Effort::from_name(&name));
        match effort.map(|effort| (effort, self.efforts.nearest(effort))) {
            Some((effort, Some(nearest))) if nearest != effort => Edit::Replace(format!("\"{nearest}\"")),
            _ => Edit::Keep,
        }
    }
}

/// What becomes of a member.
#[derive(Debug, PartialEq, Eq)]
enum Edit {
    Keep,
    Drop,
    Rename(&'static str),
    Replace(String),
}

impl Edit {
    fn of(replacement: Option<String>) -> Self {
        replacement.map_or(Self::Keep, Self::Replace)
    }
}

/// The tools without `strict` in their functions; `None` if none has it.
fn without_strict(tools: &str) -> Option<String> {
    let tools: Vec<&RawValue> = serde_json::from_str(tools).ok()?;
    let mut is_changed = false;
    let mut one = |tool: &RawValue| -> Option<String> {
        let Members(members) = serde_json::from_str(tool.get()).ok()?;
        let mut out = Writer::with_capacity(tool.get().len());
        for (key, value) in &members {
            if key == "strict" {
                is_changed = true;
                continue;
            }
            let function = (key == "function").then(|| serde_json::from_str::<Members<'_>>(value.get()).ok()).flatten();
            match function {
                Some(Members(function)) if function.iter().any(|(key, _)| key == "strict") => {
                    is_changed = true;
                    let mut inner = Writer::with_capacity(value.get().len());
                    for (key, value) in function.iter().filter(|(key, _)| key != "strict") {
                        inner.member(key, value.get());
                    }
                    out.member(key, &inner.into_text());
                }
                _ => out.member(key, value.get()),
            }
        }
        Some(out.into_text())
    };
    let all: Vec<String> = tools.iter().map(|tool| one(tool).unwrap_or_else(|| tool.get().to_owned())).collect();
    is_changed.then(|| format!("[{}]", all.join(",")))
}

fn is_required(choice: &str) -> bool {
    let is_mode = |mode: &str| matches!(mode, "required" | "any");
    if let Ok(mode) = serde_json::from_str::<Cow<'_, str>>(choice) {
        return is_mode(&mode);
    }
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    serde_json::from_str::<Typed<'_>>(choice).is_ok_and(|choice| is_mode(&choice.kind))
}

/// A body of Anthropic's format for an address that names the model: it has the format's version and no model.
pub(super) fn with_body_version(body: &Bytes, version: &str) -> Bytes {
    let Ok(Members(members)) = serde_json::from_slice(body) else { return body.clone() };
    let mut out = Writer::with_capacity(body.len() + 64);
    // Writing a string as JSON cannot fail.
    out.member("anthropic_version", &serde_json::to_string(version).unwrap_or_default());
    for (key, value) in members.iter().filter(|(key, _)| !matches!(key.as_str(), "model" | "anthropic_version")) {
        out.member(key, value.get());
    }
    out.finish().into()
}

#[cfg(test)]
mod tests {
    use super::{super::request_rules::tests::omitting, *};
    use crate::backend::Efforts;

    fn apply(rules: Rules, body: &str) -> String {
        String::from_utf8(rules.apply(Bytes::copy_from_slice(body.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn omits_or_renames_and_keeps_all_else() {
        let body = r#"{ "model":"m", "max_completion_tokens": 10, "parallel_tool_calls":false, "n": 1.0 }"#;
        assert_eq!(apply(omitting(&[]), body), body);
        assert_eq!(apply(omitting(&[OptionalField::User]), body), body);
        assert_eq!(
            apply(omitting(&[OptionalField::MaxCompletionTokens]), body),
            r#"{"model":"m","max_tokens":10,"parallel_tool_calls":false,"n":1.0}"#
        );
        assert_eq!(
            apply(omitting(&[OptionalField::ParallelToolCalls]), body),
            r#"{"model":"m","max_completion_tokens":10,"n":1.0}"#
        );
        let both = r#"{"max_tokens":1,"max_completion_tokens":2}"#;
        assert_eq!(apply(omitting(&[OptionalField::MaxTokens]), both), r#"{"max_completion_tokens":2}"#);
        assert_eq!(apply(omitting(&[OptionalField::User]), r#"{"user":"u"}"#), "{}");
    }

    #[test]
    fn omits_strict_of_tools() {
        let body = r#"{"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"properties":{"strict":{}}}}},{"type":"x"}]}"#;
        assert_eq!(
            apply(omitting(&[OptionalField::Strict]), body),
            r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"strict":{}}}}},{"type":"x"}]}"#
        );
        assert_eq!(apply(omitting(&[OptionalField::Strict]), r#"{"tools":[ {"a":1} ]}"#), r#"{"tools":[ {"a":1} ]}"#);
    }

    #[test]
    fn writes_a_required_tool_choice_as_auto() {
        let rules = omitting(&[OptionalField::RequiredToolChoice]);
        assert_eq!(apply(rules, r#"{"tool_choice":"required"}"#), r#"{"tool_choice":"auto"}"#);
        assert_eq!(apply(rules, r#"{"tool_choice":{"type":"any"}}"#), r#"{"tool_choice":"auto"}"#);
        let named = r#"{"tool_choice":{"type":"function","function":{"name":"f"}}}"#;
        assert_eq!(apply(rules, named), named);
    }

    #[test]
    fn maps_the_effort_to_the_nearest_value() {
        let mut rules = Rules::default();
        rules.limit_efforts(Efforts::of(&[Effort::Low, Effort::High]));
        assert_eq!(apply(rules, r#"{"reasoning_effort":"none"}"#), r#"{"reasoning_effort":"low"}"#);
        assert_eq!(apply(rules, r#"{"reasoning_effort":"max"}"#), r#"{"reasoning_effort":"high"}"#);
        assert_eq!(apply(rules, r#"{"reasoning_effort": "high"}"#), r#"{"reasoning_effort": "high"}"#);
        assert_eq!(apply(rules, r#"{"reasoning_effort": "odd"}"#), r#"{"reasoning_effort": "odd"}"#);
        assert_eq!(apply(omitting(&[OptionalField::ReasoningEffort]), r#"{"reasoning_effort":"low"}"#), "{}");
    }

    #[test]
    fn maps_the_effort_of_the_responses_api() {
        let mut rules = Rules::default();
        rules.limit_efforts(Efforts::of(&[Effort::Low, Effort::High]));
        assert_eq!(
            apply(rules, r#"{"reasoning":{"summary":"auto","effort":"xhigh"}}"#),
            r#"{"reasoning":{"summary":"auto","effort":"high"}}"#
        );
        let kept = r#"{"reasoning":{ "effort":"low"},"input":[]}"#;
        assert_eq!(apply(rules, kept), kept);
        assert_eq!(
            apply(omitting(&[OptionalField::ReasoningEffort]), r#"{"reasoning":{"effort":"low"}}"#),
            r#"{"reasoning":{}}"#
        );
        let tools = r#"{"tools":[{"type":"function","name":"f","strict":true}],"user":"u"}"#;
        assert_eq!(
            apply(omitting(&[OptionalField::Strict, OptionalField::User]), tools),
            r#"{"tools":[{"type":"function","name":"f"}]}"#
        );
    }

    #[test]
    fn puts_the_version_into_the_body_instead_of_the_model() {
        let body = Bytes::from_static(br#"{"model":"m","max_tokens":1,"anthropic_version":"x"}"#);
        assert_eq!(with_body_version(&body, "v-1"), r#"{"anthropic_version":"v-1","max_tokens":1}"#);
    }
}
