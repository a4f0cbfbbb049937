//! An upstream that counts its connections.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    rt::{Read, Write},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// The protocol of an upstream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Plain,
    /// HTTP/1 over TLS.
    Http1,
    Http2,
}

/// It answers with the number of the connection: `/held` when its gate opens, `/long` without an end,
/// `/large` with a large body, and `/close` before it closes the connection.
#[derive(Clone)]
pub(super) struct Upstream(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    counts: watch::Sender<Counts>,
    gates: Gates,
    /// The most streams of an HTTP/2 connection.
    streams: u32,
    closing: Notify,
    trust: Option<Arc<ClientConfig>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// The accepted connections.
    pub(super) made: usize,
    /// The open connections.
    pub(super) open: usize,
    pub(super) requests: usize,
}

/// The permits of handshakes and responses.
pub(super) struct Gates {
    /// TLS handshakes; later ones fail when it is closed.
    pub(super) handshakes: Semaphore,
    /// Answers of `/held`.
    pub(super) held: Semaphore,
}

impl Gates {
    fn new() -> Self {
        Self { handshakes: Semaphore::new(Semaphore::MAX_PERMITS), held: Semaphore::new(0) }
    }

    /// Returns gates without permits.
    pub(super) fn shut() -> Self {
        Self { handshakes: Semaphore::new(0), held: Semaphore::new(0) }
    }
}

impl Upstream {
    pub(super) async fn new(speaks: Speaks) -> Self {
        Self::with(speaks, Gates::new()).await
    }

    /// HTTP/2 with this limit on the streams of a connection.
    pub(super) async fn with_streams(streams: u32) -> Self {
        Self::build(Speaks::Http2, Gates::new(), streams).await
    }

    pub(super) async fn with(speaks: Speaks, gates: Gates) -> Self {
        Self::build(speaks, gates, 200).await
    }

    async fn build(speaks: Speaks, gates: Gates, streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, counts) = (listener.local_addr().unwrap(), watch::Sender::default());
        let (acceptor, trust) = (speaks != Speaks::Plain).then(|| tls(speaks)).unzip();
        let upstream = Self(Arc::new(Shared { address, counts, gates, streams, closing: Notify::new(), trust }));
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (upstream, acceptor) = (serving.clone(), acceptor.clone());
                let number = upstream.count(|counts| {
                    counts.made += 1;
                    counts.open += 1;
                });
                tokio::spawn(async move {
                    tokio::select! {
                        () = upstream.0.closing.notified() => {}
                        () = upstream.connected(stream, acceptor, speaks, number.made) => {}
                    }
                    upstream.count(|counts| counts.open -= 1);
                });
            }
        });
        upstream
    }

    async fn connected(&self, stream: TcpStream, acceptor: Option<TlsAcceptor>, speaks: Speaks, number: usize) {
        let Some(acceptor) = acceptor else { return self.serve(TokioIo::new(stream), speaks, number).await };
        if let Ok(passed) = self.gates().handshakes.acquire().await
            && let Ok(stream) = acceptor.accept(stream).await
        {
            passed.forget();
            self.serve(TokioIo::new(stream), speaks, number).await;
        }
    }

    async fn serve(&self, io: impl Read + Write + Unpin + Send + 'static, speaks: Speaks, number: usize) {
        let answer = service_fn(|request| {
            let upstream = self.clone();
            async move { upstream.answer(request, number).await }
        });
        // The counts show how it ends.
        let _ = match speaks {
            Speaks::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.max_concurrent_streams(self.0.streams).serve_connection(io, answer).await
            }
            Speaks::Plain | Speaks::Http1 => http1::Builder::new().serve_connection(io, answer).await,
        };
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        number: usize,
    ) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
        self.count(|counts| counts.requests += 1);
        let is_absolute = request.uri().authority().is_some();
        assert_eq!(is_absolute, request.version() == Version::HTTP_2, "{}", request.uri());
        let path = request.uri().path().to_owned();
        request.into_body().collect().await.unwrap();
        let mut response = Response::new(Full::from(number.to_string()).boxed_unsync());
        match &*path {
            "/held" => self.gates().held.acquire().await.unwrap().forget(),
            "/long" => {
                let first = stream::once(async { Ok(Frame::data(Bytes::from("first"))) });
                *response.body_mut() = StreamBody::new(first.chain(stream::pending())).boxed_unsync();
            }
            "/large" => *response.body_mut() = Full::from(vec![b'x'; 4 << 20]).boxed_unsync(),
            "/close" => {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        Ok(response)
    }

    pub(super) fn uri(&self, path: &str) -> String {
        let scheme = if self.0.trust.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.0.address)
    }

    pub(super) fn gates(&self) -> &Gates {
        &self.0.gates
    }

    /// Closes all connections.
    pub(super) fn close(&self) {
        self.0.closing.notify_waiters();
    }

    /// The TLS settings of a client that trusts it; `None` without TLS.
    pub(super) fn trust(&self) -> Option<Arc<ClientConfig>> {
        self.0.trust.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        *self.0.counts.borrow()
    }

    /// Waits until the counts are as wanted.
    pub(super) async fn wait_for(&self, wanted: impl FnMut(&Counts) -> bool) {
        let mut counts = self.0.counts.subscribe();
        timeout(Duration::from_secs(20), counts.wait_for(wanted))
            .await
            .expect("the counts are never as wanted")
            .unwrap();
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) -> Counts {
        self.0.counts.send_modify(change);
        self.counts()
    }
}

fn tls(speaks: Speaks) -> (TlsAcceptor, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let mut server = server.with_no_client_auth().with_single_cert(vec![certificate], key.into()).unwrap();
    server.alpn_protocols = vec![if speaks == Speaks::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(server)), Arc::new(client))
}
