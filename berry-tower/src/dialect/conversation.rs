//! One request of a conversation, translated for whoever may answer it.

use std::{fmt, sync::OnceLock};

use bytes::Bytes;

use super::{Dialect, Inexpressible, Read, Sampling, Write, chat, claude, gemini, messages};
use crate::endpoint::Endpoint;

/// Whom a translated request is for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The backend's format.
    pub dialect: Dialect,
    /// The backend's name for the model.
    pub model: &'a str,
    /// What of a request's sampling it takes.
    pub sampling: Sampling,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a stream of OpenAI's format is asked for its tokens.
    pub usage: bool,
}

/// A request of a conversation, read when a backend of another format may answer it, and
/// translated once for each format. Made by Select, which needs to know who can express it, and
/// left in the request's extensions for the client.
///
/// ```
/// use berry_tower::{dialect::{Conversation, Dialect}, endpoint::Endpoint};
///
/// let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"n":2}"#;
/// let conversation = Conversation::new(Endpoint::ChatCompletions, body.into());
/// assert_eq!(conversation.expressible(Dialect::Gemini), Ok(()));
/// assert_eq!(conversation.expressible(Dialect::Claude).unwrap_err().param, "n");
/// ```
pub struct Conversation {
    endpoint: Endpoint,
    body: Bytes,
    chat: OnceLock<Result<chat::Request, Inexpressible>>,
    openai: OnceLock<Result<chat::Request, Inexpressible>>,
    claude: OnceLock<Result<claude::Request, Inexpressible>>,
    gemini: OnceLock<Result<gemini::Request, Inexpressible>>,
}

impl fmt::Debug for Conversation {
    // Without the content, which belongs to the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Conversation {
    /// The request with this body to [chat](Endpoint::ChatCompletions) or
    /// [messages](Endpoint::Messages); nothing is read yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, body: Bytes) -> Self {
        let (chat, openai) = (OnceLock::new(), OnceLock::new());
        Self { endpoint, body, chat, openai, claude: OnceLock::new(), gemini: OnceLock::new() }
    }

    /// The request in the hub's types.
    fn chat(&self) -> Result<&chat::Request, &Inexpressible> {
        let read = || match self.endpoint {
            Endpoint::Messages => messages::to_chat(&messages::Request::read(&self.body)?),
            _ => chat::Request::read(&self.body),
        };
        self.chat.get_or_init(read).as_ref()
    }

    /// What the hub's request has and a format has not, by the caller's name for it.
    fn as_called(&self, mut what: Inexpressible) -> Inexpressible {
        if self.endpoint == Endpoint::Messages
            && let Ok(request) = messages::Request::read(&self.body)
        {
            what.param = messages::place(&what.param, &request);
        }
        what
    }

    fn openai(&self) -> Result<&chat::Request, &Inexpressible> {
        let translate = || self.chat().map_err(Clone::clone)?.for_openai().map_err(|what| self.as_called(what));
        self.openai.get_or_init(translate).as_ref()
    }

    fn claude(&self) -> Result<&claude::Request, &Inexpressible> {
        let translate = || claude::Request::from_chat(self.chat().map_err(Clone::clone)?);
        self.claude.get_or_init(translate).as_ref()
    }

    fn gemini(&self) -> Result<&gemini::Request, &Inexpressible> {
        let translate =
            || gemini::Request::from_chat(self.chat().map_err(Clone::clone)?).map_err(|what| self.as_called(what));
        self.gemini.get_or_init(translate).as_ref()
    }

    /// Whether a backend of this format can be asked.
    ///
    /// # Errors
    /// What of the request it has no words for.
    pub fn expressible(&self, dialect: Dialect) -> Result<(), &Inexpressible> {
        match dialect {
            Dialect::Claude => self.claude().map(|_| ()),
            Dialect::Gemini => self.gemini().map(|_| ()),
            Dialect::OpenAi | Dialect::Azure => self.openai().map(|_| ()),
        }
    }

    /// What is known to be beyond a backend of this format: nothing as long as nobody has
    /// [asked](Self::expressible), for asking costs a translation.
    #[must_use]
    pub fn known_inexpressible(&self, dialect: Dialect) -> Option<&Inexpressible> {
        match dialect {
            Dialect::Claude => self.claude.get()?.as_ref().err(),
            Dialect::Gemini => self.gemini.get()?.as_ref().err(),
            Dialect::OpenAi | Dialect::Azure => self.openai.get()?.as_ref().err(),
        }
    }

    /// The body for a backend.
    ///
    /// # Errors
    /// What of the request the backend has no words for.
    pub fn write(&self, target: &Target<'_>) -> Result<Bytes, Inexpressible> {
        let Target { dialect, model, sampling, stream, usage } = *target;
        Ok(match dialect {
            Dialect::Claude => self.claude().map_err(Clone::clone)?.write(model, sampling, stream),
            Dialect::Gemini => self.gemini().map_err(Clone::clone)?.write(),
            Dialect::OpenAi | Dialect::Azure => {
                self.openai().map_err(Clone::clone)?.clone().into_body(model, stream, usage)
            }
        })
    }

    /// A reader of the backend's answer; `created` is the time, in seconds since 1970.
    ///
    /// # Errors
    /// What of the request the backend has no words for.
    pub fn reader(&self, dialect: Dialect, created: u64) -> Result<Box<dyn Read>, Inexpressible> {
        Ok(match dialect {
            Dialect::Claude => Box::new(self.claude().map_err(Clone::clone)?.reader(created)),
            Dialect::Gemini => Box::new(self.gemini().map_err(Clone::clone)?.reader(created)),
            Dialect::OpenAi | Dialect::Azure => Box::new(chat::Reader::new(1)),
        })
    }

    /// A writer of the answer for the caller.
    #[must_use]
    pub fn writer(&self) -> Box<dyn Write> {
        match self.endpoint {
            Endpoint::Messages => Box::new(messages::Writer::default()),
            _ => Box::new(chat::Writer),
        }
    }
}
