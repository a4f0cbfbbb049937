//! Decodes the items of a conversation into messages.

use super::{UNKNOWN, content};
use crate::dialect::{
    hub,
    responses::{
        custom_input::INPUT,
        envelope::{self, Kind, Seal},
        tool_names,
    },
    unsupported::UnsupportedField,
    value::Value,
};

/// The conversation so far. Items that the model made in one go become one message.
pub(super) struct Turns<'a> {
    seals: &'a [Seal],
    messages: Vec<hub::Message>,
    paths: Vec<hub::MessagePath>,
    /// Whether the last message is the model's and may be continued.
    is_open: bool,
    /// Google's signature of the next call.
    signature: Option<(String, hub::Origin)>,
}

impl<'a> Turns<'a> {
    pub(super) const fn new(seals: &'a [Seal]) -> Self {
        Self { seals, messages: Vec::new(), paths: Vec::new(), is_open: false, signature: None }
    }

    /// Adds the system prompt.
    pub(super) fn system(&mut self, text: &str) {
        self.message(hub::Role::System, hub::Content::Text(text.to_owned()), "instructions");
    }

    /// Adds a text of the user's.
    pub(super) fn user(&mut self, text: &str) {
        self.message(hub::Role::User, hub::Content::Text(text.to_owned()), "input");
    }

    pub(super) fn finish(self) -> (Vec<hub::Message>, Vec<hub::MessagePath>) {
        (self.messages, self.paths)
    }

    /// Adds items.
    ///
    /// # Errors
    /// The item or the part of one that other formats cannot express.
    pub(super) fn items(&mut self, items: &[Value]) -> Result<(), UnsupportedField> {
        items.iter().enumerate().try_for_each(|(at, item)| self.item(item, &format!("input[{at}]")))
    }

    fn item(&mut self, item: &Value, path: &str) -> Result<(), UnsupportedField> {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let kind = text("type").filter(|kind| !kind.is_empty());
        let kind = kind.or_else(|| text("role").map(|_| "message"));
        match kind {
            Some("message") => self.spoken(item, path),
            Some("reasoning") => {
                self.reasoning(item);
                Ok(())
            }
            Some("function_call") => {
                let name = tool_names::flat(text("namespace"), text("name").unwrap_or_default());
                let arguments = match item.get("arguments") {
                    Some(Value::String(arguments)) => arguments.clone(),
                    None | Some(Value::Null) => String::new(),
                    Some(other) => other.to_string(),
                };
                self.call(item, name, arguments, path)
            }
            Some("custom_tool_call") => {
                let name = tool_names::flat(text("namespace"), text("name").unwrap_or_default());
                let input = Value::object([(INPUT, text("input").unwrap_or_default().into())]);
                self.call(item, name, input.to_string(), path)
            }
            Some("function_call_output" | "custom_tool_call_output") => self.output(item, item.get("output"), path),
            // Tools that callers run by another type of call.
            Some(kind @ ("local_shell_call" | "shell_call" | "apply_patch_call" | "computer_call")) => {
                let arguments = item.get("action").or_else(|| item.get("operation"));
                let arguments =
                    arguments.filter(|it| it.as_object().is_some()).map_or("{}".to_owned(), Value::to_string);
                self.call(item, kind.trim_end_matches("_call").to_owned(), arguments, path)
            }
            Some("local_shell_call_output" | "shell_call_output" | "apply_patch_call_output") => {
                let output = item.get("output").map(|output| match output {
                    Value::String(text) => Value::String(text.clone()),
                    other => Value::String(other.to_string()),
                });
                self.output(item, output.as_ref(), path)
            }
            // SDKs refer to reasoning that they take for stored; like any that does not fit, it is left out.
            Some("item_reference") if text("id").is_some_and(|id| id.starts_with("rs_")) => Ok(()),
            Some("item_reference") => {
                let reason = "items are not stored here; send the item itself (`store: false` makes SDKs do so)";
                Err(UnsupportedField::new(path, reason).with_code(super::NOT_FOUND))
            }
            // The tools are read elsewhere.
            Some("additional_tools") => Ok(()),
            // Tools that a provider ran in an earlier turn; what came of them is in the texts.
            Some(kind) if is_hosted(kind) => Ok(()),
            Some("configuration_update") => Ok(()),
            // Only OpenAI compacts a conversation into an item; the caller waits for that item.
            _ => Err(UNKNOWN.reject(format!("{path}.type"))),
        }
    }

    fn message(&mut self, role: hub::Role, content: hub::Content, path: &str) {
        self.is_open = false;
        self.signature = None;
        self.push(hub::Message { role, content: Some(content), ..hub::Message::default() }, path);
    }

    fn push(&mut self, message: hub::Message, path: &str) {
        self.messages.push(message);
        self.paths.push(hub::MessagePath { path: path.to_owned(), calls: Vec::new() });
    }

