//! A gateway over simulated providers, for the tests of the client libraries. It prints its address,
//! tokens and models as one line of JSON, then serves until its standard input closes.
//!
//! The line holds the `base_url`, a token for each kind of user, and a model for each outcome of a
//! request. State that a test uses up (a rate limit, a backend without a cooldown) comes as a list,
//! so that each test takes an entry of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    io::{Read as _, Write as _},
};

use berry_server::{Options, Server, config};
use berry_simulated::{Config, Dialect, Provider};
use serde_json::{Value, json};

/// The number of entries in each list of state that a test uses up.
const SPARE: usize = 6;

/// Disables probes and the breaker in practice, so that only the requests of the tests change a
/// backend's state.
const SETTINGS: &str = "[settings]\n\
    health_check_interval_seconds = 3600\n\
    recovery_check_interval_seconds = 3600\n\
    circuit_breaker_failure_threshold = 1000000\n\
    max_retries = 1\n\
    shutdown_grace_seconds = 1\n";

/// The users, each with the extra lines of its table.
const USERS: [(&str, &str); 6] = [
    ("plain", ""),
    ("admin", "tags = [\"admin\"]"),
    ("disabled", "enabled = false"),
    ("expired", "expires_at = \"2020-01-01T00:00:00Z\""),
    ("narrow", "allowed_models = [\"healthy\"]"),
    ("member", "tags = [\"members\"]"),
];

/// One pool for each type of backend and one over four types, with the prefix of their upstream models. The backend of
/// `chat` has chat completions alone.
const TYPES: [(&str, &[&str], &str); 6] = [
    ("openai", &["left"], "sim"),
    ("azure", &["azure"], "sim"),
    ("claude", &["claude"], "sim"),
    ("gemini", &["gemini"], "sim"),
    ("mixed", &["left", "azure", "claude", "gemini"], "sim"),
    ("chat", &["right"], "sim-chatonly"),
];

/// The behaviours of an upstream: the suffix of the pool's name and that of the upstream model.
const BEHAVIOURS: [(&str, &str); 11] = [
    ("", ""),
    ("-tools", "-tools"),
    ("-two-tools", "-tools2-talk"),
    ("-thinking", "-think"),
    ("-thinking-tools", "-think-tools"),
    ("-cached", "-cached3"),
    ("-refusing", "-refuse"),
    ("-busy", "-busy"),
    ("-key-refused", "-key"),
    ("-cut", "-cut5"),
    ("-error-midway", "-err5"),
];

/// A model: its name, its backends in order of priority (provider, upstream model), and the extra
/// lines of its table.
type Pool = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const MODELS: [Pool; 23] = [
    ("healthy", &[("left", "sim"), ("right", "sim")], "strategy = \"round_robin\""),
    ("one-dead", &[("dead", "one"), ("right", "sim")], ""),
    ("all-dead", &[("dead", "one"), ("dead", "two")], ""),
    ("failing", &[("left", "sim-e500"), ("right", "sim-e500")], ""),
    ("overloaded", &[("left", "sim-busy"), ("right", "sim-busy")], ""),
    ("silent", &[("hasty", "sim-silent")], ""),
    ("key-refused", &[("left", "sim-key"), ("right", "sim-key")], ""),
    ("context-length", &[("left", "sim-ctx")], ""),
    ("context-fallback", &[("left", "sim-ctx")], "fallbacks = [\"healthy\"]"),
    ("content-policy", &[("left", "sim-policy")], ""),
    ("cut", &[("left", "sim-cut5"), ("right", "sim-cut5")], ""),
    ("error-midway", &[("left", "sim-err5"), ("right", "sim-err5")], ""),
    ("error-first", &[("left", "sim-err"), ("right", "sim")], ""),
    ("no-finish", &[("left", "sim-nofinish"), ("right", "sim-nofinish")], ""),
    ("no-done", &[("left", "sim-nodone")], ""),
    ("malformed", &[("left", "sim-bad5")], ""),
    ("odd-bytes", &[("left", "sim-crlf-split7")], ""),
    ("tools", &[("left", "sim-tools")], ""),
    ("stalled", &[("left", "sim-stall20")], ""),
    ("slow", &[("left", "sim-t200-d20")], ""),
    ("from-claude", &[("claude", "sim-busy"), ("right", "sim")], ""),
    ("to-claude", &[("left", "sim-e500"), ("claude", "sim")], ""),
    ("members-only", &[("guarded", "sim")], ""),
];

