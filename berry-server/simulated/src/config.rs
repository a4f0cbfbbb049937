//! The settings of a simulated provider.

use super::dialect::Dialect;
use super::fault::Behavior;
use super::quirks;
use super::record::Retention;
use std::fmt;
use std::time::Duration;

const TEXT: &str = "This answer comes from a simulated provider that runs inside the gateway. \
    It needs no key from anyone, costs nothing, and says the same words every time it is asked \
    the same question. What you see is the whole path of a request: it was authorized, a backend \
    was chosen for it, and each word came back as an event of its own. When this backend fails, \
    another one takes over, and you should notice nothing but the time it took.";

/// A tool call of a [task](Config::task).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskCall {
    pub(super) tool: String,
    pub(super) input: String,
}

impl TaskCall {
    /// Returns a call of `tool`, by its name with or without a namespace. The input is a JSON object, or the text for a custom
    /// tool.
    pub fn new(tool: impl Into<String>, input: impl Into<String>) -> Self {
        Self { tool: tool.into(), input: input.into() }
    }
}

/// The settings of a provider. Its `Debug` omits the key.
///
/// ```
/// use berry_simulated::Config;
///
/// let config = Config { tokens: Some(60), ..Config::named("primary") };
/// assert_eq!(config.key, "sk-simulated-primary");
/// assert_eq!(config.models, ["sim"]);
/// ```
#[derive(Clone)]
pub struct Config {
    /// The name, which appears in `system_fingerprint` and `owned_by`.
    pub name: String,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The key that requests must bring.
    pub key: String,
    /// The models. Each is found by its name, and by its name with fault tokens.
    pub models: Vec<String>,
    /// The wire format.
    pub dialect: Dialect,
    /// The known provider whose rules and shapes it has, if any; see [`Config::of_preset`].
    pub preset: Option<&'static str>,
    /// Whether to accept bodies that break the published rules, which are refused otherwise.
    pub lax: bool,
    /// The `created` of all responses, in Unix seconds.
    pub created: u64,
    /// The text of responses, repeated as needed.
    pub text: String,
    /// Whether a response begins with the user's last message, as one token.
    pub echo: bool,
    /// The number of tokens in a response; `None` is the whole text once.
    pub tokens: Option<usize>,
    /// The time from the head of a stream to its first token.
    pub first_token: Duration,
    /// The time between tokens. The head of a plain response comes when its last token would.
    pub per_token: Duration,
    /// The behaviour without a script and without fault tokens in the model's name.
    pub behavior: Behavior,
    /// The tool calls of each conversation, one step per turn. A step makes the first call whose tool the request has. The
    /// number of tool results in the conversation tells the step, so that several providers can share a task.
    pub task: Vec<Vec<TaskCall>>,
    /// Shifts which requests a percentage strikes.
    pub seed: u64,
    /// How much of each request is recorded.
    pub keep: Retention,
}

impl Config {
    /// Returns the settings of a healthy provider with this name, without delays, with the model `sim`.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            port: 0,
            key: format!("sk-simulated-{name}"),
            models: vec!["sim".to_owned()],
            dialect: Dialect::default(),
            preset: None,
            lax: false,
            created: 1_750_000_000,
            text: TEXT.to_owned(),
            echo: true,
            tokens: None,
            first_token: Duration::ZERO,
            per_token: Duration::ZERO,
            behavior: Behavior::healthy(),
            task: Vec::new(),
            seed: 0,
            keep: Retention::default(),
        }
    }

    /// Returns the settings of a healthy provider with the rules, the errors and the answers of a known one;
    /// `None` for an unknown name.
    ///
    /// ```
    /// use berry_simulated::Config;
    ///
    /// assert_eq!(Config::of_preset("mistral").unwrap().preset, Some("mistral"));
    /// assert!(Config::of_preset("unknown").is_none());
    /// ```
    pub fn of_preset(name: &str) -> Option<Self> {
        let quirks = quirks::by_name(name)?;
        Some(Self { preset: Some(quirks.name), dialect: quirks.dialect, ..Self::named(name) })
    }

    /// Returns the names of the known providers.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        quirks::names()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::named("sim")
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("port", &self.port)
            .field("models", &self.models)
            .field("dialect", &self.dialect)
            .field("preset", &self.preset)
            .field("lax", &self.lax)
            .field("tokens", &self.tokens)
            .field("first_token", &self.first_token)
            .field("per_token", &self.per_token)
            .field("behavior", &self.behavior)
            .field("task", &self.task)
            .field("seed", &self.seed)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}
