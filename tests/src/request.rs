//! Builds the bytes of a request.

use http::Method;
use serde_json::{Value, json};

use crate::TOKEN;

/// A request whose headers and body a test sets one by one.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    /// Returns a request without token, headers or body.
    pub fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// Returns a `GET` request with the token of the default user.
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path).token(TOKEN)
    }

    /// Returns a `POST` request of JSON with the token of the default user.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(Method::POST, path).token(TOKEN).header("content-type", "application/json").body(body)
    }

    /// Returns a chat request of one message with the token of the default user.
    pub fn chat(model: &str, stream: bool) -> Self {
        Self::post("/v1/chat/completions", chat(model, stream).to_string())
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self
    }

    /// Sets the bearer token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.without("authorization").header("authorization", &format!("Bearer {token}"))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Returns the head for a body of the given length.
    #[must_use]
    pub fn head(&self, length: usize) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: gateway\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if length > 0 || self.method == Method::POST {
            text.push_str(&format!("content-length: {length}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// Returns the whole request.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(self.body.len());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// Returns the body of a chat request of one message.
#[must_use]
pub fn chat(model: &str, stream: bool) -> Value {
    json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": "How are you?" }] })
}