/// What the models of a provider with a preset do, by the end of their names.
const PRESET_BEHAVIOURS: [&str; 3] = ["", "-tools", "-think"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let left = Provider::start(Config::named("left")).await?;
    let right = Provider::start(Config::named("right")).await?;
    let dead = Provider::start(Config::named("dead")).await?;
    dead.down().await?;
    let start =
        async |dialect: Dialect| Provider::start(Config { dialect, ..Config::named(dialect.backend_type()) }).await;
    let (azure, claude, gemini) =
        (start(Dialect::Azure).await?, start(Dialect::Claude).await?, start(Dialect::Gemini).await?);
    let providers = [
        ("left", &left, ""),
        ("right", &right, ""),
        ("dead", &dead, ""),
        ("guarded", &right, ""),
        ("hasty", &left, "timeout_seconds = 1\nplain_timeout_seconds = 1"),
        ("azure", &azure, "backend_type = \"azure\"\napi_version = \"2024-10-21\""),
        ("claude", &claude, "backend_type = \"claude\""),
        ("gemini", &gemini, "backend_type = \"gemini\""),
    ];
    let mut presets = Vec::new();
    // The simulated providers have no addresses with the model in them.
    for name in Config::presets().filter(|name| *name != "vertex") {
        let config = Config::of_preset(name).ok_or("a known preset")?;
        presets.push((name, Provider::start(config).await?));
    }
    let spare: Vec<String> = (1..=SPARE).map(|n| n.to_string()).collect();
    // Clients test reload, which needs a file.
    let mut config_file = tempfile::Builder::new().suffix(".toml").tempfile()?;
    config_file.write_all(config_text(&providers, &spare).as_bytes())?;
    config_file.write_all(preset_text(&presets).as_bytes())?;
    // A team, keys and users that are made at run time, the ledger, and stored responses.
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("berry.db");
    writeln!(
        config_file,
        "[teams.crew]\n[database]\nurl = \"sqlite://{}\"\n[responses]\nstore = \"sqlite\"",
        database.display()
    )?;
    let loaded = config::load(config_file.path())?;
    let server = Server::start(loaded, Options::loopback()).await?;
    writeln!(std::io::stdout(), "{}", description(&server, &spare, &presets))?;
    // The parent process holds the other end of the pipe, which closes however the parent ends.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    server.shutdown().await;
    Ok(())
}

fn token(user: &str) -> String {
    format!("berry-fixture-token-{user}")
}

/// Describes the gateway to the clients.
fn description(server: &Server, spare: &[String], presets: &[(&str, Provider)]) -> Value {
    let names = |prefix: &str| spare.iter().map(|n| format!("{prefix}-{n}")).collect::<Vec<_>>();
    let tokens: BTreeMap<_, _> = USERS.iter().map(|(user, _)| (*user, token(user))).collect();
    let mut tokens = json!(tokens);
    tokens["limited"] = names("limited").iter().map(|user| token(user)).collect();
    let named = MODELS.iter().map(|(name, ..)| (*name).to_owned());
    let models: BTreeMap<_, _> =
        named.chain(typed().map(|(name, ..)| name)).map(|n| (n.replace('-', "_"), n)).collect();
    let mut models = json!(models);
    models["rate_limited"] = json!(names("rate-limited"));
    models["presets"] = presets.iter().map(|(name, _)| *name).collect();
    json!({ "base_url": format!("http://{}/v1", server.addr()), "tokens": tokens, "models": models })
}

