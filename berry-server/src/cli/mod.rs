//! The command line of `berry-cli`: checks and writes configurations, asks providers whether they
//! are well, and asks a running server what it does.
//!
//! Each command exits with 0 only when what was asked for is so: a valid file, healthy providers, a
//! reload that took place. With `--json` it prints one JSON value to standard output, whatever
//! happens, and words for people nowhere.

mod backends;
mod files;
mod output;
mod remote;
pub mod serve;
mod server;
mod stream;

use std::{env, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;
use serde_json::json;

use self::output::{Fail, Output};

/// What `berry-cli` is told.
#[derive(Clone, Debug, Parser)]
#[command(name = "berry-cli", version, about = "Checks and operates a Berry gateway.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes, before or after its name.
#[derive(Args, Clone, Debug)]
struct Global {
    /// The configuration file [default: CONFIG_PATH, then ./config.toml and the examples].
    #[arg(short, long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,

    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    json: bool,

    /// The running server's address [default: from BIND_ADDRESS, else http://127.0.0.1:3000].
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,

    /// A token for the running server [default: that of the file's first enabled admin].
    #[arg(long, global = true, value_name = "TOKEN", env = "BERRY_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Check the configuration file and tell everything that is wrong with it.
    ValidateConfig,

    /// Write a commented configuration to start from.
    GenerateConfig {
        /// Where to write it.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Every key and every strategy, rather than the least that is needed.
        #[arg(long)]
        advanced: bool,
        /// Replace the file if it is there.
        #[arg(long)]
        force: bool,
    },

    /// Ask each enabled provider for its list of models.
    HealthCheck {
        /// Only this provider, by its id in the file.
        #[arg(short, long, value_name = "PROVIDER")]
        provider: Option<String>,
        /// Have each backend answer one token too, which costs.
        #[arg(long)]
        chat: bool,
    },

    /// Show the running server's counts.
    Metrics {
        /// Each provider's models too.
        #[arg(long)]
        detailed: bool,
        /// Only whether it is alive, which takes no token and no file.
        #[arg(long, conflicts_with = "detailed")]
        live: bool,
    },

    /// Have one real chat of one token with a provider's model.
    TestBackend {
        /// The provider, by its id in the file.
        #[arg(short, long, value_name = "PROVIDER")]
        provider: String,
        /// The provider's name of the model.
        #[arg(short, long, value_name = "MODEL")]
        model: String,
        /// Have it streamed, in the provider's own protocol.
        #[arg(long)]
        stream: bool,
    },

    /// Show which backends the running server would choose among now, and why.
    Explain {
        /// The model, by its public name or its id in the file.
        #[arg(short, long, value_name = "MODEL")]
        model: String,
        /// As this user, by the id in the file, would see it; without one as an admin would.
        #[arg(short, long, value_name = "USER")]
        user: Option<String>,
    },

    /// Have the running server read its configuration again.
    Reload,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Only that no runtime could be made; all else is told and in the exit code: 0 when what was
    /// asked for is so, 1 when it is not, 2 when there is no configuration file.
    pub fn run(self) -> std::io::Result<ExitCode> {
        let Self { global, command } = self;
        let out = Output::new(global.json);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(async {
            match command {
                Command::ValidateConfig => files::validate(&global, &out),
                Command::GenerateConfig { output, advanced, force } => files::generate(&output, advanced, force, &out),
                Command::HealthCheck { provider, chat } => {
                    backends::health_check(&global, provider.as_deref(), chat, &out).await
                }
                Command::Metrics { live: true, .. } => server::live(&global, &out).await,
                Command::Metrics { detailed, .. } => server::metrics(&global, detailed, &out).await,
                Command::TestBackend { provider, model, stream } => {
                    backends::test(&global, &provider, &model, stream, &out).await
                }
                Command::Explain { model, user } => server::explain(&global, &model, user.as_deref(), &out).await,
                Command::Reload => server::reload(&global, &out).await,
            }
        });
        Ok(result.unwrap_or_else(|Fail { message, json, code }| {
            out.complain(&message, &json.unwrap_or_else(|| json!({ "error": { "message": message } })));
            ExitCode::from(code)
        }))
    }
}

/// A variable of the environment; an empty one is not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
