//! Errors, and the events of streams beside the output.

use crate::model_request::Kind;
use crate::piece::{Piece, Role, event};
use crate::refusal::Refusal;
use crate::wire::quoted;
use bytes::Bytes;
use serde_json::json;

/// Returns the body of an error.
pub(crate) fn error(refusal: &Refusal) -> String {
    let message = quoted(&refusal.message);
    let kind = quoted(&refusal.kind);
    let param = refusal.param.as_deref().map_or("null".to_owned(), quoted);
    let code = refusal.code.as_deref().map_or("null".to_owned(), quoted);
    format!(r#"{{"error":{{"message":{message},"type":{kind},"param":{param},"code":{code}}}}}"#)
}

pub(crate) fn error_event(kind: Kind, refusal: &Refusal) -> Bytes {
    if kind == Kind::Responses {
        let event = json!({
            "type": "error",
            "code": refusal.code.as_deref().unwrap_or(&refusal.kind),
            "message": refusal.message,
            "param": refusal.param,
            "sequence_number": 0,
        });
        return format!("event: error\ndata: {event}\n\n").into();
    }
    format!("data: {}\n\n", error(refusal)).into()
}

pub(crate) fn malformed_event(kind: Kind) -> Bytes {
    Bytes::from_static(match kind {
        Kind::Responses => {
            b"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"del\n\n"
        }
        _ => b"data: {\"id\":\"chatcmpl-0\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\n\n",
    })
}

pub(crate) fn unknown_event(kind: Kind) -> Bytes {
    Bytes::from_static(match kind {
        Kind::Responses => b"event: response.novelty\ndata: {\"type\":\"response.novelty\",\"sequence_number\":0}\n\n",
        _ => b"data: {\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.novelty\",\"choices\":[]}\n\n",
    })
}

/// Returns the end marker of a chunk stream.
pub(super) fn done() -> Piece {
    event(Role::Done, "[DONE]")
}