/// Returns the configuration as TOML.
fn config_text(providers: &[(&str, &Provider, &str)], spare: &[String]) -> String {
    let mut text = SETTINGS.to_owned();
    let mut upstream: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (user, lines) in USERS {
        add_user(&mut text, user, lines);
    }
    for (name, backends, lines) in MODELS {
        let strategy = if lines.contains("strategy") { "" } else { "strategy = \"failover\"" };
        let _ = writeln!(text, "[models.{name}]\nname = \"{name}\"\n{strategy}\n{lines}");
        for (priority, (provider, model)) in backends.iter().enumerate() {
            let tags = if *provider == "guarded" { "tags = [\"members\"]" } else { "" };
            add_backend(&mut text, name, provider, model, &format!("priority = {priority}\n{tags}"));
            upstream.entry(provider).or_default().insert((*model).to_owned());
        }
    }
    for (name, backends, model) in typed() {
        let _ = writeln!(text, "[models.{name}]\nname = \"{name}\"\nstrategy = \"round_robin\"");
        for provider in backends {
            add_backend(&mut text, &name, provider, &model, "");
            upstream.entry(provider).or_default().insert(model.clone());
        }
    }
    for n in spare {
        add_user(&mut text, &format!("limited-{n}"), "rate_limit = { requests_per_minute = 2 }");
        // State is kept per upstream model, so each of these has a model name of its own.
        let (name, model) = (format!("rate-limited-{n}"), format!("sim-e429-ra30-t{n}"));
        let _ = writeln!(text, "[models.{name}]\nname = \"{name}\"\nstrategy = \"failover\"");
        add_backend(&mut text, &name, "left", &model, "");
        upstream.entry("left").or_default().insert(model);
    }
    for (name, provider, lines) in providers {
        let (url, key, models) = (provider.base_url(), provider.key(), json!(upstream[name]));
        let _ = writeln!(
            text,
            "[providers.{name}]\nname = \"{name}\"\nbase_url = \"{url}\"\napi_key = \"{key}\"\nmodels = {models}\n{lines}"
        );
    }
    text
}

/// Returns the configuration of a provider with each preset, and its models `preset-NAME` with the suffixes.
fn preset_text(presets: &[(&str, Provider)]) -> String {
    let mut text = String::new();
    for (preset, provider) in presets {
        let (url, key, name) = (provider.base_url(), provider.key(), format!("preset-{preset}"));
        let models = PRESET_BEHAVIOURS.map(|suffix| format!("sim{suffix}"));
        let _ = writeln!(
            text,
            "[providers.{name}]\npreset = \"{preset}\"\nbase_url = \"{url}\"\napi_key = \"{key}\"\nmodels = {models:?}"
        );
        for (suffix, model) in PRESET_BEHAVIOURS.iter().zip(&models) {
            let _ = writeln!(text, "[models.{name}{suffix}]\nname = \"{name}{suffix}\"");
            add_backend(&mut text, &format!("{name}{suffix}"), &name, model, "");
        }
    }
    text
}

/// Returns the pools of each type and behaviour: the name, the providers, the upstream model.
fn typed() -> impl Iterator<Item = (String, &'static [&'static str], String)> {
    let with_behaviours = |(name, backends, model): (&'static str, &'static [&'static str], &'static str)| {
        let pool = move |(end, tokens)| (format!("{name}{end}"), backends, format!("{model}{tokens}"));
        BEHAVIOURS.into_iter().map(pool)
    };
    TYPES.into_iter().flat_map(with_behaviours)
}

fn add_user(text: &mut String, user: &str, lines: &str) {
    let _ = writeln!(text, "[users.{user}]\nname = \"{user}\"\ntoken = \"{}\"\n{lines}", token(user));
}

fn add_backend(text: &mut String, name: &str, provider: &str, model: &str, lines: &str) {
    let _ = writeln!(
        text,
        "[[models.{name}.backends]]\nprovider = \"{provider}\"\nmodel = \"{model}\"\nprobe = \"none\"\n\
         price = {{ input = \"1\", output = \"2\" }}\n{lines}"
    );
}
