//! The ledger says what the providers have billed, however a response ends: over every format in front and behind,
//! plain and streamed, with one backend and with another beside it.
//!
//! A relay in front of each provider keeps what the provider sends, and the tokens that its responses report are what it
//! bills.

#![expect(clippy::disallowed_types, reason = "a record of a test")]

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use berry_server::{Options, Server, config};
use berry_simulated::{Behavior, Config, Dialect, Fault, Provider};
use berry_tests::{Ask, Connection, TOKEN};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// What one connection has carried from the provider.
type Carried = Arc<Mutex<Vec<u8>>>;

/// Relays connections to a provider.
struct Tap {
    addr: SocketAddr,
    connections: Arc<Mutex<Vec<Carried>>>,
}

impl Tap {
    async fn start(provider: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, connections) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Carried>>>::default());
        let all = connections.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let carried = Carried::default();
                all.lock().unwrap().push(carried.clone());
                tokio::spawn(relay(client, provider, carried));
            }
        });
        Self { addr, connections }
    }

    /// The tokens of all responses until now.
    fn billed(&self) -> Tokens {
        let connections = self.connections.lock().unwrap();
        connections.iter().fold(Tokens::default(), |sum, carried| sum.plus(billed(&carried.lock().unwrap())))
    }
}

async fn relay(client: TcpStream, provider: SocketAddr, carried: Carried) {
    let Ok(server) = TcpStream::connect(provider).await else { return };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let there = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let back = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            carried.lock().unwrap().extend_from_slice(&buffer[..read]);
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    // When either side closes, so does the other.
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// What a provider bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tokens {
    input: u64,
    cached: u64,
    output: u64,
}

impl Tokens {
    fn plus(self, other: Self) -> Self {
        Self { input: self.input + other.input, cached: self.cached + other.cached, output: self.output + other.output }
    }

    /// The cost in billionths of a dollar.
    fn nanos(self) -> u64 {
        3_000 * (self.input - self.cached) + 500 * self.cached + 70_000 * self.output
    }
}

const PRICE: &str = "input = \"3\"\ncached_input = \"0.5\"\noutput = \"70\"";

/// The tokens of the responses that a connection has carried.
fn billed(mut bytes: &[u8]) -> Tokens {
    let mut sum = Tokens::default();
    while let Some(at) = memchr::memmem::find(bytes, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
        bytes = &bytes[at + 4..];
        let end = memchr::memmem::find(bytes, b"HTTP/1.1 ").unwrap_or(bytes.len());
        let (body, rest) = bytes.split_at(end);
        let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
        sum = reported(&String::from_utf8_lossy(&body)).map_or(sum, |tokens| sum.plus(tokens));
        bytes = rest;
    }
    sum
}

/// A body without the lines that divide it; it may break off.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(at) = memchr::memmem::find(body, b"\r\n") {
        let size = std::str::from_utf8(&body[..at]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size @ 1..) = size else { break };
        let rest = &body[at + 2..];
        whole.extend_from_slice(&rest[..size.min(rest.len())]);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// The last report of tokens in a document or a stream.
fn reported(body: &str) -> Option<Tokens> {
    if let Ok(document) = serde_json::from_str(body) {
        return usage_of(&document, Tokens::default());
    }
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok())
        .fold(None, |known, event| usage_of(&event, known.unwrap_or_default()).or(known))
}