    /// Returns the message that the model's items are added to.
    fn assistant(&mut self, path: &str) -> (&mut hub::Message, &mut hub::MessagePath) {
        if !self.is_open || self.messages.is_empty() {
            self.is_open = true;
            self.push(hub::Message { role: hub::Role::Assistant, ..hub::Message::default() }, path);
        }
        let last = self.messages.len() - 1;
        (&mut self.messages[last], &mut self.paths[last])
    }

    fn spoken(&mut self, item: &Value, path: &str) -> Result<(), UnsupportedField> {
        let said = content::content(item.get("content"), &format!("{path}.content"))?;
        let role = match item.get("role").and_then(Value::as_str) {
            Some("user") => hub::Role::User,
            // Not every server knows the newer name.
            Some("system" | "developer") => hub::Role::System,
            Some("assistant") => {
                self.assistant_text(said, path);
                return Ok(());
            }
            _ => {
                return Err(UnsupportedField::new(
                    format!("{path}.role"),
                    "it is user, assistant, system or developer",
                ));
            }
        };
        self.message(role, said, path);
        Ok(())
    }

    fn assistant_text(&mut self, said: hub::Content, path: &str) {
        let (message, at) = self.assistant(path);
        let mut parts = match message.content.take() {
            None => {
                path.clone_into(&mut at.path);
                message.content = Some(said);
                return;
            }
            Some(content) => into_parts(content),
        };
        parts.extend(into_parts(said));
        message.content = Some(hub::Content::Parts(parts));
    }

    /// Adds reasoning. Its signature is kept if one of the model's backends made it.
    fn reasoning(&mut self, item: &Value) {
        let text = content::reasoning_text(item);
        let envelope = item.get("encrypted_content").and_then(Value::as_str);
        let opened = envelope.and_then(|envelope| envelope::open(envelope, &text, self.seals));
        let mut opened = opened.map(|(kind, data, origin)| (kind, data.to_owned(), origin));
        if let Some((Kind::GoogleCall, signature, origin)) = opened.clone() {
            self.signature = Some((signature, origin));
            if text.is_empty() {
                return;
            }
            opened = None;
        }
        let is_open = self.is_open;
        let (message, _) = self.assistant("input");
        match opened {
            Some((Kind::GoogleText, signature, origin)) if is_open => {
                let extra = message.extra_content.get_or_insert_default();
                extra.google = Some(hub::Google { thought_signature: Some(signature) });
                extra.origin = Some(origin);
            }
            Some((kind @ (Kind::Thinking | Kind::Redacted), data, origin)) => {
                let thought = match kind {
                    Kind::Thinking => hub::Thought::Thinking { thinking: text.clone(), signature: data },
                    _ => hub::Thought::RedactedThinking { data },
                };
                let extra = message.extra_content.get_or_insert_default();
                extra.anthropic.get_or_insert_default().push(thought);
                extra.origin = Some(origin);
            }
            _ => {}
        }
        if !text.is_empty() {
            let all = message.reasoning_content.get_or_insert_default();
            if !all.is_empty() {
                all.push_str("\n\n");
            }
            all.push_str(&text);
        }
    }

    fn call(&mut self, item: &Value, name: String, arguments: String, path: &str) -> Result<(), UnsupportedField> {
        let text = |name: &str| item.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let id = text("call_id").or_else(|| text("id"));
        let id = id.ok_or_else(|| UnsupportedField::new(format!("{path}.call_id"), "it is required"))?.to_owned();
        let extra_content = self.signature.take().map(|(signature, origin)| hub::ExtraContent {
            google: Some(hub::Google { thought_signature: Some(signature) }),
            origin: Some(origin),
            ..hub::ExtraContent::default()
        });
        let (message, at) = self.assistant(path);
        let function = hub::CalledFunction { name, arguments };
        let call = hub::ToolCall { id, function, extra_content, ..hub::ToolCall::default() };
        message.tool_calls.get_or_insert_default().push(call);
        at.calls.push(path.to_owned());
        Ok(())
    }

    fn output(&mut self, item: &Value, output: Option<&Value>, path: &str) -> Result<(), UnsupportedField> {
        let id = item.get("call_id").or_else(|| item.get("id")).and_then(Value::as_str);
        let id = id.ok_or_else(|| UnsupportedField::new(format!("{path}.call_id"), "it is required"))?.to_owned();
        let told = content::content(output, &format!("{path}.output"))?;
        self.message(hub::Role::Tool, told, path);
        if let Some(message) = self.messages.last_mut() {
            message.tool_call_id = Some(id);
        }
        Ok(())
    }
}

/// Whether an item is a call of a tool that a provider runs, or its result.
fn is_hosted(kind: &str) -> bool {
    kind.starts_with("mcp_")
        || matches!(
            kind,
            "web_search_call"
                | "file_search_call"
                | "code_interpreter_call"
                | "image_generation_call"
                | "computer_call_output"
                | "tool_search_call"
                | "tool_search_output"
                | "program"
                | "program_output"
        )
}

fn into_parts(content: hub::Content) -> Vec<hub::Part> {
    match content {
        hub::Content::Text(text) => vec![hub::Part::Text { text, other: hub::Other::default() }],
        hub::Content::Parts(parts) => parts,
    }
}
