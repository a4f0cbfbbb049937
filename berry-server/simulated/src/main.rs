//! Runs one simulated provider until it is interrupted; see `--help`.

use std::{io::Write, process::ExitCode, time::Duration};

use berry_simulated::{Behavior, Config, Dialect, Provider, Retention};
use clap::{Parser, ValueEnum};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// A fake OpenAI, Azure OpenAI, Anthropic or Gemini on 127.0.0.1, with faults on demand.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// The port to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// The wire format.
    #[arg(long, value_enum, default_value_t = Format::Openai)]
    dialect: Format,

    /// A known provider whose rules, errors and responses are simulated, for example `mistral`.
    #[arg(long, value_name = "NAME", value_parser = preset, conflicts_with = "dialect")]
    preset: Option<String>,

    /// The name of the provider, which appears in its responses.
    #[arg(long, value_name = "NAME", default_value = "sim")]
    name: String,

    /// The key that requests must contain [default: sk-simulated-NAME].
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// A model to serve; may be given several times.
    #[arg(long = "model", value_name = "NAME", default_values_t = ["sim".to_owned()])]
    models: Vec<String>,

    /// The faults of every response, as tokens joined by `-`, for example `e503-ra2` or `cut40-crlf`.
    #[arg(long, value_name = "TOKENS", value_parser = behavior)]
    fault: Option<Behavior>,

    /// The share of requests with faults, in percent.
    #[arg(long, value_name = "PERCENT", requires = "fault", value_parser = clap::value_parser!(u8).range(0..=100))]
    percent: Option<u8>,

    /// The seed that selects which requests have faults.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,

    /// The time to the first token, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    first_token_ms: u64,

    /// The time between tokens, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    per_token_ms: u64,

    /// The number of tokens in a response.
    #[arg(long, value_name = "COUNT")]
    tokens: Option<usize>,

    /// Accept requests that break the provider's published rules.
    #[arg(long)]
    lax: bool,
}

/// The value of `--dialect`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Openai,
    Azure,
    Claude,
    Gemini,
}

impl From<Format> for Dialect {
    fn from(format: Format) -> Self {
        match format {
            Format::Openai => Self::OpenAi,
            Format::Azure => Self::Azure,
            Format::Claude => Self::Claude,
            Format::Gemini => Self::Gemini,
        }
    }
}

fn preset(name: &str) -> Result<String, String> {
    let known = Config::presets().collect::<Vec<_>>();
    if known.contains(&name) { Ok(name.to_owned()) } else { Err(format!("it is one of {}", known.join(", "))) }
}

fn behavior(tokens: &str) -> Result<Behavior, String> {
    Behavior::from_tokens(tokens)
        .ok_or_else(|| format!("`{tokens}` has an unknown token; the documentation lists them"))
}

impl Cli {
    fn config(self) -> Config {
        let mut behavior = self.fault.unwrap_or_default();
        if let Some(percent) = self.percent {
            behavior = behavior.percent(percent);
        }
        let named = Config::named(&self.name);
        let preset = self.preset.as_deref().and_then(Config::of_preset);
        Config {
            port: self.port,
            key: self.key.unwrap_or(named.key),
            models: self.models,
            dialect: preset.as_ref().map_or_else(|| self.dialect.into(), |preset| preset.dialect),
            preset: preset.and_then(|preset| preset.preset),
            lax: self.lax,
            tokens: self.tokens,
            first_token: Duration::from_millis(self.first_token_ms),
            per_token: Duration::from_millis(self.per_token_ms),
            behavior,
            seed: self.seed,
            keep: Retention::Counts,
            ..Config::named(&self.name)
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let config = cli.config();
    let (dialect, models) = (config.dialect.backend_type(), config.models.clone());
    let provider = Provider::start(config).await?;
    let line = json!({ "base_url": provider.base_url(), "key": provider.key(), "models": models, "dialect": dialect });
    writeln!(std::io::stdout(), "{line}")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