fn usage_of(event: &Value, known: Tokens) -> Option<Tokens> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    if let Some(usage) = event.get("usageMetadata") {
        let output = number(&usage["candidatesTokenCount"]) + number(&usage["thoughtsTokenCount"]);
        let (input, cached) = (number(&usage["promptTokenCount"]), number(&usage["cachedContentTokenCount"]));
        return Some(Tokens { input, cached, output });
    }
    let places = [event, &event["message"], &event["response"]];
    let usage = places.iter().map(|place| &place["usage"]).find(|usage| usage.is_object())?;
    if usage["prompt_tokens"].is_u64() {
        let cached = number(&usage["prompt_tokens_details"]["cached_tokens"]);
        return Some(Tokens {
            input: number(&usage["prompt_tokens"]),
            cached,
            output: number(&usage["completion_tokens"]),
        });
    }
    let output = number(&usage["output_tokens"]);
    if usage["input_tokens_details"].is_object() {
        let cached = number(&usage["input_tokens_details"]["cached_tokens"]);
        return Some(Tokens { input: number(&usage["input_tokens"]), cached, output });
    }
    // Anthropic counts tokens of the cache separately, and may report the input only at the beginning.
    if !usage["input_tokens"].is_u64() {
        return Some(Tokens { output, ..known });
    }
    let (read, written) = (number(&usage["cache_read_input_tokens"]), number(&usage["cache_creation_input_tokens"]));
    Some(Tokens { input: number(&usage["input_tokens"]) + read + written, cached: read, output })
}

