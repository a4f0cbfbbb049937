//! Encodes tools and the tool choice.

use super::UNKNOWN;
use crate::dialect::{
    capabilities,
    gemini::{FunctionCallingConfig, FunctionDeclaration, Mode, Tool, ToolConfig},
    hub,
    unsupported::UnsupportedField,
};

/// Encodes tools and the tool choice.
pub(super) fn tools(
    chat: &hub::Request,
    dropped: &mut Vec<String>,
) -> Result<(Vec<Tool>, Option<ToolConfig>), UnsupportedField> {
    let tools = chat.tools.as_deref().unwrap_or_default();
    if tools.is_empty() {
        // Without tools the other settings mean nothing.
        return Ok((Vec::new(), None));
    }
    let declarations = tools.iter().enumerate().map(|(at, tool)| declaration(tool, &format!("tools[{at}]"), dropped));
    let tool = Tool { function_declarations: declarations.collect::<Result<_, _>>()? };
    if chat.parallel_tool_calls == Some(false) {
        // Callers handle several calls at once, or take the first.
        dropped.push("parallel_tool_calls".to_owned());
    }
    let is_strict = tools.iter().filter_map(|tool| tool.function.as_ref()).any(|it| it.strict == Some(true));
    if let Some(hub::ToolChoice::Named { function, .. }) = &chat.tool_choice
        && tool.function_declarations.iter().all(|it| it.name != function.name)
    {
        return Err(UnsupportedField::new("tool_choice.function.name", "there is no such tool"));
    }
    Ok((vec![tool], config(chat.tool_choice.as_ref(), is_strict)?))
}

fn declaration(
    tool: &hub::Tool,
    path: &str,
    dropped: &mut Vec<String>,
) -> Result<FunctionDeclaration, UnsupportedField> {
    let function = match &tool.function {
        Some(function) if tool.kind == "function" => function,
        _ => return Err(UNKNOWN.reject(format!("{path}.type"))),
    };
    UNKNOWN.members(path, &tool.other, capabilities::messages, dropped)?;
    UNKNOWN.members(&format!("{path}.function"), &function.other, capabilities::messages, dropped)?;
    if !is_name(&function.name) {
        let param = format!("{path}.function.name");
        return Err(UnsupportedField::new(
            param,
            "Google takes up to 64 letters, digits and `_.:-`, a letter or `_` first",
        ));
    }
    Ok(FunctionDeclaration {
        name: function.name.clone(),
        description: function.description.clone(),
        parameters_json_schema: function.parameters.clone(),
    })
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.len() <= 64 && name.chars().all(fits)
}

/// How the tools are called. Arguments that must fit their schema do so where a call is forced, and
/// else in a mode of their own.
fn config(choice: Option<&hub::ToolChoice>, is_strict: bool) -> Result<Option<ToolConfig>, UnsupportedField> {
    let free = if is_strict { Mode::Validated } else { Mode::Auto };
    let (mode, allowed_function_names) = match choice {
        None if is_strict => (free, Vec::new()),
        None => return Ok(None),
        Some(hub::ToolChoice::Mode(hub::ToolMode::Auto)) => (free, Vec::new()),
        Some(hub::ToolChoice::Mode(hub::ToolMode::None)) => (Mode::None, Vec::new()),
        Some(hub::ToolChoice::Mode(hub::ToolMode::Required)) => (Mode::Any, Vec::new()),
        Some(hub::ToolChoice::Named { function, .. }) => (Mode::Any, vec![function.name.clone()]),
        Some(hub::ToolChoice::Other(_)) => return Err(UNKNOWN.reject("tool_choice")),
    };
    Ok(Some(ToolConfig { function_calling_config: FunctionCallingConfig { mode, allowed_function_names } }))
}
