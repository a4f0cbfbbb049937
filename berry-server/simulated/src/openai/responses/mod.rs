//! The Responses API, plain and streamed.

mod events;
mod response;
pub(in crate::openai) mod rules;
mod seal;
mod tables;
mod turn;

use self::response::Response;
use self::turn::turn;
use crate::model_request::ModelRequest;
use crate::shape::Shape;
use crate::valid_response::ValidResponse;
use crate::words::Voice;
use serde_json::{Value, json};

pub(crate) use self::response::id;
pub(crate) use self::rules::check_with_account;
pub(crate) use self::turn::items;

pub(super) fn answer(ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse {
    let response = Response::new(ask, shape, voice, seed);
    if shape.stream {
        ValidResponse::events(events::events(&response))
    } else {
        ValidResponse::json(response.whole().to_string())
    }
}

/// Returns the number of tokens of a request.
pub(super) fn input_tokens(ask: &ModelRequest) -> ValidResponse {
    let tokens = turn(&ask.body).prompt;
    ValidResponse::json(json!({"object": "response.input_tokens", "input_tokens": tokens}).to_string())
}

/// Returns the output of a response as input items of the next request.
pub(crate) fn output(ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> Vec<Value> {
    Response::new(ask, shape, voice, seed).items()
}
