//! A gateway over simulated models that do a task, for the suites of coding agents.
//!
//! `BERRY_TASK` holds the task as JSON: a list of steps, each a list of alternatives `[tool, input]`. The
//! program prints where the gateway is as one line of JSON. Then it takes one command of JSON a line, and answers each
//! with one line, until its standard input closes:
//!
//! - `{"fault": "429"}` (or `cut`, `null`) sets what happens to the third model request of each provider, and forgets what was
//!   recorded.
//! - `{"report": true}` returns what each provider has seen since.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    io::{BufRead as _, Write as _},
    sync::Arc,
};

use berry_server::{Options, Server, config};
use berry_simulated::{Behavior, Config, Dialect, Fault, Provider, TaskCall};
use serde_json::{Value, json};

const TOKEN: &str = "berry-fixture-token-agent";

const SETTINGS: &str = "[settings]\n\
    health_check_interval_seconds = 3600\n\
    recovery_check_interval_seconds = 3600\n\
    shutdown_grace_seconds = 1\n";

/// The providers: the dialect, the `backend_type`, and what every answer has.
const PROVIDERS: [(&str, Dialect, Option<Fault>); 5] = [
    ("chat", Dialect::OpenAi, Some(Fault::ChatOnly)),
    ("responses", Dialect::OpenAi, Some(Fault::ToolsNeedResponses)),
    ("claude", Dialect::Claude, None),
    ("gemini", Dialect::Gemini, None),
    ("dead", Dialect::OpenAi, None),
];

/// The pools by their providers, with a strategy.
const POOLS: [(&str, &[&str], &str); 9] = [
    ("on-chat", &["chat"], "failover"),
    ("on-responses", &["responses"], "failover"),
    ("on-claude", &["claude"], "failover"),
    ("on-gemini", &["gemini"], "failover"),
    ("on-mixed", &["chat", "responses", "claude", "gemini"], "round_robin"),
    ("dead-then-chat", &["dead", "chat"], "failover"),
    ("dead-then-responses", &["dead", "responses"], "failover"),
    ("dead-then-claude", &["dead", "claude"], "failover"),
    ("dead-then-gemini", &["dead", "gemini"], "failover"),
];

/// What each pool's further names begin with, by which the agents take it for a model that they know: Codex gives it all of
/// its tools, and Claude Code thinks adaptively or with a budget.
const MODELS: [&str; 3] = ["gpt-5.5-", "claude-opus-5-5-", "claude-sonnet-4-5-"];

type Providers = BTreeMap<&'static str, Provider>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let task = task(&std::env::var("BERRY_TASK")?)?;
    let mut providers = Providers::new();
    for (name, dialect, fault) in PROVIDERS {
        let behavior = fault.map_or_else(Behavior::healthy, Behavior::from).reasoning();
        let config =
            Config { dialect, behavior, task: task.clone(), tokens: Some(12), echo: false, ..Config::named(name) };
        providers.insert(name, Provider::start(config).await?);
    }
    providers["dead"].down().await?;
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile()?;
    file.write_all(configuration(&providers).as_bytes())?;
    let server = Server::start(config::load(file.path())?, Options::loopback()).await?;
    let pools: Vec<_> = POOLS.iter().map(|(name, ..)| name).collect();
    tell(&json!({ "base_url": format!("http://{}/v1", server.addr()), "token": TOKEN, "pools": pools }))?;
    let providers = Arc::new(providers);
    tokio::task::spawn_blocking(move || commands(&providers)).await??;
    server.shutdown().await;
    Ok(())
}

fn tell(line: &Value) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

fn task(text: &str) -> Result<Vec<Vec<TaskCall>>, Box<dyn Error>> {
    let steps: Vec<Vec<(String, Value)>> = serde_json::from_str(text)?;
    let call = |(tool, input): (String, Value)| {
        let input = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
        TaskCall::new(tool, input)
    };
    Ok(steps.into_iter().map(|step| step.into_iter().map(call).collect()).collect())
}

fn commands(providers: &Providers) -> std::io::Result<()> {
    for line in std::io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line?).unwrap_or_default();
        if let Some(fault) = command.get("fault") {
            for (name, provider) in providers {
                provider.script(script(name, fault.as_str()));
                provider.clear();
            }
            tell(&json!({}))?;
        } else {
            tell(&report(providers))?;
        }
    }
    Ok(())
}

/// Two requests without the fault, then one with it; other requests are answered as ever.
fn script(provider: &str, fault: Option<&str>) -> Vec<Behavior> {
    let (_, _, always) = PROVIDERS.iter().find(|(name, ..)| *name == provider).expect("a provider of the table");
    let healthy = || always.clone().map_or_else(Behavior::healthy, Behavior::from).reasoning();
    let faulty = match fault {
        Some("429") => healthy().and(Fault::Status(429)).retry_after(1),
        Some("cut") => healthy().and(Fault::CutAfter(2)),
        _ => return Vec::new(),
    };
    vec![healthy().times(2), faulty.once()]
}

fn report(providers: &Providers) -> Value {
    let seen = |provider: &Provider| {
        let requests = provider.calls().into_iter().map(|request| {
            let body = request.json();
            json!({
                "path": request.path,
                "status": request.ended.and_then(|ended| ended.status),
                "end": request.ended.map(|ended| format!("{:?}", ended.how)),
                "headers": { "anthropic-beta": request.header("anthropic-beta") },
                "body": body,
            })
        });
        requests.collect::<Vec<_>>()
    };
    let all: BTreeMap<_, _> = providers.iter().map(|(name, provider)| (*name, seen(provider))).collect();
    json!(all)
}

fn configuration(providers: &Providers) -> String {
    let mut text = format!("{SETTINGS}[users.agent]\nname = \"agent\"\ntoken = \"{TOKEN}\"\n");
    for (name, provider) in providers {
        let (_, dialect, _) = PROVIDERS.iter().find(|(known, ..)| known == name).expect("a provider of the table");
        let _ = writeln!(
            text,
            "[providers.{name}]\nname = \"{name}\"\nbase_url = \"{}\"\napi_key = \"{}\"\nmodels = [\"sim\"]\nbackend_type = \"{}\"",
            provider.base_url(),
            provider.key(),
            dialect.backend_type(),
        );
    }
    for (prefix, (name, backends, strategy)) in
        [""].into_iter().chain(MODELS).flat_map(|prefix| POOLS.map(|pool| (prefix, pool)))
    {
        let id = format!("{}{name}", prefix.replace('.', "-"));
        let _ = writeln!(text, "[models.{id}]\nname = \"{prefix}{name}\"\nstrategy = \"{strategy}\"");
        for (priority, provider) in backends.iter().enumerate() {
            let _ = writeln!(
                text,
                "[[models.{id}.backends]]\nprovider = \"{provider}\"\nmodel = \"sim\"\nprobe = \"none\"\npriority = {priority}"
            );
        }
    }
    text
}
