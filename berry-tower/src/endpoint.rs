//! The endpoints that a gateway routes by the `model` in the body.

/// An endpoint of OpenAI's or Anthropic's API.
///
/// ```
/// use berry_tower::endpoint::Endpoint;
///
/// assert_eq!(Endpoint::from_path("/v1/chat/completions"), Some(Endpoint::ChatCompletions));
/// assert_eq!(Endpoint::from_path("/openai/v1/embeddings"), Some(Endpoint::Embeddings));
/// assert_eq!(Endpoint::from_path("/v1/files"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
    /// `/v1/moderations`
    Moderations,
    /// `/v1/images/generations`
    ImagesGenerations,
    /// `/v1/audio/speech`
    AudioSpeech,
    /// `/v1/messages`, Anthropic's
    Messages,
}

impl Endpoint {
    /// Every endpoint, in the order of [`index`](Self::index).
    pub const ALL: [Self; 8] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Moderations,
        Self::ImagesGenerations,
        Self::AudioSpeech,
        Self::Messages,
    ];

    /// A small number for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The path below the version segment, with its slash.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
            Self::Moderations => "/moderations",
            Self::ImagesGenerations => "/images/generations",
            Self::AudioSpeech => "/audio/speech",
            Self::Messages => "/messages",
        }
    }

    /// The endpoint that a request's path names, wherever the application has mounted it.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| path.ends_with(e.path()))
    }

    /// Whether it is a conversation: these can be translated between providers.
    #[must_use]
    pub const fn is_chat(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Messages)
    }

    /// Whether `"stream": true` in a request makes its answer a stream; elsewhere it means nothing.
    #[must_use]
    pub const fn streams(self) -> bool {
        !matches!(self, Self::Embeddings | Self::Moderations | Self::AudioSpeech)
    }

    /// Whether a good plain answer is a JSON object (all but audio).
    #[must_use]
    pub const fn answers_json(self) -> bool {
        !matches!(self, Self::AudioSpeech)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_finds_its_endpoint() {
        for (i, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint.index(), i);
            assert_eq!(Endpoint::from_path(&format!("/v1{}", endpoint.path())), Some(endpoint));
        }
    }
}
