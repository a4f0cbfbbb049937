//! What a wire format can do, as providers and as callers speak it.

use std::{borrow::Cow, fmt};

use bytes::Bytes;

use super::{
    codec::{DecodeResponse, EncodeResponse},
    hub,
    responses::envelope::Seal,
    target::Target,
    unsupported::UnsupportedField,
};
use crate::endpoint::Endpoint;

/// What a decoder of responses must know beside the request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DecodeOptions {
    /// The time in seconds since 1970, for formats whose responses lack it.
    pub(crate) created: u64,
    /// Whether text between `<think>` and `</think>` is reasoning.
    pub(crate) think_tags: bool,
}

/// What an encoder of responses must know beside the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct EncodeOptions {
    /// The time in seconds since 1970.
    pub(crate) created: u64,
    /// A random number, from which ids are made.
    pub(crate) seed: u128,
    /// What seals the reasoning of the backend.
    pub(crate) seal: Option<Seal>,
}

/// A wire format as providers speak it: addresses, key header, endpoints, errors, requests and responses.
pub(crate) trait WireFormat: fmt::Debug + Sync {
    /// The version segment that is added to a base URL without one.
    fn version_segment(&self) -> &'static str {
        "/v1"
    }

    /// The header that carries the API key, and what stands before the key in its value.
    fn key_header(&self) -> (&'static str, &'static str);

    /// The headers that every request carries unless the provider's configuration replaces them.
    fn default_headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Whether the format has this endpoint, so that requests to it pass as they are.
    fn has_endpoint(&self, endpoint: Endpoint) -> bool;

    /// The path below the version segment at which the provider is asked for `endpoint`, in its own format or
    /// by a translation, with a query if there is one. `model` is escaped.
    fn path(&self, endpoint: Endpoint, model: &str, is_stream: bool) -> Cow<'static, str>;

    /// Whether streams have an address of their own.
    fn has_stream_address(&self) -> bool {
        false
    }

    /// Whether a stream reports token counts only where `stream_options.include_usage` asks for them.
    fn has_usage_option(&self) -> bool {
        false
    }

    /// Whether a backend accepts an assistant prefix that ends in white space.
    fn accepts_trailing_space_in_prefill(&self) -> bool {
        true
    }

    /// Whether the message of an error without a code says that the request is too long for the model.
    fn is_context_overflow(&self, message: &str) -> bool {
        let _ = message;
        false
    }

    /// Encodes a request, as far as it does not depend on the backend.
    ///
    /// # Errors
    /// The field that the format cannot express.
    fn encode_request(&self, request: &hub::Request) -> Result<Box<dyn EncodedRequest>, UnsupportedField>;

    /// The format as callers speak it; `None` if it is only spoken by providers.
    fn caller(&self) -> Option<&'static dyn CallerFormat> {
        None
    }
}

/// A wire format as callers speak it.
pub(crate) trait CallerFormat: fmt::Debug + Sync {
    /// The endpoint whose requests are of this format.
    fn endpoint(&self) -> Endpoint;

    /// Decodes a request. `seals` open the reasoning that backends of the model have signed.
    ///
    /// # Errors
    /// The field that is not of the format, or that no other format can express.
    fn decode_request(&self, body: &[u8], seals: &[Seal]) -> Result<hub::Request, UnsupportedField>;

    /// Returns the caller's path for a field of the decoded request.
    fn param_path(&self, param: &str, request: &hub::Request, body: &[u8]) -> String {
        let _ = (request, body);
        param.to_owned()
    }

    /// Returns an encoder of the response to a decoded request.
    fn response_encoder(&self, request: &hub::Request, options: EncodeOptions) -> Box<dyn EncodeResponse>;
}

/// A request in a backend's format.
pub(crate) trait EncodedRequest: fmt::Debug + Send + Sync {
    /// Returns the body for a backend.
    fn body(&self, target: &Target<'_>) -> Bytes;

    /// The optional fields that the body leaves out, as paths into the decoded request.
    fn dropped(&self) -> &[String] {
        &[]
    }

    /// Returns a decoder of the response.
    fn response_decoder(&self, options: DecodeOptions) -> Box<dyn DecodeResponse>;
}
