//! The addresses of a provider's endpoints.

use crate::endpoint::Endpoint;

/// How a provider's addresses are made, which does not depend on its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressing {
    /// The format's path below a version segment.
    Versioned,
    /// Azure's: the model's deployment is in the path, and the API's version in the query.
    AzureDeployments,
}

impl Addressing {
    pub(super) fn has_endpoint(self, endpoint: Endpoint) -> bool {
        match self {
            Self::Versioned => true,
            // Azure serves Responses below its version segment only.
            Self::AzureDeployments => endpoint != Endpoint::Responses,
        }
    }
}

/// The addresses for conversations, where they do not follow from the base URL; with `{model}` for the model's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChatUrls {
    pub(super) plain: String,
    pub(super) stream: String,
}

/// Puts a model's name into an address.
pub(super) fn with_model<'a>(address: &'a str, model: &str) -> std::borrow::Cow<'a, str> {
    if address.contains(MODEL) { address.replace(MODEL, &escape(model)).into() } else { address.into() }
}

/// What stands for the model's name in an address.
pub(super) const MODEL: &str = "{model}";

/// Percent-encodes a segment of a path.
pub(super) fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
