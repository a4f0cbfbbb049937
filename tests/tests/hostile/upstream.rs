//! Providers that do what a script says: over HTTP/1 byte by byte, and over HTTP/2 frame by frame.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Request, Response};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn has(&self, text: &str) -> bool {
        memchr::memmem::find(&self.body, text.as_bytes()).is_some()
    }
}

/// What becomes of the connection after a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
    Reset,
    /// The connection stays open and nothing more comes.
    Silence,
}

/// An HTTP/1 provider, stopped when it is dropped.
pub(crate) struct Http1 {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Http1 {
    pub(crate) async fn start(script: impl Fn(&Received) -> (Vec<u8>, Then) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let (count, mut tasks) = (requests.clone(), JoinSet::new());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (count, script) = (count.clone(), script.clone());
                connections.spawn(async move {
                    let _ = serve(socket, &count, script).await;
                });
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }
}

async fn serve(
    mut socket: TcpStream,
    count: &AtomicUsize,
    script: impl Fn(&Received) -> (Vec<u8>, Then),
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = buffer.split_off(end);
        let length = length.unwrap_or(0);
        while body.len() < length {
            if socket.read_buf(&mut body).await? == 0 {
                return Ok(());
            }
        }
        buffer = body.split_off(length);
        count.fetch_add(1, Relaxed);
        let (response, then) = script(&Received { head, body });
        socket.write_all(&response).await?;
        match then {
            Then::Keep => {}
            Then::Close => return Ok(()),
            Then::Reset => {
                // Unread or unsent data makes the kernel reset the connection; so does this.
                #[expect(deprecated, reason = "the runtime warns that the drop blocks, which it does not with zero")]
                socket.set_linger(Some(Duration::ZERO))?;
                return Ok(());
            }
            Then::Silence => std::future::pending::<()>().await,
        }
    }
}

/// A whole HTTP/1 response.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body.as_bytes()].concat()
}

/// A good answer to any chat.
pub(crate) const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

/// A good answer in Anthropic's format.
pub(crate) const CLAUDE_ANSWER: &str = r#"{"id":"x","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"ok"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;

pub(crate) fn good() -> (Vec<u8>, Then) {
    (response("200 OK", "", ANSWER), Then::Keep)
}

/// An event of a stream with this text.
pub(crate) fn event(text: &str) -> String {
    format!(
        r#"data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
    ) + "\n\n"
}

/// The end of a stream.
pub(crate) fn end_of_stream() -> String {
    let finish = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    format!("{finish}\n\ndata: [DONE]\n\n")
}

/// One request to an HTTP/2 provider.
pub(crate) struct Exchange {
    /// The number of the request, from 1, over all connections.
    pub(crate) number: usize,
    pub(crate) request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

impl Exchange {
    /// Reads the request's body.
    pub(crate) async fn body(&mut self) -> Vec<u8> {
        let (body, mut read) = (self.request.body_mut(), Vec::new());
        while let Some(Ok(bytes)) = body.data().await {
            let _ = body.flow_control().release_capacity(bytes.len());
            read.extend_from_slice(&bytes);
        }
        read
    }

    /// Sends a response's head.
    pub(crate) fn head(mut self, media: &str) -> Option<Sender> {
        let response = Response::builder().header("content-type", media).body(()).unwrap();
        Some(Sender(self.respond.send_response(response, false).ok()?))
    }

    /// Sends a good plain answer.
    pub(crate) async fn answer(mut self) {
        self.body().await;
        if let Some(mut sender) = self.head("application/json") {
            sender.send(ANSWER).await;
            sender.end();
        }
    }

    /// Answers with this status line and JSON.
    pub(crate) fn fail(mut self, status: &str, error: &str) {
        let code: u16 = status[..3].parse().unwrap();
        let head = Response::builder().status(code).header("content-type", "application/json").body(()).unwrap();
        if let Ok(mut body) = self.respond.send_response(head, false) {
            let _ = body.send_data(Bytes::copy_from_slice(error.as_bytes()), true);
        }
    }

