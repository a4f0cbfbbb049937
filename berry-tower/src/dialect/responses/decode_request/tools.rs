//! Decodes tools and the tool choice.

use std::collections::HashMap;

use super::UNKNOWN;
use crate::dialect::{
    capabilities, hub,
    responses::{custom_input::INPUT, request::Request, tool_names},
    unsupported::UnsupportedField,
    value::{Object, Value},
};

/// The tools of a request that other formats can express.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) tools: Vec<hub::Tool>,
    /// The caller's names by the model's.
    pub(super) names: HashMap<String, hub::ToolName>,
    /// The caller's paths.
    pub(super) paths: Vec<String>,
    pub(super) choice: Option<hub::ToolChoice>,
}

/// Decodes the tools of the request and of its items. Tools that the provider runs are optional unless the model must
/// call one.
///
/// # Errors
/// The tool that other formats cannot express.
pub(super) fn tools(request: &Request, items: &[Value], dropped: &mut Vec<String>) -> Result<Tools, UnsupportedField> {
    let mut tools = Tools::default();
    for (at, tool) in request.tools.iter().enumerate() {
        tools.add(tool, None, &format!("tools[{at}]"), dropped)?;
    }
    for (i, item) in items.iter().enumerate() {
        let kind = item.get("type").and_then(Value::as_str);
        if !matches!(kind, Some("additional_tools" | "tool_search_output")) {
            continue;
        }
        for (at, tool) in item.get("tools").and_then(Value::as_array).unwrap_or_default().iter().enumerate() {
            tools.add(tool, None, &format!("input[{i}].tools[{at}]"), dropped)?;
        }
    }
    tools.choose(request.tool_choice.as_ref())?;
    Ok(tools)
}

impl Tools {
    fn add(
        &mut self,
        tool: &Value,
        namespace: Option<&str>,
        path: &str,
        dropped: &mut Vec<String>,
    ) -> Result<(), UnsupportedField> {
        let text = |name: &str| tool.get(name).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        match text("type") {
            Some("function") => {
                // Chat requests have the members in an object of their own.
                let members = tool.get("function").filter(|it| it.as_object().is_some()).unwrap_or(tool);
                let text = |name: &str| members.get(name).and_then(Value::as_str);
                let function = hub::Function {
                    description: text("description").map(str::to_owned),
                    parameters: members.get("parameters").filter(|it| !it.is_null()).cloned(),
                    strict: if members.get("strict") == Some(&Value::Bool(true)) { Some(true) } else { None },
                    ..hub::Function::default()
                };
                UNKNOWN.members(path, &unknown(tool), capabilities::responses_tool, dropped)?;
                self.function(function, text("name").unwrap_or(name), namespace, false, path)
            }
            Some("custom") => self.function(custom(tool), name, namespace, true, path),
            Some("namespace") if namespace.is_none() => {
                let tools = tool.get("tools").and_then(Value::as_array).unwrap_or_default();
                let mut tools = tools.iter().enumerate();
                tools.try_for_each(|(at, inner)| self.add(inner, Some(name), &format!("{path}.tools[{at}]"), dropped))
            }
            // Tools of the provider's; a forced one is refused with the choice.
            Some(hosted) => {
                dropped.push(format!("tools[{hosted}]"));
                Ok(())
            }
            None => Err(UnsupportedField::new(format!("{path}.type"), "it is required")),
        }
    }

    fn function(
        &mut self,
        function: hub::Function,
        name: &str,
        namespace: Option<&str>,
        is_custom: bool,
        path: &str,
    ) -> Result<(), UnsupportedField> {
        if name.is_empty() {
            return Err(UnsupportedField::new(format!("{path}.name"), "it is required"));
        }
        let flat = tool_names::flat(namespace, name);
        let own = hub::ToolName { name: name.to_owned(), namespace: namespace.map(str::to_owned), is_custom };
        let function = hub::Function { name: flat.clone(), ..function };
        let tool = hub::Tool { kind: "function".to_owned(), function: Some(function), other: Object::default() };
        match self.names.get(&flat) {
            None => {
                self.names.insert(flat, own);
                self.tools.push(tool);
                self.paths.push(path.to_owned());
            }
            // The same tool once more: the later one counts.
            Some(known) if known.name == own.name && known.namespace == own.namespace => {
                let is_same = |it: &hub::Tool| it.function.as_ref().is_some_and(|function| function.name == flat);
                if let Some(at) = self.tools.iter().position(is_same) {
                    self.tools[at] = tool;
                    path.clone_into(&mut self.paths[at]);
                }
                self.names.insert(flat, own);
            }
            Some(_) => {
                let reason = format!("two tools have the name {flat} for models without namespaces");
                return Err(UnsupportedField::new(format!("{path}.name"), reason));
            }
        }
        Ok(())
    }

