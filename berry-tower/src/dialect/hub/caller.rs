//! What an encoder of responses must know of the caller's request.

use std::collections::HashMap;

/// The parts of a request that its response repeats, and the names that the translation has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CallerFacts {
    /// The members of a response that repeat the request, as JSON without braces.
    pub(crate) echo: String,
    /// Whether the caller has asked for encrypted reasoning, so that it sends back what a model wants back.
    pub(crate) wants_encrypted_reasoning: bool,
    /// The caller's tools by the names under which the model knows them.
    pub(crate) tools: HashMap<String, ToolName>,
    /// The caller's paths of the tools.
    pub(crate) tool_paths: Vec<String>,
    /// The caller's paths of the messages.
    pub(crate) messages: Vec<MessagePath>,
}

/// A tool as the caller knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ToolName {
    /// Its name within its namespace.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) namespace: Option<String>,
    /// Whether its input is free text instead of a JSON object.
    pub(crate) is_custom: bool,
}

/// The caller's paths of a message and its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessagePath {
    /// The path of the content's owner, such as `input[2]`.
    pub(crate) path: String,
    /// The paths of the calls.
    pub(crate) calls: Vec<String>,
}
