//! What a wire format can do, and what its implementations share.

use super::model_request::{Kind, ModelRequest, Route, Target};
use super::refusal::Refusal;
use super::shape::Shape;
use super::valid_response::ValidResponse;
use super::words::Voice;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use serde_json::Value;

/// A wire format: the rules for requests and the bytes of responses.
pub(super) trait Wire: std::fmt::Debug + Sync {
    /// Returns the path at the end of the provider's base URLs.
    fn base(&self) -> &'static str;

    /// Returns the header with the response's id.
    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }

    /// Returns further headers that such providers send.
    fn headers(&self) -> HeaderMap;

    /// Checks the key and the required headers.
    fn admit(&self, head: &Parts, key: &str) -> Result<(), Refusal>;

    fn route(&self, head: &Parts) -> Result<Route, Refusal>;

    /// Parses a request.
    fn read(&self, place: &Target, body: &[u8]) -> Result<ModelRequest, Refusal>;

    /// Checks a request against the rules that the provider has published.
    fn check(&self, ask: &ModelRequest) -> Result<(), Refusal>;

    /// Checks what a request holds of the account's earlier responses.
    fn check_account(&self, ask: &ModelRequest, account: u64) -> Result<(), Refusal> {
        let _ = (ask, account);
        Ok(())
    }

    /// Returns the format's name for one of OpenAI's fields, as a dotted path.
    fn field(&self, name: &'static str) -> &'static str {
        name
    }

    /// Returns the list of models.
    fn list(&self, voice: &Voice, models: &[String]) -> String;

    /// Returns one model.
    fn one(&self, voice: &Voice, model: &str) -> String;

    /// Returns the response without faults, which is the same for the same request. `seed` distinguishes its ids.
    fn answer(&self, ask: &ModelRequest, shape: Shape, voice: &Voice, seed: u64) -> ValidResponse;

    /// Whether a prompt that breaks the policy gets a 200 that says so.
    fn blocks_in_answers(&self) -> bool {
        false
    }

    /// Returns the status and the body of an error.
    fn refusal(&self, refusal: &Refusal) -> (u16, Bytes);

    /// Returns an error inside a stream.
    fn error_event(&self, kind: Kind, refusal: &Refusal) -> Bytes;

    /// Returns an event whose data is not JSON.
    fn malformed_event(&self, kind: Kind) -> Bytes;

    /// Returns a valid event of an unknown type.
    fn unknown_event(&self, kind: Kind) -> Bytes;

    /// Returns a keep-alive.
    fn ping(&self) -> Bytes {
        Bytes::from_static(b": ping\n\n")
    }
}

/// Returns a string as JSON, with its quotes.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether exactly one header of this name is there, with this value.
pub(super) fn brings(headers: &HeaderMap, name: &str, value: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next().is_some_and(|given| given.as_bytes() == value.as_bytes()) && values.next().is_none()
}

/// Builds headers from valid names and values.
pub(super) fn header_map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    headers.iter().map(header).collect()
}
