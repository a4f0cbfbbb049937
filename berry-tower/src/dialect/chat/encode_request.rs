//! Encodes a request in OpenAI's format.

use bytes::Bytes;

use super::{decode_stream::ResponseDecoder, signatures::remove_signatures};
use crate::dialect::{
    codec::DecodeResponse,
    data_url::DataUrl,
    hub::{Content, Message, Other, Part, Request, Role, Stop, StreamOptions},
    target::Target,
    unsupported::{Rejector, UnsupportedField},
    value::Value,
    wire_format::{DecodeOptions, EncodedRequest},
};

const UNKNOWN: Rejector = Rejector::new("OpenAI's format");

/// The longest name of a tool, and of a user.
const LONGEST_NAME: usize = 64;

/// The most texts to stop at.
const MOST_STOPS: usize = 4;

/// A request in OpenAI's format.
#[derive(Debug)]
pub(super) struct ChatRequest(Request);

/// Encodes a request as OpenAI accepts it. Hints for other providers' caches and a
/// user's name that is too long are left out; the result of a tool that failed says so in its text.
///
/// # Errors
/// The field that OpenAI's format cannot express.
pub(super) fn encode_request(request: &Request) -> Result<ChatRequest, UnsupportedField> {
    if request.top_k.is_some() {
        return Err(UNKNOWN.reject("top_k"));
    }
    if matches!(&request.stop, Some(Stop::Many(texts)) if texts.len() > MOST_STOPS) {
        return Err(UnsupportedField::new("stop", "OpenAI takes at most 4"));
    }
    let mut request = request.clone();
    if request.other.get("user").and_then(Value::as_str).is_some_and(is_too_long) {
        request.other.shift_remove("user");
    }
    request.max_completion_tokens = request.max_completion_tokens.or(request.max_tokens.take());
    for (at, tool) in request.tools.iter_mut().flatten().enumerate() {
        if tool.function.as_ref().is_some_and(|function| is_too_long(&function.name)) {
            return Err(long_name(format!("tools[{at}].function.name")));
        }
        tool.other.shift_remove("cache_control");
    }
    for (at, message) in request.messages.iter_mut().enumerate() {
        fit(message, &format!("messages[{at}]"))?;
    }
    move_media(&mut request.messages);
    Ok(ChatRequest(request))
}

impl EncodedRequest for ChatRequest {
    fn body(&self, target: &Target<'_>) -> Bytes {
        let options = self.0.stream_options.clone().unwrap_or_default();
        let stream_options = StreamOptions { include_usage: Some(true), ..options };
        let stream_options = (target.stream && target.usage).then_some(stream_options);
        let mut request =
            Request { model: target.model.to_owned(), stream: Some(target.stream), stream_options, ..self.0.clone() };
        if !target.reasoning {
            request.messages.iter_mut().for_each(|message| message.reasoning_content = None);
        }
        // Only a map whose keys are no texts could fail, and there is none.
        serde_json::to_vec(&request).unwrap_or_default().into()
    }

    fn response_decoder(&self, options: DecodeOptions) -> Box<dyn DecodeResponse> {
        Box::new(ResponseDecoder::new(1, options.think_tags))
    }
}

fn fit(message: &mut Message, path: &str) -> Result<(), UnsupportedField> {
    remove_signatures(message);
    message.other.shift_remove("cache_control");
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
                parts.insert(0, Part::Text { text: "Error:".into(), other: Other::default() });
            }
            content @ None => *content = Some(Content::Text("Error".into())),
        }
    }
    Ok(())
}

/// Moves media out of tool messages, which hold only text, into a user message after the results of the turn.
fn move_media(messages: &mut Vec<Message>) {
    let mut media = Vec::new();
    let mut all = Vec::with_capacity(messages.len());
    for mut message in messages.drain(..) {
        if message.role == Role::Tool {
            if let Some(Content::Parts(parts)) = &mut message.content {
                take_media(parts, message.tool_call_id.as_deref().unwrap_or_default(), &mut media);
            }
        } else if !media.is_empty() {
            all.push(of_user(std::mem::take(&mut media)));
        }
        message.content = message.content.take().map(Content::joined);
        all.push(message);
    }
    if !media.is_empty() {
        all.push(of_user(media));
    }
    *messages = all;
}

fn take_media(parts: &mut Vec<Part>, id: &str, media: &mut Vec<Part>) {
    let is_text = |part: &Part| matches!(part, Part::Text { .. } | Part::Refusal { .. });
    if parts.iter().all(is_text) {
        return;
    }
    let text = |text: String| Part::Text { text, other: Other::default() };
    media.push(text(format!("Result of the tool call {id}:")));
    for part in std::mem::take(parts) {
        if is_text(&part) {
            parts.push(part);
        } else {
            parts.push(text("[This part of the result is in the next user message.]".to_owned()));
            media.push(part);
        }
    }
}

fn of_user(parts: Vec<Part>) -> Message {
    Message { role: Role::User, content: Some(Content::Parts(parts)), ..Message::default() }
}

fn is_too_long(name: &str) -> bool {
    name.chars().count() > LONGEST_NAME
}

fn long_name(path: String) -> UnsupportedField {
    UnsupportedField::new(path, "OpenAI takes at most 64 characters")
}

fn fit_part(part: &mut Part, role: Role, path: &str) -> Result<(), UnsupportedField> {
    let other = match part {
        Part::Text { other, .. } => other,
        Part::ImageUrl { other, .. } | Part::InputAudio { other, .. } if matches!(role, Role::User | Role::Tool) => {
            other
        }
        Part::File { file, other } if matches!(role, Role::User | Role::Tool) => {
            if file.url.is_some() && file.file_data.is_none() {
                return Err(UNKNOWN.reject(format!("{path}.file_url")));
            }
            if file.file_data.as_deref().is_some_and(|data| DataUrl::parse(data).is_none()) {
                return Err(UnsupportedField::new(format!("{path}.file.file_data"), "is no `data:` URL in base64"));
            }
            // OpenAI requires a name.
            if file.file_data.is_some() {
                file.filename.get_or_insert_with(|| "document.pdf".into());
            }
            other
        }
        Part::Refusal { .. } => return Ok(()),
        Part::ImageUrl { .. } | Part::InputAudio { .. } | Part::File { .. } | Part::Other(_) => {
            return Err(UNKNOWN.reject(path));
        }
    };
    other.shift_remove("cache_control");
    Ok(())
}
