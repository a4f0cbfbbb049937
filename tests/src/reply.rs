//! A response with the body received so far.

use std::fmt;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// A response of the gateway.
#[derive(Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing declares.
    pub whole: bool,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, headers, body, whole } = self;
        let end = if *whole { "" } else { " (broken off)" };
        write!(f, "{status} {headers:?}\n{}{end}", String::from_utf8_lossy(body))
    }
}

impl Reply {
    /// Returns the value of a header, or an empty string when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("the header is text"))
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// Returns the body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }

    /// Returns the `error` object of the body.
    ///
    /// # Panics
    /// Panics when the body does not have the exact shape of an error response.
    #[must_use]
    pub fn error(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let body = self.json();
        let error = body["error"].clone();
        assert_eq!(body.as_object().expect("an object").len(), 1, "{body}");
        let mut keys: Vec<&str> = error.as_object().expect("an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"], "{body}");
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()) && error["type"].is_string(), "{body}");
        for key in ["code", "param"] {
            assert!(error[key].is_string() || error[key].is_null(), "{body}");
        }
        error
    }

    /// Returns the status, the type and the code of the error.
    #[must_use]
    pub fn verdict(&self) -> (u16, String, Option<String>) {
        let error = self.error();
        let text = |key: &str| error[key].as_str().map(ToOwned::to_owned);
        (self.status.as_u16(), text("type").unwrap_or_default(), text("code"))
    }

    /// Returns the data of each event.
    #[must_use]
    pub fn data(&self) -> Vec<&str> {
        self.text().lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }

    /// Returns the events whose data is JSON.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// Returns whether this is a complete stream that ends with `[DONE]`.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.whole && self.data().last() == Some(&"[DONE]")
    }

    /// Returns the text of the assistant, from a plain response or a stream.
    #[must_use]
    pub fn content(&self) -> String {
        if self.header("content-type").starts_with("text/event-stream") {
            let text = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(ToOwned::to_owned);
            return self.events().iter().filter_map(text).collect();
        }
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns whether this is a complete, successful chat response with some text.
    #[must_use]
    pub fn is_good_chat(&self) -> bool {
        let stream = self.header("content-type").starts_with("text/event-stream");
        self.status == StatusCode::OK && self.whole && (!stream || self.is_done()) && !self.content().is_empty()
    }
}
