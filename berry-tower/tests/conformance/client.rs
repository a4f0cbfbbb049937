//! `BackendClient`: requests that it repeats itself, and its classification of responses.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
    mpsc::channel,
};

use berry_tower::{
    backend::{Backend, Provider},
    body::Buffered,
    classify::{Class, Classify, ErrorBody, ModelApiVerdict, RequestFacts},
    client::{BackendClient, Unprocessed, Upstream},
    error::{BoxError, Failure},
    inspect::Requested,
    select::Selected,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{ServiceExt, service_fn};

const CHAT: &str = "/v1/chat/completions";
const RESPONSE: &str = r#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}"#;

fn backend() -> Arc<Backend> {
    Arc::new(Backend::new(Arc::new(Provider::new("p", "http://127.0.0.1:9").unwrap()), "m"))
}

fn request(backend: &Arc<Backend>, body: &str) -> Request<Buffered> {
    let body = Buffered::from(body.to_owned());
    let requested = Requested::read(body.bytes()).unwrap().with_path(CHAT);
    let selected = Selected::new(backend.clone()).with_last_resort(true);
    Request::post(CHAT).extension(requested).extension(selected).body(body).unwrap()
}

/// Sends a request to an upstream whose response depends on the request body. Returns the result and
/// the requests that the upstream received.
async fn ask<F>(
    backend: &Arc<Backend>,
    body: &str,
    respond: F,
) -> (Result<Response<Bytes>, BoxError>, Vec<(bool, String)>)
where
    F: Fn(usize, &str) -> Result<(u16, String), Failure> + Clone + Send + Sync + 'static,
{
    let (sender, seen) = channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let upstream = service_fn(move |request: Request<Buffered>| {
        let fresh = request.extensions().get::<Upstream>().unwrap().is_fresh();
        let body = request.into_body().into_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let turn = calls.fetch_add(1, Relaxed) + 1;
        let response = respond(turn, &text).map(|(status, text)| {
            let response = Response::builder().status(status).header("content-type", "application/json");
            response.body(Full::new(Bytes::from(text))).unwrap()
        });
        sender.send((fresh, text)).unwrap();
        std::future::ready(response)
    });
    let result = async {
        let response = BackendClient::new(upstream).oneshot(request(backend, body)).await?;
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    let result = result.await;
    (result, seen.try_iter().collect())
}

#[tokio::test]
async fn sends_an_unprocessed_request_once_more_on_a_fresh_connection() {
    let unprocessed = || Err(Failure::ConnectionLost(Unprocessed::new("closed").into()));
    let (result, seen) = ask(&backend(), r#"{"model":"a"}"#, move |turn, _| match turn {
        1 => unprocessed(),
        _ => Ok((200, RESPONSE.to_owned())),
    })
    .await;
    assert_eq!(result.unwrap().status(), 200);
    assert_eq!(seen.iter().map(|(fresh, _)| *fresh).collect::<Vec<_>>(), [false, true]);

    let (result, seen) = ask(&backend(), r#"{"model":"a"}"#, move |_, _| unprocessed()).await;
    assert!(result.unwrap_err().downcast_ref::<Failure>().is_some(), "a second consecutive failure is returned");
    assert_eq!(seen.len(), 2);

    let lost = |_, _: &str| Err(Failure::ConnectionLost("reset".into()));
    assert_eq!(ask(&backend(), r#"{"model":"a"}"#, lost).await.1.len(), 1);
}

/// Returns an upstream that rejects each of the given fields.
fn reject_fields(fields: &'static [&'static str]) -> impl Fn(usize, &str) -> Result<(u16, String), Failure> + Clone {
    move |_, body| {
        Ok(match fields.iter().find(|field| body.contains(&format!("\"{field}\""))) {
            Some(field) => {
                let problem = format!(
                    r#"[{{"type":"extra_forbidden","loc":["body","{field}"],"msg":"Extra inputs are not permitted"}}]"#
                );
                (422, format!(r#"{{"detail":{problem}}}"#))
            }
            None => (200, RESPONSE.to_owned()),
        })
    }
}

#[tokio::test]
async fn omits_or_renames_rejected_fields_and_remembers_them() {
    let backend = backend();
    let body = r#"{"model":"a","max_completion_tokens":5,"parallel_tool_calls":false}"#;
    let upstream = reject_fields(&["max_completion_tokens", "parallel_tool_calls"]);
    for attempts in [3, 1] {
        let (result, seen) = ask(&backend, body, upstream.clone()).await;
        assert_eq!(result.unwrap().status(), 200);
        assert_eq!(seen.len(), attempts);
        assert_eq!(seen.last().unwrap().1, r#"{"model":"m","max_tokens":5}"#);
    }
}

#[tokio::test]
async fn rejected_value_is_passed_to_the_client() {
    let backend = backend();
    let error_body =
        r#"{"error":{"message":"max_tokens must be at least 1","type":"t","param":"max_tokens","code":null}}"#;
    let (result, seen) =
        ask(&backend, r#"{"model":"a","max_tokens":0}"#, |_, _| Ok((400, error_body.to_owned()))).await;
    let response = result.unwrap();
    assert_eq!((response.status().as_u16(), seen.len()), (400, 1));
    assert_eq!(response.body(), error_body);
}

#[tokio::test]
async fn success_without_content_is_a_provider_failure() {
    for (body, class) in [
        ("{}", Class::Server),
        (r#"{"choices":null}"#, Class::Server),
        (r#"{"choices":[]}"#, Class::Server),
        (r#"{"choices":[{}]}"#, Class::Server),
        (r#"{"choices":[null]}"#, Class::Server),
        (r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#, Class::Server),
        (r#"{"detail":"busy"}"#, Class::Server),
        (r#"{"object":"error","message":"x","code":500}"#, Class::Server),
        (r#"{"code":1,"msg":"x"}"#, Class::Server),
        (r#"{"choices":[{"finish_reason":"error","message":{"content":""}}]}"#, Class::Server),
        (r#"{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"},"choices":null}"#, Class::Auth),
    ] {
        let (result, _) = ask(&backend(), r#"{"model":"a"}"#, move |_, _| Ok((200, body.to_owned()))).await;
        let error = result.unwrap_err();
        assert_eq!(ModelApiVerdict.error(&RequestFacts::default(), &*error), class, "{body}");
    }
}

#[tokio::test]
async fn error_is_classified_and_redacted() {
    let error_body = r#"{"error":{"message":"Billing hard limit has been reached, see https://x.example/billing","type":"t","param":null,"code":"billing_hard_limit_reached"}}"#;
    let (result, _) = ask(&backend(), r#"{"model":"a"}"#, |_, _| Ok((400, error_body.to_owned()))).await;
    let response = result.unwrap();
    let error = response.extensions().get::<ErrorBody>().unwrap();
    assert_eq!(error.class, Some(Class::Auth));
    assert!(!String::from_utf8_lossy(response.body()).contains("://"));
}
