use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use tower::{ServiceExt, service_fn};

use super::*;

type Reply = Response<Full<Bytes>>;

async fn echo(request: Request<()>) -> Result<Reply, Infallible> {
    let names: Vec<_> = request.headers().keys().map(http::HeaderName::as_str).collect();
    let who = request.extensions().get::<String>().unwrap();
    Ok(Response::new(Full::from(format!("{who} {}", names.join(",")))))
}

async fn text(response: Response<ResponseBody<Full<Bytes>>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

fn with(headers: &[(&str, &str)]) -> Request<()> {
    headers.iter().fold(Request::builder(), |b, (n, v)| b.header(*n, *v)).body(()).unwrap()
}

#[derive(Clone)]
struct Slow;

impl Authenticate for Slow {
    type Identity = String;

    async fn authenticate(&self, headers: &HeaderMap) -> Result<String, Rejection> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match bearer(headers) {
            Some(b"down") => {
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the directory is down").into())
            }
            Some(token) => Ok(String::from_utf8_lossy(token).into_owned()),
            None => Err(Rejection::InvalidToken),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_waits_is_waited_for() {
    let service = Auth::new(service_fn(echo), Slow);
    let good = service.clone().oneshot(with(&[("authorization", "Bearer bob"), ("accept", "*/*")])).await.unwrap();
    assert_eq!(text(good).await, "bob accept");
    let bad = service.clone().oneshot(with(&[])).await.unwrap();
    assert_eq!(bad.status(), 401);
    let down = service.oneshot(with(&[("authorization", "Bearer down")])).await.unwrap();
    assert_eq!(down.status(), 503);
}

#[tokio::test]
async fn every_bad_token_is_refused_in_the_same_words() {
    let keys = ApiKeys::new([
        ApiKey::from_token("good", "alice".to_owned()),
        ApiKey::from_token("off", "bob".to_owned()).enabled(false),
        ApiKey::from_token("old", "eve".to_owned()).expires_at(std::time::SystemTime::UNIX_EPOCH),
    ]);
    let service = Auth::new(service_fn(echo), keys);
    let mut answers = Vec::new();
    for headers in [
        &[][..],
        &[("authorization", "Bearer off")],
        &[("authorization", "Bearer old")],
        &[("authorization", "Bearer who")],
        &[("authorization", "Bearer good"), ("authorization", "Bearer good")],
    ] {
        let response = service.clone().oneshot(with(headers)).await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
        answers.push(text(response).await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert!(answers[0].contains(r#""type":"invalid_request_error","param":null,"code":"invalid_api_key""#));
}

#[tokio::test]
async fn an_accepted_token_is_taken_out_of_the_request() {
    let keys = ApiKeys::new([ApiKey::from_token("good", "alice".to_owned())]).accept_x_api_key();
    let service = Auth::new(service_fn(echo), keys);
    for name in ["authorization", "x-api-key"] {
        let value = if name == "authorization" { "Bearer good" } else { "good" };
        let response = service.clone().oneshot(with(&[(name, value), ("accept", "*/*")])).await.unwrap();
        assert_eq!(text(response).await, "alice accept");
    }
}

#[tokio::test]
async fn a_closure_is_an_authenticator() {
    let service = AuthLayer::new(|headers: &HeaderMap| match headers.get("x-user") {
        Some(name) => Ok(name.to_str().unwrap_or_default().to_owned()),
        None => Err(Rejection::InvalidToken),
    })
    .layer(service_fn(echo));
    let response = service.oneshot(with(&[("x-user", "carol")])).await.unwrap();
    assert_eq!(text(response).await, "carol x-user");
    assert_eq!(service.oneshot(with(&[(AUTHORIZATION.as_str(), "Bearer x")])).await.unwrap().status(), 401);
}
