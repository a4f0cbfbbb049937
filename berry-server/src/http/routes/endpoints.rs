//! The endpoints of model requests.

use berry_tower::endpoint::Endpoint;

/// The endpoints of OpenAI's API that go through the gateway.
pub(super) const ROUTED: [Endpoint; 7] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::Moderations,
    Endpoint::ImagesGenerations,
    Endpoint::AudioSpeech,
];

/// The path of Anthropic's endpoint.
pub(super) const MESSAGES: &str = "/v1/messages";