    fn choose(&mut self, choice: Option<&Value>) -> Result<(), UnsupportedField> {
        let mode = |mode: &str| match mode {
            "auto" => Some(hub::ToolMode::Auto),
            "none" => Some(hub::ToolMode::None),
            "required" | "any" => Some(hub::ToolMode::Required),
            _ => None,
        };
        let text = |name: &str| choice.and_then(|choice| choice.get(name)).and_then(Value::as_str);
        let unknown = || UNKNOWN.reject("tool_choice");
        let chosen = match choice {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(name)) => hub::ToolChoice::Mode(mode(name).ok_or_else(unknown)?),
            Some(choice) => match text("type") {
                Some("function" | "custom") => {
                    let function = choice.get("function").unwrap_or(choice);
                    let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
                    hub::ToolChoice::Named {
                        kind: hub::FunctionKind::Function,
                        function: hub::NamedFunction { name: self.find(text("namespace"), name) },
                    }
                }
                Some("allowed_tools") => {
                    let allowed = choice.get("tools").and_then(Value::as_array).unwrap_or_default();
                    self.allow(allowed);
                    hub::ToolChoice::Mode(mode(text("mode").unwrap_or("auto")).ok_or_else(unknown)?)
                }
                Some(name) => hub::ToolChoice::Mode(mode(name).ok_or_else(unknown)?),
                None => return Err(unknown()),
            },
        };
        if self.tools.is_empty() && !matches!(chosen, hub::ToolChoice::Mode(hub::ToolMode::Auto | hub::ToolMode::None))
        {
            // Only a tool of the provider's could be called.
            return Err(unknown());
        }
        self.choice = Some(chosen);
        Ok(())
    }

    /// The model's name of a tool. One without a namespace may be in any.
    fn find(&self, namespace: Option<&str>, name: &str) -> String {
        let flat = tool_names::flat(namespace, name);
        if namespace.is_some() || self.names.contains_key(&flat) {
            return flat;
        }
        let mut within = self.names.iter().filter(|(_, own)| own.name == name);
        within.next().map_or(flat, |(flat, _)| flat.clone())
    }

    /// Keeps the tools that a choice allows.
    fn allow(&mut self, allowed: &[Value]) {
        let text = |tool: &Value, name: &str| tool.get(name).and_then(Value::as_str).map(str::to_owned);
        let is_allowed = |own: &hub::ToolName| {
            allowed.iter().any(|tool| {
                let kind = text(tool, "type");
                if kind.as_deref() == Some("namespace") {
                    return own.namespace.is_some() && own.namespace == text(tool, "name");
                }
                let namespace = text(tool, "namespace");
                text(tool, "name").as_ref() == Some(&own.name) && (namespace.is_none() || namespace == own.namespace)
            })
        };
        self.names.retain(|_, own| is_allowed(own));
        let names = &self.names;
        let is_kept = |tool: &hub::Tool| tool.function.as_ref().is_some_and(|it| names.contains_key(&it.name));
        let kept: Vec<_> = self.tools.iter().map(is_kept).collect();
        let mut at = kept.iter();
        self.tools.retain(|_| at.next().copied().unwrap_or_default());
        let mut at = kept.iter();
        self.paths.retain(|_| at.next().copied().unwrap_or_default());
    }
}

/// The members of a function that other formats may lack.
fn unknown(tool: &Value) -> Object {
    let known = ["type", "name", "description", "parameters", "strict", "function"];
    let members = tool.as_object().into_iter().flatten();
    members.filter(|(name, _)| !known.contains(&name.as_str())).map(|(name, it)| (name.clone(), it.clone())).collect()
}

/// Returns the function that stands for a custom tool: its argument is the input.
fn custom(tool: &Value) -> hub::Function {
    let text = |name: &str| tool.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut description = text("description").unwrap_or_default().to_owned();
    let format = tool.get("format");
    let of_format = |name: &str| format.and_then(|format| format.get(name)).and_then(Value::as_str);
    // Older clients have the grammar in an object of its own.
    let grammar = |name: &str| {
        let inner = format.and_then(|format| format.get("grammar")).and_then(|grammar| grammar.get(name));
        of_format(name).or_else(|| inner.and_then(Value::as_str))
    };
    if let Some(definition) = grammar("definition") {
        let syntax = grammar("syntax").unwrap_or("lark");
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        description.push_str(&format!("`{INPUT}` must follow this {syntax} grammar:\n\n{definition}"));
    }
    let what = "The whole input of the tool as plain text.";
    let input = Value::object([("type", "string".into()), ("description", what.into())]);
    let parameters = Value::object([
        ("type", "object".into()),
        ("properties", Value::object([(INPUT, input)])),
        ("required", Value::Array(vec![INPUT.into()])),
        ("additionalProperties", false.into()),
    ]);
    hub::Function {
        description: (!description.is_empty()).then_some(description),
        parameters: Some(parameters),
        ..hub::Function::default()
    }
}
