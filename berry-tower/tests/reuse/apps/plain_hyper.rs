//! A hyper server without axum, which renders errors as plain text when the client accepts it.

use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer},
    drain::DrainLayer,
    error::BoxError,
    error_response::ErrorResponseLayer,
    rate_limit::{Limits, PerKey, RateLimitLayer},
    render::{OpenAiErrors, Refusal, Render, RequestSummary},
};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, service_fn};

use crate::support::{hyper, send};

async fn shout<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: Body<Error: Into<BoxError>>,
{
    let user = *request.extensions().get::<&str>().ok_or("no user")?;
    let body = request.into_body().collect().await.map_err(Into::into)?.to_bytes();
    let text = String::from_utf8(body.to_vec())?;
    Ok(Response::new(format!("{user}: {}", text.to_uppercase()).into()))
}

fn render(refusal: Refusal, request: &RequestSummary) -> Response<Bytes> {
    if request.accept().is_none_or(|accept| accept != "text/plain") {
        return OpenAiErrors.render(refusal, request);
    }
    let mut response = Response::new(Bytes::from(refusal.message.into_owned()));
    *response.status_mut() = refusal.status;
    response
}

#[tokio::test]
async fn serves_with_plain_hyper() {
    let per_user = PerKey::new(Limits::new().per_minute(3), |head: &Parts| head.extensions.get::<&str>().copied());
    let app = ServiceBuilder::new()
        .layer(DrainLayer::new())
        .layer(ErrorResponseLayer::new().render(render))
        .layer(AuthLayer::new(ApiKeys::new([ApiKey::from_token("t", "me")])).render(render))
        .layer(RateLimitLayer::new(per_user.require_key()).render(render))
        .service(service_fn(shout));
    let address = hyper(app).await;

    let (status, text) = send(address, "POST /", "authorization: Bearer t\r\n", "hello").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("me: HELLO"), "{text}");
    let (status, text) = send(address, "POST /", "accept: text/plain\r\n", "hello").await;
    assert_eq!(status, 401);
    assert!(text.ends_with("send it as `Authorization: Bearer <key>`"), "{text}");
    let (_, text) = send(address, "POST /", "", "hello").await;
    assert!(text.contains(r#""code":"invalid_api_key""#), "{text}");
}
