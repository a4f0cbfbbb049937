//! A gateway in this process, and the simulated providers behind it.

use std::{fmt::Write, sync::Arc, time::Duration};

use berry_server::{Options, Server, config};
use berry_simulated::{Behavior, Config, Dialect, Provider};
use berry_tower::backend::{Backend, BackendStateSnapshot};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::answer::{Answer, Front};

pub(crate) const TOKEN: &str = "a-token-of-the-wall";

/// How many tokens a healthy answer has.
pub(crate) const TOKENS: usize = 60;

/// All kinds of providers.
pub(crate) const DIALECTS: [Dialect; 4] = [Dialect::OpenAi, Dialect::Azure, Dialect::Claude, Dialect::Gemini];

/// All formats in which a backend is asked.
pub(crate) const FORMATS: [Format; 5] = [
    Format(Dialect::OpenAi, Some("chat")),
    Format(Dialect::OpenAi, Some("responses")),
    Format(Dialect::Azure, None),
    Format(Dialect::Claude, None),
    Format(Dialect::Gemini, None),
];

/// The kind of a provider, and in which of OpenAI's formats it is asked, unless the gateway decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format(pub(crate) Dialect, pub(crate) Option<&'static str>);

impl From<Dialect> for Format {
    fn from(dialect: Dialect) -> Self {
        Self(dialect, None)
    }
}

/// What a gateway is to be made of.
pub(crate) struct Plan {
    /// Of each pool, the formats of its backends.
    pools: Vec<Vec<Format>>,
    front: Front,
    settings: String,
    model: String,
    provider: String,
    urls: Vec<Option<String>>,
    backend: String,
    tokens: usize,
    fallback: bool,
}

impl Plan {
    /// Of so many backends of one model, in order.
    pub(crate) fn of(backends: usize) -> Self {
        Self::speaking(&vec![Dialect::OpenAi; backends])
    }

    /// Of one model's backends that speak these formats, in order.
    pub(crate) fn speaking(formats: &[impl Into<Format> + Copy]) -> Self {
        Self::pools(vec![formats.iter().map(|format| (*format).into()).collect()])
    }

    /// Of several models, which share nothing but the gateway; each has a wall of its own.
    pub(crate) fn pools(pools: Vec<Vec<Format>>) -> Self {
        let backends = pools.iter().map(Vec::len).sum();
        Self {
            pools,
            front: Front::Chat,
            settings: String::new(),
            model: String::new(),
            provider: String::new(),
            urls: vec![None; backends],
            backend: String::new(),
            tokens: TOKENS,
            fallback: false,
        }
    }

    /// Asked in this API's words.
    pub(crate) fn front(mut self, front: Front) -> Self {
        self.front = front;
        self
    }

    /// Lines for `[settings]`.
    pub(crate) fn settings(mut self, lines: &str) -> Self {
        self.settings = lines.to_owned();
        self
    }

    /// Lines for the model.
    pub(crate) fn model(mut self, lines: &str) -> Self {
        self.model = lines.to_owned();
        self
    }

    /// Lines for each provider.
    pub(crate) fn provider(mut self, lines: &str) -> Self {
        self.provider = lines.to_owned();
        self
    }

    /// Lines for each backend.
    pub(crate) fn backend(mut self, lines: &str) -> Self {
        self.backend = lines.to_owned();
        self
    }

    /// Another address for a backend.
    pub(crate) fn url(mut self, backend: usize, url: impl Into<String>) -> Self {
        self.urls[backend] = Some(url.into());
        self
    }

