//! A client that fails over between two providers, made of the layers for retry and selection.
//!
//! `OPENAI_API_KEY=… cargo run --bin failover_client`

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::{env, sync::Arc};

use berry_tower::{
    backend::{Backend, Catalog, Model, Provider, strategy::Failover},
    body::Buffered,
    classify::ModelApiVerdict,
    client::{BackendClient, Reqwest},
    commit::CommitLayer,
    error::BoxError,
    inspect::Requested,
    retry::{BackoffPolicy, RetryLayer},
    select::{SelectLayer, ServedBy},
};
use http::Request;
use http_body_util::BodyExt;
use tower::{ServiceBuilder, ServiceExt};

const PATH: &str = "/v1/chat/completions";

/// Sends a prompt to `model`. Returns the text of the response and the backend that produced it.
async fn ask(catalog: &Catalog, model: &str, prompt: &str) -> Result<(String, String), BoxError> {
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new(BackoffPolicy::new()).classify(ModelApiVerdict))
        .layer(CommitLayer)
        .layer(SelectLayer::new(catalog.clone()))
        .service(BackendClient::new(Reqwest::new()));
    let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": prompt }] });
    let body = Buffered::from(body.to_string());
    let requested = Requested::read(body.bytes())?.with_path(PATH);
    let response = client.oneshot(Request::post(PATH).extension(requested).body(body)?).await?;
    let backend = response.extensions().get::<ServedBy>().map_or_else(String::new, |served| served.0.to_string());
    let content: serde_json::Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    Ok((content["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned(), backend))
}

fn catalog(first: &str, second: &str, key: &str) -> Result<Catalog, BoxError> {
    let provider = |id: &str, url: &str| Ok::<_, BoxError>(Arc::new(Provider::new(id, url)?.with_key(key)?));
    let first = Backend::new(provider("first", first)?, "gpt-4o-mini").with_priority(0);
    let second = Backend::new(provider("second", second)?, "gpt-4o-mini").with_priority(1);
    Ok(Catalog::new([Model::new("fast", Arc::new(Failover), [first, second])])?)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // The first address refuses connections, so the second provider responds.
    let catalog = catalog("http://127.0.0.1:9/v1", "https://api.openai.com/v1", &env::var("OPENAI_API_KEY")?)?;
    let (text, backend) = ask(&catalog, "fast", "Say hello.").await?;
    println!("{backend}: {text}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, routing::post};

    #[tokio::test]
    async fn fails_over_when_the_first_provider_is_down() {
        let response = || async { Json(serde_json::json!({ "choices": [{ "message": { "content": "hello" } }] })) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route(super::PATH, post(response))).await });
        let catalog = super::catalog("http://127.0.0.1:9/v1", &url, "sk-test").unwrap();
        let (text, backend) = super::ask(&catalog, "fast", "Say hello.").await.unwrap();
        assert_eq!((text.as_str(), backend.as_str()), ("hello", "second:gpt-4o-mini"));
    }
}
