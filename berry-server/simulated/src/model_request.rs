//! What a model request says.

use serde_json::Value;

/// The kind of a model request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Moderations,
    Images,
    ImageEdits,
    ImageVariations,
    Speech,
    Transcriptions,
    Translations,
    Rerank,
    /// Anthropic's chat.
    Messages,
    /// Google's chat.
    Generate,
    /// The count of a prompt's tokens, in each dialect's own form.
    CountTokens,
}

/// The information in the head of a model request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) kind: Kind,
    /// The model, if the address names it.
    pub(super) model: Option<String>,
    /// Whether a stream is requested, if the address says so.
    pub(super) stream: Option<bool>,
    /// The beta features that the head asks for.
    pub(super) betas: Option<String>,
}

impl From<Kind> for Target {
    fn from(kind: Kind) -> Self {
        Self { kind, model: None, stream: None, betas: None }
    }
}

/// The route of a request.
#[derive(Debug)]
pub(super) enum Route {
    /// The list of models.
    List,
    /// One model of the list.
    One(String),
    /// A model request.
    Call(Target),
}

impl Kind {
    /// Whether requests are multipart forms.
    pub(super) const fn takes_form(self) -> bool {
        matches!(self, Self::ImageEdits | Self::ImageVariations | Self::Transcriptions | Self::Translations)
    }
}

/// A parsed model request.
#[derive(Debug)]
pub(super) struct ModelRequest {
    pub(super) kind: Kind,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) body: Value,
    /// The beta features that it asks for.
    pub(super) betas: Option<String>,
}

impl ModelRequest {
    pub(super) fn number(&self, field: &str) -> Option<usize> {
        usize::try_from(self.body.get(field)?.as_u64()?).ok()
    }

    pub(super) fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or("")
    }
}