    /// Answers of so many tokens.
    pub(crate) fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = tokens;
        self
    }

    /// The last backend is the only one of a fallback model.
    pub(crate) fn last_is_fallback(mut self) -> Self {
        self.fallback = true;
        self
    }

    pub(crate) async fn start(self) -> Wall {
        self.start_all().await.remove(0)
    }

    /// Starts it, for all its models.
    pub(crate) async fn start_all(self) -> Vec<Wall> {
        let mut providers = Vec::new();
        for (i, Format(dialect, _)) in self.pools.iter().flatten().enumerate() {
            let name = format!("p{i}");
            let config = Config { tokens: Some(self.tokens), dialect: *dialect, ..Config::named(&name) };
            providers.push(Provider::start(config).await.unwrap());
        }
        let loaded = config::parse(&self.file(&providers), &|_| None).unwrap();
        let server = Arc::new(Server::start(loaded, Options::loopback()).await.unwrap());
        // Nothing here is asked by TLS, so that no roots need to be read.
        let client = reqwest::Client::builder().no_proxy().tls_built_in_root_certs(false).build().unwrap();
        let (mut walls, mut first, mut providers) = (Vec::new(), 0, providers.into_iter());
        for (at, pool) in self.pools.iter().enumerate() {
            walls.push(Wall {
                providers: providers.by_ref().take(pool.len()).collect(),
                server: server.clone(),
                client: client.clone(),
                front: self.front,
                model: model_name(at),
                first,
            });
            first += pool.len();
        }
        walls
    }

    fn file(&self, providers: &[Provider]) -> String {
        let mut file = format!("[settings]\n{}\n[users.me]\ntoken = \"{TOKEN}\"\ntags = [\"admin\"]\n", self.settings);
        for ((i, provider), Format(dialect, _)) in providers.iter().enumerate().zip(self.pools.iter().flatten()) {
            let url = self.urls[i].clone().unwrap_or_else(|| provider.base_url());
            let (key, more, kind) = (provider.key(), &self.provider, dialect.backend_type());
            let version = if *dialect == Dialect::Azure { "api_version = \"2024-10-21\"\n" } else { "" };
            let _ = writeln!(
                file,
                "[providers.p{i}]\nbase_url = \"{url}\"\napi_key = \"{key}\"\nmodels = [\"sim\"]\n\
                 backend_type = \"{kind}\"\n{version}{more}"
            );
        }
        let mut first = 0;
        for (at, pool) in self.pools.iter().enumerate() {
            self.pool(&mut file, &model_name(at), first, pool.len());
            first += pool.len();
        }
        file
    }

    fn pool(&self, file: &mut String, name: &str, first: usize, backends: usize) {
        let fallback = backends - usize::from(self.fallback);
        let names = if self.fallback { "fallbacks = [\"spare\"]" } else { "" };
        let _ = writeln!(file, "[models.{name}]\nname = \"{name}\"\nstrategy = \"failover\"\n{names}\n{}", self.model);
        for i in 0..fallback {
            self.entry(file, name, first, i);
        }
        if self.fallback {
            let _ = writeln!(file, "[models.spare]\nname = \"spare\"\nstrategy = \"failover\"\n{}", self.model);
            self.entry(file, "spare", first, fallback);
        }
    }

    fn entry(&self, file: &mut String, model: &str, first: usize, at: usize) {
        let i = first + at;
        let format = self.pools.iter().flatten().nth(i);
        let api = format.and_then(|format| format.1).map(|api| format!("openai_api = \"{api}\"\n"));
        let _ = writeln!(
            file,
            "[[models.{model}.backends]]\nprovider = \"p{i}\"\nmodel = \"sim\"\npriority = {at}\nprobe = \"none\"\n{}{}",
            api.unwrap_or_default(),
            self.backend
        );
    }
}

fn model_name(at: usize) -> String {
    if at == 0 { "m".to_owned() } else { format!("m{at}") }
}

/// A gateway that is running, and what is behind one of its models.
pub(crate) struct Wall {
    pub(crate) providers: Vec<Provider>,
    pub(crate) server: Arc<Server>,
    pub(crate) client: reqwest::Client,
    front: Front,
    model: String,
    /// The number of the first provider.
    first: usize,
}

