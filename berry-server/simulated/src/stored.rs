//! The stored responses of a provider, to which `previous_response_id` and `item_reference` refer.

use super::model_request::{Kind, ModelRequest};
use super::openai::responses;
use super::refusal::Refusal;
use super::shape::Shape;
use super::words::Voice;
use arc_swap::ArcSwap;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

/// The maximum number of stored responses.
const MAX_STORED: usize = 256;

/// A stored response and its conversation.
#[derive(Clone, Debug)]
struct Stored {
    id: String,
    items: Arc<[Value]>,
}

/// The newest stored responses.
#[derive(Debug, Default)]
pub(super) struct StoredResponses(ArcSwap<VecDeque<Stored>>);

impl StoredResponses {
    /// Checks the references of a request to earlier responses. Returns the request with the conversation that it
    /// continues, if any.
    pub(super) fn with_history(
        &self,
        ask: &ModelRequest,
        lax: bool,
        voice: &Voice,
    ) -> Result<Option<ModelRequest>, Refusal> {
        if ask.kind != Kind::Responses {
            return Ok(None);
        }
        let stored = self.0.load();
        let previous = match ask.body["previous_response_id"].as_str() {
            None => None,
            Some(id) => {
                let found = stored.iter().find(|response| response.id == id);
                Some(found.ok_or_else(|| Refusal::previous_response_not_found(id))?)
            }
        };
        let whole = previous.map(|previous| {
            let mut body = ask.body.clone();
            let mut items = previous.items.to_vec();
            items.extend(responses::items(&ask.body));
            body["input"] = items.into();
            ModelRequest { kind: ask.kind, model: ask.model.clone(), stream: ask.stream, body, betas: None }
        });
        if !lax {
            let is_stored = |id: &str| {
                let mut items = stored.iter().flat_map(|response| response.items.iter());
                items.any(|item| item["id"] == id)
            };
            responses::check_with_account(whole.as_ref().unwrap_or(ask), voice.account, is_stored)?;
        }
        Ok(whole)
    }

    /// Stores the response to a request, unless the request has `store: false`.
    pub(super) fn keep(&self, ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) {
        let id = responses::id(seed);
        if ask.kind != Kind::Responses || ask.body["store"] == Value::Bool(false) {
            return;
        }
        if self.0.load().iter().any(|response| response.id == id) {
            return;
        }
        let mut items = responses::items(&ask.body);
        items.extend(responses::output(ask, shape, voice, seed));
        let kept = Stored { id, items: items.into() };
        self.0.rcu(|stored| {
            let mut stored = VecDeque::clone(stored);
            stored.truncate(MAX_STORED - 1);
            stored.push_front(kept.clone());
            stored
        });
    }
}
