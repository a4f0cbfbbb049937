//! Encodes tools and the tool choice.

use std::collections::HashSet;

use super::unrecognised::{UNKNOWN, mark, marked};
use crate::dialect::{
    capabilities, hub,
    messages::{CustomTool, Tool, ToolChoice},
    unsupported::UnsupportedField,
    value::Value,
};

/// The tools of a request and the tool choice.
pub(super) struct Choice {
    tools: Vec<CustomTool>,
    freedom: Freedom,
    /// Whether at most one call is allowed.
    single: bool,
}

enum Freedom {
    Auto,
    None,
    Any,
    Named(String),
}

impl Choice {
    /// `called` names the tools that the conversation calls: Anthropic requires them even where the caller offers no
    /// tools any more.
    pub(super) fn new(
        chat: &hub::Request,
        called: &[&str],
        dropped: &mut Vec<String>,
    ) -> Result<Self, UnsupportedField> {
        let offered = chat.tools.as_deref().unwrap_or_default();
        let mut names = HashSet::new();
        let mut tools = Vec::with_capacity(offered.len());
        for (i, tool) in offered.iter().enumerate() {
            let tool = translate(tool, i, dropped)?;
            if !names.insert(tool.name.clone()) {
                return Err(UnsupportedField::new(format!("tools[{i}].function.name"), "two tools have this name"));
            }
            tools.push(tool);
        }
        let mut freedom = freedom(chat, &tools)?;
        if tools.is_empty() {
            tools.extend(called.iter().filter(|name| names.insert((**name).to_owned())).map(|name| CustomTool {
                name: (*name).to_owned(),
                input_schema: Value::object([("type", "object".into())]),
                ..CustomTool::default()
            }));
            freedom = Freedom::None;
        }
        Ok(Self { tools, freedom, single: chat.parallel_tool_calls == Some(false) })
    }

    /// Whether the model must call a tool.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self.freedom, Freedom::Any | Freedom::Named(_))
    }

    /// Adds a tool and forces a tool call. Returns the tool's name.
    pub(super) fn force(&mut self, mut tool: CustomTool) -> Box<str> {
        while self.tools.iter().any(|other| other.name == tool.name) {
            tool.name.push('_');
        }
        let name: Box<str> = tool.name.as_str().into();
        match self.freedom {
            Freedom::Auto => self.freedom = Freedom::Any,
            Freedom::None | Freedom::Any | Freedom::Named(_) => {
                self.freedom = Freedom::Named(tool.name.clone());
                self.single = true;
            }
        }
        self.tools.push(tool);
        name
    }

    pub(super) fn into_wire(self) -> (Vec<Tool>, Option<ToolChoice>) {
        let single = self.single.then_some(true);
        let choice = match self.freedom {
            _ if self.tools.is_empty() => None,
            Freedom::Auto => single.map(|_| ToolChoice::Auto { disable_parallel_tool_use: single }),
            Freedom::None => Some(ToolChoice::None),
            Freedom::Any => Some(ToolChoice::Any { disable_parallel_tool_use: single }),
            Freedom::Named(name) => Some(ToolChoice::Tool { name, disable_parallel_tool_use: single }),
        };
        (self.tools.into_iter().map(Tool::Custom).collect(), choice)
    }
}

fn freedom(chat: &hub::Request, tools: &[CustomTool]) -> Result<Freedom, UnsupportedField> {
    let wrong = |param: &str, why: &str| Err(UnsupportedField::new(param, why));
    match &chat.tool_choice {
        None | Some(hub::ToolChoice::Mode(hub::ToolMode::Auto)) => Ok(Freedom::Auto),
        Some(hub::ToolChoice::Mode(hub::ToolMode::None)) => Ok(Freedom::None),
        Some(hub::ToolChoice::Mode(hub::ToolMode::Required)) if tools.is_empty() => {
            wrong("tool_choice", "there is no tool to call")
        }
        Some(hub::ToolChoice::Mode(hub::ToolMode::Required)) => Ok(Freedom::Any),
        Some(hub::ToolChoice::Named { function, .. }) => {
            if tools.iter().all(|tool| tool.name != function.name) {
                return wrong("tool_choice.function.name", "there is no such tool");
            }
            Ok(Freedom::Named(function.name.clone()))
        }
        Some(hub::ToolChoice::Other(_)) => wrong("tool_choice", "it is auto, none, required or a function"),
    }
}

fn translate(tool: &hub::Tool, i: usize, dropped: &mut Vec<String>) -> Result<CustomTool, UnsupportedField> {
    let wrong = |what: &str, why: &str| Err(UnsupportedField::new(format!("tools[{i}].{what}"), why));
    if tool.kind != "function" {
        return wrong("type", "only functions can be translated");
    }
    let Some(function) = &tool.function else { return wrong("function", "it is missing") };
    if !is_name(&function.name) {
        return wrong("function.name", "Anthropic takes 1 to 128 letters, digits, _ and -");
    }
    UNKNOWN.members(&format!("tools[{i}].function"), &function.other, capabilities::messages, dropped)?;
    UNKNOWN.members(&format!("tools[{i}]"), &tool.other, capabilities::messages, dropped)?;
    let other = marked(mark(&tool.other).or_else(|| mark(&function.other)));
    let Some(input_schema) = object_schema(function.parameters.as_ref()) else {
        return wrong("function.parameters", "Anthropic's tools take an object");
    };
    Ok(CustomTool {
        kind: None,
        name: function.name.clone(),
        description: function.description.clone().filter(|text| !text.is_empty()),
        input_schema,
        strict: function.strict.filter(|strict| *strict),
        other,
    })
}

/// Whether Anthropic accepts this tool name.
pub(super) fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Returns the schema if its type is `object`, which is added if it is missing.
pub(super) fn object_schema(schema: Option<&Value>) -> Option<Value> {
    match schema {
        None | Some(Value::Null) => Some(Value::object([("type", "object".into()), ("properties", Value::object([]))])),
        Some(Value::Object(members)) => match members.get("type") {
            Some(kind) if *kind == "object" => Some(Value::Object(members.clone())),
            Some(_) => None,
            None => {
                let mut schema = hub::Other::from_iter([("type".to_owned(), Value::from("object"))]);
                schema.extend((**members).clone());
                Some(schema.into())
            }
        },
        Some(_) => None,
    }
}
