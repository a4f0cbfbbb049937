//! The end of a response over real connections. A server that knows the length of a body does not poll
//! it after its last byte, and over HTTP/2 the end of a stream may follow in a separate frame.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use berry_tower::{
    attempt::BackendId,
    auth::{ApiKey, ApiKeys},
    backend::{Backend, Catalog, Model, Provider, strategy::Failover},
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer, State},
    gateway::{Settings, gateway},
    observe::{AttemptEnd, BackendObserver, Observer},
    rate_limit::{Quota, QuotaFromRequest},
};
use bytes::Bytes;
use http::{Request, Response, Version, request::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http2 as client, server::conn::http2 as server};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep},
};
use tower::{BoxError, ServiceBuilder, service_fn};

use crate::support::hyper;

/// A body that yields its data at once and ends a little later.
struct LateEnd(Option<Bytes>, std::pin::Pin<Box<Sleep>>);

impl LateEnd {
    fn new(bytes: Bytes) -> Self {
        Self(Some(bytes), Box::pin(sleep(Duration::from_millis(30))))
    }
}

impl Body for LateEnd {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => std::task::Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => self.1.as_mut().poll(cx).map(|()| None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Starts an upstream over HTTP/2 that sends a `content-length`.
async fn upstream(body: Bytes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let body = body.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let status = if request.uri().path() == "/bad" { 500 } else { 200 };
                let response = Response::builder().status(status).header("content-type", "application/json");
                let response = response.header("content-length", body.len()).body(LateEnd::new(body.clone()));
                std::future::ready(Ok::<_, Infallible>(response.unwrap()))
            });
            let connection = server::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
        }
    });
    address
}

/// Sends a request over a new connection.
async fn send<B>(address: SocketAddr, request: Request<B>) -> Result<Response<Incoming>, BoxError>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    let stream = TcpStream::connect(address).await?;
    let mut builder = client::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(8 << 20).initial_connection_window_size(8 << 20);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// Sends a request over HTTP/1 and returns the raw response.
async fn exchange(address: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn trial_succeeds_when_its_body_is_read_to_its_content_length() {
    let upstream = upstream(Bytes::from_static(b"hello")).await;
    let policy = BreakerPolicy::new().with_failure_threshold(1).with_open_for(Duration::from_millis(20));
    let layer = CircuitBreakerLayer::new(policy);
    let breaker = layer.breaker().clone();
    let proxy = ServiceBuilder::new().layer(layer).service(service_fn(move |request: Request<Incoming>| {
        let uri = format!("http://{upstream}{}", request.uri().path());
        send(upstream, Request::get(uri).body(Empty::<Bytes>::new()).unwrap())
    }));
    let front = hyper(proxy).await;
    let get = async |path: &str| {
        exchange(front, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
    };
    assert!(get("/bad").await.ends_with(b"hello"));
    assert!(!breaker.state(Instant::now()).is_closed());
    sleep(Duration::from_millis(30)).await;
    assert!(get("/good").await.ends_with(b"hello"));
    assert_eq!(breaker.state(Instant::now()), State::Closed { failures: 0 });
}

/// An observer that sends the class of each attempt to a channel.
#[derive(Clone, Debug)]
struct Classes(Sender<&'static str>);

impl Observer for Classes {
    fn backend(&self, _: &BackendId) -> Arc<dyn BackendObserver> {
        Arc::new(self.clone())
    }
}

impl BackendObserver for Classes {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        self.0.send(attempt.class.name()).unwrap();
    }
}

#[tokio::test]
async fn large_plain_response_is_a_success() {
    let mut json: Vec<u8> = Vec::from(r#"{"object":"list","data":[{"embedding":[1]}]"#);
    json.resize((2 << 20) - 1, b' ');
    json.push(b'}');
    let upstream = upstream(Bytes::from(json)).await;
    let transport = service_fn(move |mut request: Request<Buffered>| {
        *request.version_mut() = Version::HTTP_2;
        send(upstream, request.map(|body| http_body_util::Full::new(body.bytes().clone())))
    });
    let (sender, classes) = channel();
    let provider = Arc::new(Provider::new("p", &format!("http://{upstream}")).unwrap());
    let model = Model::new("m", Arc::new(Failover), [Backend::new(provider, "m")]);
    let catalog = Catalog::new([model]).unwrap().observed_by(Arc::new(Classes(sender)));
    let keys = ApiKeys::new([ApiKey::from_token("t", ())]);
    let unlimited = QuotaFromRequest::new(|_: &Parts| None::<Arc<Quota>>);
    let settings = Settings::with_transport(catalog, transport);
    let front = hyper(gateway(settings, keys, unlimited, |_: &(), _: &str| true)).await;
    let body = r#"{"model":"m","input":"x"}"#;
    let request = format!(
        "POST /v1/embeddings HTTP/1.1\r\nhost: a\r\nauthorization: Bearer t\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(exchange(front, &request).await.len() > 2 << 20);
    assert_eq!(classes.try_iter().collect::<Vec<_>>(), ["success"]);
}