impl Wall {
    /// From now on, this backend behaves like this.
    pub(crate) fn set(&self, backend: usize, behavior: impl Into<Behavior>) {
        self.providers[backend].set(behavior);
    }

    pub(crate) fn request(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.server.addr());
        let request = self.client.post(url).json(body);
        match self.front {
            Front::Chat | Front::Responses => request.bearer_auth(TOKEN),
            Front::Messages => request.header("x-api-key", TOKEN).header("anthropic-version", "2023-06-01"),
        }
    }

    /// The question, in the words of the API in front.
    pub(crate) fn chat(&self, stream: bool) -> reqwest::RequestBuilder {
        let mut body = question(stream);
        body["model"] = self.model.as_str().into();
        match self.front {
            Front::Chat => {}
            Front::Messages => body["max_tokens"] = 1000.into(),
            Front::Responses => {
                let members = body.as_object_mut().unwrap();
                let messages = members.remove("messages").unwrap();
                members.insert("input".to_owned(), messages);
            }
        }
        self.request(self.front.path(), &body)
    }

    /// Asks, and reads the answer to its end.
    pub(crate) async fn ask(&self, stream: bool) -> Answer {
        self.send(self.chat(stream)).await
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let began = Instant::now();
        Answer::read(self.front, request.send().await.unwrap(), began).await
    }

    /// The name of a backend in the headers.
    pub(crate) fn id(&self, backend: usize) -> String {
        format!("p{}:sim", self.first + backend)
    }

    /// When each of a backend's calls came, since `began`.
    pub(crate) fn calls(&self, backend: usize, began: Instant) -> Vec<Duration> {
        self.providers[backend].calls().iter().map(|call| call.at - began).collect()
    }

    /// How many calls each backend has had.
    pub(crate) fn counts(&self) -> Vec<usize> {
        self.providers.iter().map(|provider| provider.calls().len()).collect()
    }

    fn backend(&self, i: usize) -> Arc<Backend> {
        let catalog = self.server.catalog().load();
        let mut all = catalog.models().iter().flat_map(|model| model.backends());
        all.find(|backend| *backend.id().provider == *format!("p{}", self.first + i)).unwrap().clone()
    }

    /// How a backend stands now.
    pub(crate) fn state(&self, i: usize) -> BackendStateSnapshot {
        self.backend(i).state().snapshot(Instant::now())
    }

    /// How often a backend's attempts ended like this, by the class's name.
    pub(crate) fn outcomes(&self, i: usize, class: &str) -> u64 {
        let at = berry_tower::classify::Class::NAMES.iter().position(|name| *name == class).unwrap();
        self.state(i).outcomes[at]
    }

    /// Waits until nothing is under way any more, which must be soon.
    pub(crate) async fn settle(&self) {
        for i in 0..self.providers.len() {
            let idle = async {
                while self.state(i).view.in_flight > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(1), idle).await.expect("a place is given back within a second");
        }
    }

    /// Everyone is well again: the next requests work. What the answer said is a part of theirs.
    pub(crate) async fn next_works(&self, before: &Answer) {
        self.settle().await;
        let mut wait = Duration::ZERO;
        for (i, provider) in self.providers.iter().enumerate() {
            provider.heal();
            wait = wait.max(self.state(i).view.cooling.unwrap_or_default());
        }
        tokio::time::sleep(wait).await;
        for stream in [false, true] {
            let answer = self.ask(stream).await;
            assert!(answer.is_whole(), "the next request works: {answer:?}");
            assert!(answer.content().starts_with(&before.content()), "{before:?}");
            assert!(!before.looks_whole() || before.content() == answer.content(), "{before:?}");
        }
        self.settle().await;
    }
}

/// Stops a gateway that nobody else uses.
pub(crate) async fn stop(server: Arc<Server>) {
    Arc::into_inner(server).unwrap().shutdown().await;
}

/// A question that each healthy provider answers with the same words.
pub(crate) fn question(stream: bool) -> Value {
    json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": "How are you?" }] })
}
