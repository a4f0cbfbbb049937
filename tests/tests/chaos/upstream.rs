//! Four simulated upstreams, at least one of which is healthy at any time.

use std::{
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use berry_tower::{body::Buffered, error::Failure};
use bytes::Bytes;
use futures_util::{Stream, stream::unfold};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::Service;

pub(crate) const BACKENDS: usize = 4;

/// The time after which a backend's fault changes.
const PERIOD: Duration = Duration::from_secs(4);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Failure>> + Send>>;

/// A fault of a backend. Numbers count the events that are sent before the fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Status(u16, Option<u32>),
    NoConnection,
    ResetAtOnce,
    Silent,
    LateHead,
    Html,
    Nothing,
    ErrorFirst,
    Cut(usize),
    Stall(usize),
    ErrorAfter(usize),
    Malformed(usize),
    NoFinish,
    NoDone,
    CutAtEnd,
    Slow,
}

const FAULTS: [Fault; 21] = [
    Fault::Status(429, Some(2)),
    Fault::Status(429, None),
    Fault::Status(500, None),
    Fault::Status(503, None),
    Fault::Status(401, None),
    Fault::Status(404, None),
    Fault::NoConnection,
    Fault::ResetAtOnce,
    Fault::Silent,
    Fault::LateHead,
    Fault::Html,
    Fault::Nothing,
    Fault::ErrorFirst,
    Fault::Cut(4),
    Fault::Stall(6),
    Fault::ErrorAfter(3),
    Fault::Malformed(2),
    Fault::NoFinish,
    Fault::NoDone,
    Fault::CutAtEnd,
    Fault::Slow,
];

/// All upstreams. Clones share their state.
#[derive(Clone, Debug)]
pub(crate) struct Upstream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seed: u64,
    began: Instant,
    /// The number of attempts of each request on each backend.
    asked: Vec<[AtomicU8; BACKENDS]>,
    open: Arc<AtomicUsize>,
}

/// Counts a response body that is being sent.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Returns the text of the answer to a request. The two variants begin with the same words.
pub(crate) fn answer(number: usize, variant: usize) -> String {
    let mut text = format!("The answer to \"{number}\" is: ");
    for i in 0..20 {
        let word = if i < 5 || variant == 0 { "né" } else { "non" };
        text.push_str(&format!("{word}{} ", i * 7 + number % 13));
    }
    text.trim_end().to_owned()
}

impl Upstream {
    pub(crate) fn new(seed: u64, requests: usize) -> Self {
        let asked = (0..requests).map(|_| Default::default()).collect();
        Self(Arc::new(Shared { seed, began: Instant::now(), asked, open: Arc::default() }))
    }

    /// Returns the number of all attempts, and of those on a backend that the request had tried before.
    pub(crate) fn attempts(&self) -> (usize, usize) {
        let counts = || self.0.asked.iter().flatten().map(|count| usize::from(count.load(Relaxed)));
        (counts().sum(), counts().map(|count| count.saturating_sub(1)).sum())
    }

    pub(crate) fn open(&self) -> &AtomicUsize {
        &self.0.open
    }

    /// Returns the current fault of a backend. One backend is always healthy.
    fn fault(&self, backend: usize, rng: &mut StdRng) -> Option<Fault> {
        let period = self.0.began.elapsed().as_secs() / PERIOD.as_secs();
        let mut period_rng = StdRng::seed_from_u64(self.0.seed ^ period << 8);
        let healthy = period_rng.random_range(0..BACKENDS);
        let faults: [Option<Fault>; BACKENDS] = std::array::from_fn(|_| {
            period_rng.random_bool(0.6).then(|| FAULTS[period_rng.random_range(0..FAULTS.len())])
        });
        faults[backend].filter(|_| backend != healthy && rng.random_bool(0.8))
    }

    async fn respond(self, request: Request<Buffered>) -> Result<Response<StreamBody<Frames>>, Failure> {
        let backend: usize = request.uri().host().unwrap()[1..].parse().unwrap();
        let number: usize = request.headers()["x-request-id"].to_str().unwrap().parse().unwrap();
        let before = self.0.asked[number][backend].fetch_add(1, Relaxed);
        let seed = self.0.seed ^ (number as u64) << 16 ^ (backend as u64) << 8 ^ u64::from(before);
        let mut rng = StdRng::seed_from_u64(seed);
        let fault = self.fault(backend, &mut rng);
        let broken = || Failure::ConnectionLost("reset".into());
        sleep(Duration::from_millis(rng.random_range(5..50))).await;
        match fault {
            Some(Fault::NoConnection) => return Err(Failure::Connect("refused".into())),
            Some(Fault::ResetAtOnce) => return Err(broken()),
            Some(Fault::Silent) => pending().await,
            Some(Fault::LateHead) => sleep(Duration::from_secs(rng.random_range(1..6))).await,
            _ => {}
        }
        let request_body: Value = serde_json::from_slice(request.body().bytes()).unwrap();
        let stream = request_body["stream"] == true;
        let variant = usize::from(backend == 3);
        let (status, media, pieces, end) = match fault {
            Some(Fault::Status(status, _)) => {
                let body = json!({ "error": { "message": "no", "type": "x", "param": null, "code": null } });
                (status, "application/json", vec![body.to_string()], End::Clean)
            }
            Some(Fault::Html) => (200, "text/html", vec!["<html>".to_owned()], End::Clean),
            Some(Fault::Nothing) => (200, "text/event-stream", vec![], End::Clean),
            fault => {
                let (pieces, end) = if stream {
                    events(&request_body, &[answer(number, variant), answer(number, 1 - variant)], fault, &mut rng)
                } else {
                    plain(&answer(number, variant), fault)
                };
                (200, if stream { "text/event-stream" } else { "application/json" }, pieces, end)
            }
        };
        let pace = if matches!(fault, Some(Fault::Slow)) { 400 } else { rng.random_range(1..30) };
        self.0.open.fetch_add(1, Relaxed);
        let open = Open(self.0.open.clone());
        let mut response = Response::builder().status(status).header("content-type", media);
        if let Some(Fault::Status(_, Some(seconds))) = fault {
            response = response.header("retry-after", seconds);
        }
        Ok(response.body(StreamBody::new(frames(pieces, end, Duration::from_millis(pace), open))).unwrap())
    }
}

