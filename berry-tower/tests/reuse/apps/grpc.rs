//! A gRPC service of tonic behind Auth and RateLimit, which reject requests with gRPC statuses.

use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer},
    rate_limit::{Limits, PerKey, RateLimitLayer},
    render::{Refusal, RequestSummary},
};
use bytes::Bytes;
use http::{Request, Response, request::Parts, uri::PathAndQuery};
use tonic::{Code, Status, body::Body};
use tower::{ServiceBuilder, service_fn};

use crate::grpc_codec::Plain;

async fn greet(request: Request<Body>) -> Result<Response<Body>, Status> {
    let greet = service_fn(async |name: tonic::Request<Bytes>| {
        let greeting = [b"hello ", &name.into_inner()[..]].concat();
        Ok::<_, Status>(tonic::Response::new(Bytes::from(greeting)))
    });
    Ok(tonic::server::Grpc::new(Plain).unary(greet, request).await)
}

fn render(refusal: Refusal, _: &RequestSummary) -> Response<Bytes> {
    let code = if refusal.status == 429 { Code::ResourceExhausted } else { Code::Unauthenticated };
    Status::new(code, refusal.message).into_http()
}

#[tokio::test]
async fn forwards_trailers_and_rejects_with_grpc_statuses() {
    let by_user = PerKey::new(Limits::new().per_minute(1), |head: &Parts| head.extensions.get::<&str>().copied());
    let app = ServiceBuilder::new()
        .layer(AuthLayer::new(ApiKeys::new([ApiKey::from_token("t", "me")])).render(render))
        .layer(RateLimitLayer::new(by_user).render(render))
        .service(service_fn(greet));
    let mut client = tonic::client::Grpc::new(app);
    let mut ask = async |token: &str| {
        let mut request = tonic::Request::new(Bytes::from("world"));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        client.ready().await.map_err(|_| Status::internal("not ready"))?;
        client.unary(request, PathAndQuery::from_static("/hello.Greeter/Greet"), Plain).await
    };

    assert_eq!(ask("t").await.unwrap().into_inner(), "hello world");
    assert_eq!(ask("t").await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(ask("wrong").await.unwrap_err().code(), Code::Unauthenticated);
}
