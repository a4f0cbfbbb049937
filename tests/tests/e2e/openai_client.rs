//! The gateway used through a third-party client, async-openai.

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    types::{
        chat::{
            ChatCompletionRequestMessage, ChatCompletionRequestUserMessage, CreateChatCompletionRequest,
            CreateChatCompletionRequestArgs,
        },
        embeddings::CreateEmbeddingRequestArgs,
    },
};
use berry_simulated::Fault;
use berry_tests::{Gateway, TOKEN, soon};
use futures_util::StreamExt;

fn client(gateway: &Gateway, token: &str) -> Client<OpenAIConfig> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let config = OpenAIConfig::new().with_api_key(token).with_api_base(format!("http://{}/v1", gateway.addr));
    Client::with_config(config).with_http_client(http)
}

fn chat_request(model: &str) -> CreateChatCompletionRequest {
    let message = ChatCompletionRequestMessage::User(ChatCompletionRequestUserMessage::from("How are you?"));
    CreateChatCompletionRequestArgs::default().model(model).messages([message]).build().unwrap()
}

#[tokio::test]
async fn receives_plain_and_streamed_chats() {
    let gateway = Gateway::builder().provider("a").provider("b").strategy("round_robin").start().await;
    gateway.providers[0].set(Fault::Status(500).once());
    let client = client(&gateway, TOKEN);
    let plain = soon(client.chat().create(chat_request("pool"))).await.unwrap();
    let expected = plain.choices[0].message.content.clone().unwrap();
    assert!(!expected.is_empty());
    for _ in 0..2 {
        let mut stream = soon(client.chat().create_stream(chat_request("pool"))).await.unwrap();
        let mut text = String::new();
        while let Some(chunk) = soon(stream.next()).await {
            let chunk = chunk.expect("the stream is complete");
            text.extend(chunk.choices.iter().filter_map(|choice| choice.delta.content.clone()));
        }
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn interrupted_stream_is_an_error() {
    let gateway = Gateway::single().await;
    gateway.providers[0].set(Fault::CutAfter(2));
    let mut stream = soon(client(&gateway, TOKEN).chat().create_stream(chat_request("pool"))).await.unwrap();
    let mut last = None;
    while let Some(chunk) = soon(stream.next()).await {
        let is_error = chunk.is_err();
        last = Some(chunk);
        if is_error {
            break;
        }
    }
    assert!(matches!(last, Some(Err(_))), "{last:?}");
}

#[tokio::test]
async fn lists_models_and_creates_embeddings() {
    let gateway = Gateway::single().await;
    let client = client(&gateway, TOKEN);
    let list = soon(client.models().list()).await.unwrap();
    assert_eq!(list.data.iter().map(|model| model.id.as_str()).collect::<Vec<_>>(), ["pool"]);
    assert_eq!(soon(client.models().retrieve("pool")).await.unwrap().id, "pool");
    let ask = CreateEmbeddingRequestArgs::default().model("pool").input(["one", "two"]).build().unwrap();
    let response = soon(client.embeddings().create(ask)).await.unwrap();
    assert_eq!(response.data.len(), 2);
    assert!(!response.data[0].embedding.is_empty());
}

#[tokio::test]
async fn client_parses_every_error() {
    let gateway = Gateway::single().await;
    let code = |error: OpenAIError| match error {
        OpenAIError::ApiError(error) => error.code.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    let rejected = soon(client(&gateway, "no-such-token-anywhere").chat().create(chat_request("pool"))).await;
    assert_eq!(code(rejected.unwrap_err()), "invalid_api_key");
    let rejected = soon(client(&gateway, TOKEN).chat().create(chat_request("gpt"))).await;
    assert_eq!(code(rejected.unwrap_err()), "model_not_found");
    let rejected = soon(client(&gateway, TOKEN).models().retrieve("gpt")).await;
    assert_eq!(code(rejected.unwrap_err()), "model_not_found");
    gateway.providers[0].set(Fault::ContentPolicy);
    let rejected = soon(client(&gateway, TOKEN).chat().create(chat_request("pool"))).await;
    assert_eq!(code(rejected.unwrap_err()), "content_policy_violation");
}
