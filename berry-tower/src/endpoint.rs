//! The endpoints that a gateway routes by the `model` in the body.

/// An endpoint of OpenAI's or Anthropic's API, or of the rerank API that several providers share.
///
/// ```
/// use berry_tower::endpoint::Endpoint;
///
/// assert_eq!(Endpoint::from_path("/v1/chat/completions"), Some(Endpoint::ChatCompletions));
/// assert_eq!(Endpoint::from_path("/openai/v1/embeddings"), Some(Endpoint::Embeddings));
/// assert_eq!(Endpoint::from_path("/v1/files"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
    /// `/v1/audio/transcriptions`
    AudioTranscriptions,
    /// `/v1/audio/translations`
    AudioTranslations,
    /// `/v1/images/edits`
    ImagesEdits,
    /// `/v1/images/variations`
    ImagesVariations,
    /// `/v1/rerank` and `/v2/rerank`
    Rerank,
}

/// The body of a plain successful response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlainResponse {
    /// One JSON object.
    Json,
    /// Audio, never JSON.
    Audio,
    /// JSON, plain text or subtitles, as the request asks for.
    Transcript,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug)]
struct Facts {
    endpoint: Endpoint,
    /// The path below the version segment.
    path: &'static str,
    /// Whether `stream` in a request makes its response a stream.
    streams: bool,
    /// Whether the request is a conversation, which can be translated between formats.
    is_chat: bool,
    /// Whether the request may be a multipart form.
    takes_form: bool,
    response: PlainResponse,
}

impl Facts {
    const fn new(endpoint: Endpoint, path: &'static str) -> Self {
        Self { endpoint, path, streams: false, is_chat: false, takes_form: false, response: PlainResponse::Json }
    }

    const fn streams(self) -> Self {
        Self { streams: true, ..self }
    }

    const fn chat(self) -> Self {
        Self { is_chat: true, streams: true, ..self }
    }

    const fn form(self) -> Self {
        Self { takes_form: true, ..self }
    }

    const fn response(self, response: PlainResponse) -> Self {
        Self { response, ..self }
    }
}

/// The endpoints in the order of [`Endpoint::index`].
const TABLE: [Facts; 13] = [
    Facts::new(Endpoint::ChatCompletions, "/chat/completions").chat(),
    Facts::new(Endpoint::Completions, "/completions").streams(),
    Facts::new(Endpoint::Embeddings, "/embeddings"),
    Facts::new(Endpoint::Responses, "/responses").chat(),
    Facts::new(Endpoint::Moderations, "/moderations"),
    Facts::new(Endpoint::ImagesGenerations, "/images/generations").streams(),
    Facts::new(Endpoint::AudioSpeech, "/audio/speech").response(PlainResponse::Audio),
    Facts::new(Endpoint::Messages, "/messages").chat(),
    Facts::new(Endpoint::AudioTranscriptions, "/audio/transcriptions")
        .form()
        .streams()
        .response(PlainResponse::Transcript),
    Facts::new(Endpoint::AudioTranslations, "/audio/translations").form().response(PlainResponse::Transcript),
    Facts::new(Endpoint::ImagesEdits, "/images/edits").form().streams(),
    Facts::new(Endpoint::ImagesVariations, "/images/variations").form(),
    Facts::new(Endpoint::Rerank, "/rerank"),
];

impl Endpoint {
    /// Every endpoint, in the order of [`index`](Self::index).
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::ChatCompletions; TABLE.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = TABLE[i].endpoint;
            i += 1;
        }
        all
    };

    const fn facts(self) -> &'static Facts {
        &TABLE[self as usize]
    }

    /// Returns the position of the endpoint in [`ALL`](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the path below the version segment, with its slash.
    #[must_use]
    pub const fn path(self) -> &'static str {
        self.facts().path
    }

    /// Returns the endpoint that a request's path names, under any prefix.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        // The last segment rules out most endpoints. A longer path stands before its suffix in the table.
        TABLE.iter().find(|facts| path.ends_with(facts.path)).map(|facts| facts.endpoint)
    }

    /// Whether requests are conversations, which can be translated between formats.
    #[must_use]
    pub const fn is_chat(self) -> bool {
        self.facts().is_chat
    }

    /// Whether `"stream": true` in a request makes its response a stream. Elsewhere it has no effect.
    #[must_use]
    pub const fn streams(self) -> bool {
        self.facts().streams
    }

    /// Whether a request may be a multipart form instead of a JSON object.
    #[must_use]
    pub const fn takes_form(self) -> bool {
        self.facts().takes_form
    }

    /// Whether a plain successful response is always a JSON object.
    #[must_use]
    pub const fn answers_json(self) -> bool {
        matches!(self.facts().response, PlainResponse::Json)
    }

    /// Whether a successful response is audio, so that a JSON object is none.
    #[must_use]
    pub const fn answers_audio(self) -> bool {
        matches!(self.facts().response, PlainResponse::Audio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_row() {
        for (i, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint.index(), i);
            assert_eq!(endpoint.facts().endpoint, endpoint);
        }
    }

    #[test]
    fn every_path_finds_its_endpoint() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::from_path(&format!("/v1{}", endpoint.path())), Some(endpoint));
        }
        assert_eq!(Endpoint::from_path("/v2/rerank"), Some(Endpoint::Rerank));
    }
}
