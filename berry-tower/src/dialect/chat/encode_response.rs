//! Encodes responses in OpenAI's format.

use serde::Serialize;

use crate::dialect::{
    codec::{EncodeResponse, StreamItem},
    hub::Response,
};

/// Writes chat answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResponseEncoder;

impl EncodeResponse for ResponseEncoder {
    fn encode_response(&mut self, answer: Response) -> Vec<u8> {
        // Only a map with keys that are no texts could fail, and there is none.
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    fn encode_item(&mut self, item: StreamItem, out: &mut Vec<u8>) {
        match item {
            StreamItem::Chunk(chunk) => event(&chunk, out),
            StreamItem::Thought(_) => {}
            StreamItem::Error(error) => {
                let (kind, code, message) =
                    (error.kind.as_deref().unwrap_or("server_error"), error.code, error.message);
                event(&ErrorEvent { error: ErrorBody { message, kind, param: (), code } }, out);
            }
            StreamItem::Done => out.extend_from_slice(b"data: [DONE]\n\n"),
        }
    }
}

#[derive(Serialize)]
struct ErrorEvent<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: String,
    #[serde(rename = "type")]
    kind: &'a str,
    param: (),
    code: Option<String>,
}

fn event(data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    // Writing into a vector cannot fail.
    let _ = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}