    /// The request as a provider over HTTP/1 has it, with its body.
    pub(crate) fn received(&self, body: Vec<u8>) -> Received {
        Received { head: format!("{:?}", self.request.headers()).to_lowercase(), body }
    }

    /// Refuses the request unprocessed.
    pub(crate) fn refuse(mut self) {
        self.respond.send_reset(Reason::REFUSED_STREAM);
    }
}

/// The body of a response over HTTP/2.
pub(crate) struct Sender(SendStream<Bytes>);

impl Sender {
    /// Sends as fast as the client reads; returns whether the client still does.
    pub(crate) async fn send(&mut self, data: impl Into<Bytes>) -> bool {
        let mut data = data.into();
        while !data.is_empty() {
            self.0.reserve_capacity(data.len());
            let Some(Ok(room)) = std::future::poll_fn(|cx| self.0.poll_capacity(cx)).await else { return false };
            if self.0.send_data(data.split_to(room.min(data.len())), false).is_err() {
                return false;
            }
        }
        true
    }

    pub(crate) fn end(mut self) {
        let _ = self.0.send_data(Bytes::new(), true);
    }
}

/// What an HTTP/2 connection does after a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http2 {
    Serve,
    /// Announces the end of the connection, and finishes what has begun.
    GoAway,
    /// Reads nothing more and answers no ping.
    Deaf,
}

/// An HTTP/2 provider over TLS, stopped when it is dropped.
pub(crate) struct Tls {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    folder: TempDir,
    _tasks: JoinSet<()>,
}

impl Tls {
    /// Starts a provider that allows `streams` per connection. `serve` answers a request, and `after` says what the
    /// connection does after that many requests.
    pub(crate) async fn start<F>(
        streams: u32,
        serve: impl Fn(Exchange) -> F + Clone + Send + 'static,
        after: impl Fn(usize) -> Http2 + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("trusted.pem"), pem(made.cert.der())).unwrap();
        let versions = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let versions = versions.with_safe_default_protocol_versions().unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut tls = versions.with_no_client_auth().with_single_cert(vec![made.cert.into()], key.into()).unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let (count, numbers, mut tasks) = (connections.clone(), Arc::<AtomicUsize>::default(), JoinSet::new());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                let (acceptor, serve, after) = (acceptor.clone(), serve.clone(), after.clone());
                let numbers = numbers.clone();
                open.spawn(async move {
                    let Ok(socket) = acceptor.accept(socket).await else { return };
                    let mut builder = h2::server::Builder::new();
                    let Ok(mut connection) = builder.max_concurrent_streams(streams).handshake(socket).await else {
                        return;
                    };
                    let mut requests = JoinSet::new();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let number = numbers.fetch_add(1, Relaxed) + 1;
                        requests.spawn(serve(Exchange { number, request, respond }));
                        match after(number) {
                            Http2::Serve => {}
                            Http2::GoAway => connection.graceful_shutdown(),
                            // Longer than any test.
                            Http2::Deaf => sleep(Duration::from_secs(600)).await,
                        }
                    }
                    while requests.join_next().await.is_some() {}
                });
            }
        });
        Self { address, connections, folder, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/v1", self.address.port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The file with the certificate of this provider.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("trusted.pem")
    }
}

/// A certificate as a PEM text.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (at, group) in der.chunks(3).enumerate() {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
        if at % 16 == 15 {
            text.push('\n');
        }
    }
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", text.trim_end())
}

/// A file with the certificates of several providers.
pub(crate) fn trust(providers: &[&Tls]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trusted.pem");
    let all: String = providers.iter().map(|tls| fs::read_to_string(tls.certificate()).unwrap()).collect();
    fs::write(&path, all).unwrap();
    (folder, path)
}
