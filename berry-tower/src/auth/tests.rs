use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{header::AUTHORIZATION, request::Parts};
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

    async fn authenticate(&self, head: &Parts) -> Result<String, Rejection> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match bearer(&head.headers) {
            Some(b"down") => {
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the directory is down").into())
            }
            Some(token) => Ok(String::from_utf8_lossy(token).into_owned()),
            None => Err(Rejection::InvalidToken),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waits_for_an_asynchronous_look_up() {
    let service = Auth::new(service_fn(echo), Slow);
    let good = service.clone().oneshot(with(&[("authorization", "Bearer bob"), ("accept", "*/*")])).await.unwrap();
    assert_eq!(text(good).await, "bob accept");
    let bad = service.clone().oneshot(with(&[])).await.unwrap();
    assert_eq!(bad.status(), 401);
    let down = service.oneshot(with(&[("authorization", "Bearer down")])).await.unwrap();
    assert_eq!(down.status(), 503);
}

#[tokio::test]
async fn rejects_every_bad_token_in_the_same_words() {
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
async fn removes_the_accepted_token_from_the_request() {
    let keys = ApiKeys::new([ApiKey::from_token("good", "alice".to_owned())]);
    let service = Auth::new(service_fn(echo), keys);
    for name in ["authorization", "x-api-key"] {
        let value = if name == "authorization" { "Bearer good" } else { "good" };
        let response = service.clone().oneshot(with(&[(name, value), ("accept", "*/*")])).await.unwrap();
        assert_eq!(text(response).await, "alice accept");
    }
}

#[tokio::test]
async fn accepts_a_closure() {
    let service = AuthLayer::new(|head: &Parts| match head.headers.get("x-user") {
        Some(name) => Ok(name.to_str().unwrap_or_default().to_owned()),
        None => Err(Rejection::InvalidToken),
    })
    .layer(service_fn(echo));
    let response = service.oneshot(with(&[("x-user", "carol")])).await.unwrap();
    assert_eq!(text(response).await, "carol x-user");
    assert_eq!(service.oneshot(with(&[(AUTHORIZATION.as_str(), "Bearer x")])).await.unwrap().status(), 401);
}

#[tokio::test]
async fn accepts_a_closure_that_returns_a_future() {
    let service = AuthLayer::new(|head: &Parts| {
        let token = bearer(&head.headers).map(<[u8]>::to_vec);
        async move {
            tokio::task::yield_now().await;
            token.and_then(|token| String::from_utf8(token).ok()).ok_or(Rejection::InvalidToken)
        }
    })
    .layer(service_fn(echo));
    let response = service.oneshot(with(&[("authorization", "Bearer dave")])).await.unwrap();
    assert_eq!(text(response).await, "dave ");
    assert_eq!(service.oneshot(with(&[])).await.unwrap().status(), 401);
}

/// The extension that a TLS server would add.
#[derive(Clone)]
struct PeerCertificate(&'static str);

#[tokio::test]
async fn authenticator_sees_the_whole_head() {
    let service = AuthLayer::new(|head: &Parts| match head.extensions.get() {
        Some(PeerCertificate(name)) if head.method == "GET" && head.uri.path() == "/" => Ok((*name).to_owned()),
        _ => Err(Rejection::InvalidToken),
    })
    .layer(service_fn(echo));
    let request = Request::get("/").extension(PeerCertificate("carol")).body(()).unwrap();
    assert_eq!(text(service.oneshot(request).await.unwrap()).await, "carol ");
    let request = Request::post("/").extension(PeerCertificate("carol")).body(()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 401);
}

#[tokio::test]
async fn immediate_authenticator_needs_no_clone() {
    let inner = tower::util::BoxService::new(service_fn(echo));
    let mut service = Auth::new(inner, ApiKeys::new([ApiKey::from_token("good", "alice".to_owned())]));
    let response = service.ready().await.unwrap().call(with(&[("x-api-key", "good")])).await.unwrap();
    assert_eq!(text(response).await, "alice ");
    assert_eq!(service.ready().await.unwrap().call(with(&[])).await.unwrap().status(), 401);
}

#[tokio::test]
async fn refuses_when_an_immediate_authenticator_waits() {
    #[derive(Clone)]
    struct Wrong;
    impl Authenticate<Immediate> for Wrong {
        type Identity = ();
        async fn authenticate(&self, _: &Parts) -> Result<(), Rejection> {
            std::future::pending().await
        }
    }
    let response = Auth::new(service_fn(echo), Wrong).oneshot(with(&[])).await.unwrap();
    assert_eq!(response.status(), 500);
    assert!(text(response).await.contains("Deferred"));
}

#[tokio::test]
async fn callers_of_anthropics_api_receive_its_error_shape() {
    let service = Auth::new(service_fn(echo), ApiKeys::<String>::new([]));
    let response = service.oneshot(with(&[("anthropic-version", "2023-06-01"), ("x-request-id", "r1")])).await.unwrap();
    let text = text(response).await;
    assert!(text.starts_with(r#"{"type":"error","error":{"type":"authentication_error""#), "{text}");
    assert!(text.ends_with(r#""request_id":"r1"}"#), "{text}");
}
