//! The endpoints of model requests.

use berry_tower::endpoint::Endpoint;

/// The path of Anthropic's endpoint.
pub(super) const MESSAGES: &str = "/v1/messages";
/// The path of Anthropic's endpoint that counts tokens.
pub(super) const COUNT_TOKENS: &str = "/v1/messages/count_tokens";
/// The path of OpenAI's endpoint that counts tokens.
pub(super) const INPUT_TOKENS: &str = "/v1/responses/input_tokens";
/// The path of Cohere's rerank endpoint, which is served like `/v1/rerank`.
const RERANK_V2: &str = "/v2/rerank";

/// Returns the paths that go through the gateway, except Anthropic's.
pub(super) fn routed() -> impl Iterator<Item = (String, Endpoint)> {
    let v1 = Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Messages);
    v1.map(|endpoint| (format!("/v1{}", endpoint.path()), endpoint)).chain([(RERANK_V2.to_owned(), Endpoint::Rerank)])
}