/// How a body ends.
#[derive(Clone, Copy)]
enum End {
    Clean,
    Break,
    Never,
}

fn frames(pieces: Vec<String>, end: End, pace: Duration, open: Open) -> Frames {
    Box::pin(unfold((pieces.into_iter(), open, false), move |(mut pieces, open, over)| async move {
        if over {
            return None;
        }
        if let Some(piece) = pieces.next() {
            sleep(pace).await;
            return Some((Ok(Frame::data(Bytes::from(piece))), (pieces, open, false)));
        }
        match end {
            End::Clean => None,
            End::Break => Some((Err(Failure::ConnectionLost("cut".into())), (pieces, open, true))),
            End::Never => pending().await,
        }
    }))
}

fn plain(text: &str, fault: Option<Fault>) -> (Vec<String>, End) {
    let whole =
        json!({ "choices": [{ "index": 0, "message": { "content": text }, "finish_reason": "stop" }] }).to_string();
    let half = || vec![whole.chars().take(whole.chars().count() / 2).collect::<String>()];
    match fault {
        Some(Fault::Cut(_)) => (half(), End::Break),
        Some(Fault::Stall(_)) => (half(), End::Never),
        Some(Fault::Malformed(_) | Fault::NoFinish) => (half(), End::Clean),
        Some(Fault::ErrorFirst | Fault::ErrorAfter(_)) => {
            (vec![r#"{"error":{"message":"no"}}"#.to_owned()], End::Clean)
        }
        _ => (vec![whole], End::Clean),
    }
}

/// Returns the events of a streamed answer, split at random places. A request that ends with the
/// beginning of an answer gets the rest of it, in the same variant.
fn events(request_body: &Value, variants: &[String; 2], fault: Option<Fault>, rng: &mut StdRng) -> (Vec<String>, End) {
    let last = request_body["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let prefix = last["content"].as_str().filter(|_| last["role"] == "assistant").unwrap_or_default();
    let mut rest = variants.iter().find_map(|text| text.strip_prefix(prefix)).unwrap();
    let id = format!("id-{}", rng.random::<u32>());
    let event = |delta: Value, finish: Value| {
        let chunk = json!({ "id": id, "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
        format!("data: {chunk}\n\n")
    };
    let mut pieces = vec![event(json!({ "role": "assistant", "content": "" }), Value::Null)];
    while !rest.is_empty() {
        let at = rest.char_indices().nth(rng.random_range(1..20)).map_or(rest.len(), |(at, _)| at);
        pieces.push(event(json!({ "content": &rest[..at] }), Value::Null));
        rest = &rest[at..];
    }
    let tokens = pieces.len();
    pieces.push(event(json!({}), json!("stop")));
    pieces.push("data: [DONE]\n\n".to_owned());
    let error = || "data: {\"error\":{\"message\":\"no\"}}\n\n".to_owned();
    let mut end = End::Clean;
    match fault {
        Some(Fault::Cut(n)) => (end, ()) = (End::Break, pieces.truncate(n.min(tokens))),
        Some(Fault::Stall(n)) => (end, ()) = (End::Never, pieces.truncate(n.min(tokens))),
        Some(Fault::ErrorFirst) => pieces.insert(0, error()),
        Some(Fault::ErrorAfter(n)) => pieces.insert(n.min(tokens), error()),
        Some(Fault::Malformed(n)) => pieces.insert(n.min(tokens), "data: {\"choices\":[{\n\n".to_owned()),
        Some(Fault::NoFinish) => drop(pieces.remove(tokens)),
        Some(Fault::NoDone) => drop(pieces.pop()),
        Some(Fault::CutAtEnd) => (end, _) = (End::Break, pieces.pop()),
        _ => {}
    }
    (pieces, end)
}

impl Service<Request<Buffered>> for Upstream {
    type Response = Response<StreamBody<Frames>>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered>) -> Self::Future {
        Box::pin(self.clone().respond(request))
    }
}
