//! Structured output: as the input of a tool that the model must call, or in a native format.

use super::tools::{Choice, object_schema};
use crate::dialect::{
    hub::{self, JsonSchema, ResponseFormat},
    messages::{CustomTool, OutputConfig, OutputFormat},
    unsupported::UnsupportedField,
    value::Value,
};

/// The tool's name, unless the caller has a tool of this name.
const NAME: &str = "json_answer";

/// How structured output is requested.
#[derive(Default)]
pub(super) struct Format {
    /// The tool whose input is the output.
    pub(super) tool: Option<Box<str>>,
    /// The native format, for models that think and cannot be forced to call a tool.
    pub(super) native: Option<OutputConfig>,
}

impl Format {
    /// Adds the tool to the `choice` where one is needed. A native format accepts only strict schemas; for any other
    /// schema a tool is forced and thinking is off.
    pub(super) fn new(chat: &hub::Request, choice: &mut Choice, thinks: bool) -> Result<Self, UnsupportedField> {
        let schema = match &chat.response_format {
            None | Some(ResponseFormat::Text) => return Ok(Self::default()),
            Some(ResponseFormat::JsonObject) => None,
            Some(ResponseFormat::JsonSchema { json_schema }) => Some(json_schema),
            Some(ResponseFormat::Other(_)) => {
                return Err(UnsupportedField::new("response_format", "it is text, json_object or json_schema"));
            }
        };
        // A model that must call one of the caller's tools writes no output.
        if choice.is_forced() {
            return Ok(Self::default());
        }
        if let Some(JsonSchema { schema: Some(schema), strict: Some(true), .. }) = schema.filter(|_| thinks) {
            let format = Some(OutputFormat::JsonSchema { schema: schema.clone() });
            return Ok(Self { tool: None, native: Some(OutputConfig { format, ..OutputConfig::default() }) });
        }
        Ok(Self { tool: Some(choice.force(tool(schema)?)), native: None })
    }
}

fn tool(schema: Option<&JsonSchema>) -> Result<CustomTool, UnsupportedField> {
    let mut description = String::from("Call this tool to answer: its input is the whole answer, as JSON.");
    let input_schema = match schema {
        None => Value::object([("type", "object".into()), ("additionalProperties", true.into())]),
        Some(format) => {
            for text in [Some(&format.name), format.description.as_ref()].into_iter().flatten() {
                if !text.is_empty() {
                    description.push('\n');
                    description.push_str(text);
                }
            }
            object_schema(format.schema.as_ref()).ok_or_else(|| {
                UnsupportedField::new("response_format.json_schema.schema", "Anthropic's tools take an object")
            })?
        }
    };
    Ok(CustomTool { name: NAME.to_owned(), description: Some(description), input_schema, ..CustomTool::default() })
}