/// What a backend speaks: the simulated format and lines for its entries.
#[derive(Clone, Copy, Debug)]
struct Kind(Dialect, &'static str);

const KINDS: [Kind; 5] = [
    Kind(Dialect::OpenAi, "openai_api = \"chat\""),
    Kind(Dialect::OpenAi, "openai_api = \"responses\""),
    Kind(Dialect::Azure, "openai_api = \"chat\""),
    Kind(Dialect::Claude, ""),
    Kind(Dialect::Gemini, ""),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Chat,
    Messages,
    Responses,
}

impl Front {
    fn ask(self, model: &str, stream: bool) -> Ask {
        let messages = json!([{ "role": "user", "content": "How are you?" }]);
        let (path, body) = match self {
            Self::Chat => ("/v1/chat/completions", json!({ "model": model, "stream": stream, "messages": messages })),
            Self::Messages => {
                let body = json!({ "model": model, "stream": stream, "max_tokens": 500, "messages": messages });
                ("/v1/messages", body)
            }
            Self::Responses => ("/v1/responses", json!({ "model": model, "stream": stream, "input": messages })),
        };
        Ask::post(path, body.to_string())
    }

    /// Whether an event of a stream has output.
    fn has_output(self, event: &Value) -> bool {
        let text = match self {
            Self::Chat => &event["choices"][0]["delta"]["content"],
            Self::Messages => &event["delta"]["text"],
            Self::Responses if event["type"] == "response.output_text.delta" => &event["delta"],
            Self::Responses => &Value::Null,
        };
        text.as_str().is_some_and(|text| !text.is_empty())
    }
}

/// A gateway with a ledger, over one provider that fails and one that is well.
struct Site {
    server: Server,
    faulty: Provider,
    taps: [Tap; 2],
    _well: Provider,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start(first: Kind, second: Kind, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut file = format!(
            "[settings]\nhealth_check_interval_seconds = 86400\ncircuit_breaker_failure_threshold = 1000000\n\
             stream_keepalive_seconds = 0\n{settings}\n\
             [users.alice]\ntoken = \"{TOKEN}\"\ntags = [\"admin\"]\n[database]\nurl = \"sqlite://{}\"\n",
            folder.path().join("berry.db").display()
        );
        let (mut providers, mut taps) = (Vec::new(), Vec::new());
        for (name, kind) in [("a", first), ("b", second)] {
            let config = Config { tokens: Some(12), dialect: kind.0, ..Config::named(name) };
            let provider = Provider::start(config).await.unwrap();
            let tap = Tap::start(provider.addr()).await;
            let url = provider.base_url().replace(&provider.addr().to_string(), &tap.addr.to_string());
            let _ = writeln!(
                file,
                "[providers.{name}]\nbase_url = \"{url}\"\napi_key = \"{}\"\nmodels = [\"sim\"]\n\
                 backend_type = \"{}\"\n{}",
                provider.key(),
                kind.0.backend_type(),
                if kind.0 == Dialect::Azure { "api_version = \"2024-10-21\"" } else { "" }
            );
            providers.push(provider);
            taps.push(tap);
        }
        for (model, backends, recovery) in
            [("alone", "a", "off"), ("pool", "ab", "off"), ("replayed", "ab", "replay"), ("continued", "ab", "prefill")]
        {
            let _ = writeln!(file, "[models.{model}]\nname = \"{model}\"\nstrategy = \"failover\"");
            let _ = writeln!(file, "stream_recovery = \"{recovery}\"\n[prices.{model}]\n{PRICE}");
            for ((at, provider), kind) in backends.chars().enumerate().zip([first, second]) {
                let _ = writeln!(
                    file,
                    "[[models.{model}.backends]]\nprovider = \"{provider}\"\nmodel = \"sim\"\npriority = {at}\n\
                     probe = \"none\"\n{}",
                    kind.1
                );
            }
        }
        let loaded = config::parse(&file, &|_| None).unwrap_or_else(|error| panic!("{error}\n{file}"));
        let server = Server::start(loaded, Options::loopback()).await.unwrap();
        let (well, faulty) = (providers.pop().unwrap(), providers.pop().unwrap());
        let taps = taps.try_into().ok().unwrap();
        Self { server, faulty, taps, _well: well, _folder: folder }
    }

    async fn ask(&self, ask: &Ask) -> berry_tests::Reply {
        let mut connection = Connection::open(self.server.addr()).await.unwrap();
        timeout(Duration::from_secs(60), connection.ask(ask)).await.expect("an answer").unwrap()
    }

    fn billed(&self) -> Tokens {
        self.taps[0].billed().plus(self.taps[1].billed())
    }

    /// What the ledger has of so many requests: tokens that callers pay for, their cost and what was wasted.
    async fn ledger(&self, requests: u64) -> (Tokens, u64, u64) {
        let query = Ask::get("/admin/usage?from=2020-01-01");
        for _ in 0..600 {
            let sums = self.ask(&query).await.json()["total"].clone();
            if sums["requests"].as_u64() >= Some(requests) {
                let number = |name: &str| sums[name].as_u64().unwrap();
                let nanos = |name: &str| {
                    let dollars: f64 = sums[name].as_str().unwrap().parse().unwrap();
                    (dollars * 1e9).round() as u64
                };
                let (input, cached) = (number("input_tokens"), number("cached_tokens"));
                let tokens = Tokens { input, cached, output: number("output_tokens") };
                return (tokens, nanos("cost"), nanos("wasted_cost"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the ledger does not get {requests} rows");
    }
}

fn faults() -> Vec<Behavior> {
    vec![
        Behavior::healthy(),
        Fault::Status(429).retry_after(0).once(),
        Fault::Status(500).once(),
        Fault::Overloaded.once(),
        Fault::Reset.once(),
        Fault::Html.once(),
        Fault::Empty.once(),
        Fault::ErrorFirst.once(),
        Fault::ContextLength.once(),
        Fault::BadKey.once(),
        Fault::Short.once(),
        Fault::Chopped.once(),
        Fault::CutAfter(4).once(),
        Fault::ResetAfter(4).once(),
        Fault::ErrorAfter(4).once(),
        Fault::Malformed(3).once(),
        Fault::Unknown(3).once(),
        Fault::Crlf.once(),
        Fault::Split(7).once(),
        Fault::Pings.once(),
        Fault::NoDone.once(),
        Fault::NoFinish.once(),
        Fault::NoUsage.once(),
        Fault::CutAfter(berry_simulated::AFTER_FINISH).once(),
    ]
}

/// Every fault through every way to answer, of backends of these kinds.
async fn every_way_is_in_the_ledger(first: Kind, second: Kind) {
    let site = Site::start(first, second, "").await;
    let mut requests = 0;
    for front in [Front::Chat, Front::Messages, Front::Responses] {
        for stream in [false, true] {
            let models: &[&str] = if stream { &["alone", "pool", "replayed", "continued"] } else { &["alone", "pool"] };
            for behavior in faults() {
                for model in models {
                    site.faulty.set(behavior.clone());
                    site.ask(&front.ask(model, stream)).await;
                    site.faulty.heal();
                    // The backend is used again.
                    let again = site.ask(&Front::Chat.ask("alone", false)).await;
                    assert!(again.is_good_chat(), "{behavior:?}: {again:?}");
                    requests += 2;
                }
            }
            let (billed, (paid, cost, wasted)) = (site.billed(), site.ledger(requests).await);
            let what = format!("{front:?}, stream {stream}, {first:?}, {second:?}: {billed:?}, {paid:?}");
            assert_eq!(cost + wasted, billed.nanos(), "{what}");
            assert_eq!(cost, paid.nanos(), "what callers pay is the price of their tokens: {what}");
        }
    }
    let (_, _, wasted) = site.ledger(requests).await;
    assert!(wasted > 0 || first.0 != Dialect::Claude, "a failed message has told its input");
}

#[tokio::test]
async fn every_end_of_chat_completions_is_in_the_ledger() {
    every_way_is_in_the_ledger(KINDS[0], KINDS[3]).await;
}

#[tokio::test]
async fn every_end_of_responses_is_in_the_ledger() {
    every_way_is_in_the_ledger(KINDS[1], KINDS[4]).await;
}

#[tokio::test]
async fn every_end_of_azure_is_in_the_ledger() {
    every_way_is_in_the_ledger(KINDS[2], KINDS[1]).await;
}

#[tokio::test]
async fn every_end_of_claude_is_in_the_ledger() {
    every_way_is_in_the_ledger(KINDS[3], KINDS[0]).await;
}

#[tokio::test]
async fn every_end_of_gemini_is_in_the_ledger() {
    every_way_is_in_the_ledger(KINDS[4], KINDS[2]).await;
}

#[tokio::test]
async fn a_stream_that_stalls_is_in_the_ledger() {
    for model in ["alone", "replayed"] {
        // A provider that has stalled is not asked first again, so each model has one of its own. The
        // timeout is longer than a busy machine takes for anything else.
        let site = Site::start(KINDS[3], KINDS[0], "stream_idle_timeout_seconds = 5").await;
        site.faulty.set(Fault::StallAfter(4).once());
        site.ask(&Front::Chat.ask(model, true)).await;
        let (_, cost, wasted) = site.ledger(1).await;
        assert_eq!(cost + wasted, site.billed().nanos(), "{model}");
        assert_eq!(wasted > 0, model == "replayed", "what the stream had told was for nothing");
    }
}

/// A caller who leaves pays for the tokens that the provider has reported so far.
#[tokio::test]
async fn a_caller_who_leaves_is_in_the_ledger() {
    for kind in KINDS {
        let site = Site::start(kind, KINDS[0], "").await;
        let mut requests = 0;
        for front in [Front::Chat, Front::Messages, Front::Responses] {
            site.faulty.set(Fault::StallAfter(4));
            let mut connection = Connection::open(site.server.addr()).await.unwrap();
            connection.send(&front.ask("alone", true).bytes()).await.unwrap();
            let until_output = async {
                let mut reply = connection.head().await.unwrap();
                while reply.events().iter().filter(|event| front.has_output(event)).count() < 4 {
                    assert!(connection.more(&mut reply).await, "{kind:?} {front:?}: {reply:?}");
                }
            };
            timeout(Duration::from_secs(60), until_output).await.expect("output");
            drop(connection);
            requests += 1;
            let (_, cost, wasted) = site.ledger(requests).await;
            assert_eq!((cost, wasted), (site.billed().nanos(), 0), "{kind:?} {front:?}");
            site.faulty.heal();
        }
    }
}
