//! The hub's request in OpenAI's own format, for callers who speak another.

use bytes::Bytes;

use super::foreign::forget;
use super::{Content, Message, Part, Request, Role, Stop, StreamOptions};
use crate::dialect::{Inexpressible, data_url::DataUrl, unknown::Unknown};

const UNKNOWN: Unknown = Unknown::to("OpenAI's format");

/// The longest name of a tool, and of a user.
const LONGEST_NAME: usize = 64;

/// The most texts to stop at.
const MOST_STOPS: usize = 4;

impl Request {
    /// The request as OpenAI takes it, for the backend's `model`; a stream is asked to tell its usage.
    /// Thoughts of earlier turns, hints for other providers' caches and a user's name that is too long are
    /// left out; of a tool that failed the text says so.
    ///
    /// # Errors
    /// The field that OpenAI's format has no words for.
    ///
    /// ```
    /// use berry_tower::dialect::chat::Request;
    ///
    /// let read = |body: &str| Request::read(body.as_bytes()).unwrap();
    /// let request = read(r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":9}"#);
    /// assert_eq!(
    ///     request.write("gpt", false).unwrap(),
    ///     r#"{"model":"gpt","messages":[{"role":"user","content":"Hi"}],"stream":false,"max_completion_tokens":9}"#
    /// );
    /// assert_eq!(read(r#"{"model":"m","messages":[],"top_k":5}"#).write("gpt", false).unwrap_err().param, "top_k");
    /// ```
    pub fn write(&self, model: &str, stream: bool) -> Result<Bytes, Inexpressible> {
        Ok(self.for_openai()?.into_body(model, stream, true))
    }

    /// The request as far as it does not depend on the backend.
    pub(in crate::dialect) fn for_openai(&self) -> Result<Self, Inexpressible> {
        if self.top_k.is_some() {
            return Err(UNKNOWN.refuse("top_k"));
        }
        if matches!(&self.stop, Some(Stop::Many(texts)) if texts.len() > MOST_STOPS) {
            return Err(Inexpressible::new("stop", "OpenAI takes at most 4"));
        }
        let mut request = self.clone();
        if request.other.get("user").and_then(|user| user.as_str()).is_some_and(is_too_long) {
            request.other.shift_remove("user");
        }
        request.max_completion_tokens = request.max_completion_tokens.or(request.max_tokens.take());
        for (at, tool) in request.tools.iter_mut().flatten().enumerate() {
            if tool.function.as_ref().is_some_and(|function| is_too_long(&function.name)) {
                return Err(long_name(format!("tools[{at}].function.name")));
            }
            tool.other.remove("cache_control");
        }
        for (at, message) in request.messages.iter_mut().enumerate() {
            fit(message, &format!("messages[{at}]"))?;
        }
        Ok(request)
    }

    /// The request for a backend; with `usage` a stream is asked to tell its tokens.
    pub(in crate::dialect) fn into_body(self, model: &str, stream: bool, usage: bool) -> Bytes {
        let options = self.stream_options.unwrap_or_default();
        let stream_options = StreamOptions { include_usage: Some(true), ..options };
        let stream_options = (stream && usage).then_some(stream_options);
        let request = Self { model: model.to_owned(), stream: Some(stream), stream_options, ..self };
        // Only a map with keys that are no texts could fail, and there is none.
        serde_json::to_vec(&request).unwrap_or_default().into()
    }
}

fn fit(message: &mut Message, path: &str) -> Result<(), Inexpressible> {
    message.reasoning_content = None;
    forget(message);
    message.other.remove("cache_control");
    for (at, call) in message.tool_calls.iter().flatten().enumerate() {
        if is_too_long(&call.function.name) {
            return Err(long_name(format!("{path}.tool_calls[{at}].function.name")));
        }
    }
    if let Some(Content::Parts(parts)) = &mut message.content {
        for (at, part) in parts.iter_mut().enumerate() {
            fit_part(part, message.role, &format!("{path}.content[{at}]"))?;
        }
    }
    if message.is_error.take() == Some(true) {
        match &mut message.content {
            Some(Content::Text(text)) => text.insert_str(0, "Error: "),
            Some(Content::Parts(parts)) => {
                parts.insert(0, Part::Text { text: "Error:".into(), other: super::Other::new() });
            }
            content @ None => *content = Some(Content::Text("Error".into())),
        }
    }
    Ok(())
}

fn is_too_long(name: &str) -> bool {
    name.chars().count() > LONGEST_NAME
}

fn long_name(path: String) -> Inexpressible {
    Inexpressible::new(path, "OpenAI takes at most 64 characters")
}

fn fit_part(part: &mut Part, role: Role, path: &str) -> Result<(), Inexpressible> {
    let other = match part {
        Part::Text { other, .. } => other,
        Part::ImageUrl { other, .. } | Part::InputAudio { other, .. } if role == Role::User => other,
        Part::File { file, other } if role == Role::User => {
            if file.file_data.as_deref().is_some_and(|data| DataUrl::parse(data).is_none()) {
                return Err(Inexpressible::new(format!("{path}.file.file_data"), "is no `data:` URL in base64"));
            }
            // OpenAI insists on a name.
            if file.file_data.is_some() {
                file.filename.get_or_insert_with(|| "document.pdf".into());
            }
            other
        }
        Part::Refusal { .. } => return Ok(()),
        Part::ImageUrl { .. } | Part::InputAudio { .. } | Part::File { .. } | Part::Other(_) => {
            return Err(UNKNOWN.refuse(path));
        }
    };
    other.remove("cache_control");
    Ok(())
}
