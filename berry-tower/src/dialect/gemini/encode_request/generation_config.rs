//! Encodes sampling, length and format of the output.

use super::UNKNOWN;
use crate::dialect::{
    gemini::{GenerationConfig, MediaResolution, ThinkingConfig},
    hub,
    unsupported::UnsupportedField,
    value::Value,
};

/// The most candidates that Google gives.
const CANDIDATES: u64 = 8;
/// The most texts to stop at.
const STOPS: usize = 5;

/// Returns the generation settings; `None` if the request has none.
pub(super) fn generation(chat: &hub::Request) -> Result<Option<GenerationConfig>, UnsupportedField> {
    let candidate_count = match chat.n {
        None | Some(1) => None,
        Some(n @ 2..=CANDIDATES) => u32::try_from(n).ok(),
        Some(_) => return Err(UnsupportedField::new("n", "Google gives 1 to 8 answers")),
    };
    let stop_sequences = match &chat.stop {
        None => Vec::new(),
        Some(hub::Stop::One(text)) => vec![text.clone()],
        Some(hub::Stop::Many(texts)) if texts.len() > STOPS => {
            return Err(UnsupportedField::new("stop", "Google takes at most five"));
        }
        Some(hub::Stop::Many(texts)) => texts.clone(),
    };
    let (response_mime_type, response_json_schema) = form(chat.response_format.as_ref())?;
    let response_logprobs = chat.logprobs.filter(|wanted| *wanted);
    let config = GenerationConfig {
        max_output_tokens: chat.max_completion_tokens.or(chat.max_tokens),
        temperature: chat.temperature,
        top_p: chat.top_p,
        top_k: chat.top_k,
        stop_sequences,
        candidate_count,
        presence_penalty: chat.presence_penalty,
        frequency_penalty: chat.frequency_penalty,
        // A hint: one that does not fit is left out.
        seed: chat.seed.and_then(|seed| i32::try_from(seed).ok()),
        response_logprobs,
        logprobs: response_logprobs.and(chat.top_logprobs),
        response_mime_type,
        response_json_schema,
        thinking_config: chat.reasoning_effort.as_deref().map(thinking).transpose()?,
        media_resolution: resolution(&chat.messages)?,
    };
    Ok((config != GenerationConfig::default()).then_some(config))
}

type Form = (Option<String>, Option<Value>);

fn form(format: Option<&hub::ResponseFormat>) -> Result<Form, UnsupportedField> {
    let schema = match format {
        None | Some(hub::ResponseFormat::Text) => return Ok((None, None)),
        Some(hub::ResponseFormat::JsonObject) => None,
        Some(hub::ResponseFormat::JsonSchema { json_schema }) => described(json_schema),
        Some(hub::ResponseFormat::Other(_)) => return Err(UNKNOWN.reject("response_format.type")),
    };
    Ok((Some("application/json".into()), schema))
}

/// Returns the schema with the caller's description in it.
fn described(format: &hub::JsonSchema) -> Option<Value> {
    let mut schema = format.schema.clone()?;
    if let (Value::Object(members), Some(description)) = (&mut schema, &format.description) {
        members.entry("description".to_owned()).or_insert_with(|| description.as_str().into());
    }
    Some(schema)
}

fn thinking(effort: &str) -> Result<ThinkingConfig, UnsupportedField> {
    let budget = match effort {
        "none" => 0,
        "minimal" => 512,
        "low" => 1024,
        "medium" => 4096,
        "high" => 16384,
        // The most that all thinking models take.
        "xhigh" | "max" => 24576,
        _ => return Err(UNKNOWN.reject("reasoning_effort")),
    };
    Ok(ThinkingConfig { include_thoughts: (budget > 0).then_some(true), thinking_budget: Some(budget) })
}

/// Returns the resolution, which Google has once for all pictures.
fn resolution(messages: &[hub::Message]) -> Result<Option<MediaResolution>, UnsupportedField> {
    let mut all = None;
    for (at, message) in messages.iter().enumerate() {
        let Some(hub::Content::Parts(parts)) = &message.content else { continue };
        for (part_at, part) in parts.iter().enumerate() {
            let hub::Part::ImageUrl { image_url, .. } = part else { continue };
            let path = || format!("messages[{at}].content[{part_at}].image_url.detail");
            let wanted = match image_url.detail.as_deref() {
                None | Some("auto") => None,
                Some("low") => Some(MediaResolution::Low),
                Some("high") => Some(MediaResolution::High),
                Some(_) => return Err(UNKNOWN.reject(path())),
            };
            if *all.get_or_insert(wanted) != wanted {
                return Err(UnsupportedField::new(path(), "Google looks at all pictures with one resolution"));
            }
        }
    }
    Ok(all.flatten())
}
