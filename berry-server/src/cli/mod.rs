//! The command line of `berry-cli`: checks and writes configurations, checks the health of providers, and queries a
//! running server.
//!
//! A command exits with 0 only if the result is good: the file is valid, the providers are healthy, the reload took
//! place. With `--json` it prints exactly one JSON value to standard output and no other text.

mod backends;
mod files;
mod global;
mod keys;
mod output;
mod presets;
mod prices;
mod quirks;
mod remote;
pub mod serve;
mod server;
mod stream;
mod usage;
mod values;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use serde_json::json;

use self::{
    global::Global,
    keys::{KeyCommand, OwnerCommand},
    output::{Fail, Output},
    prices::PricesCommand,
    usage::UsageArgs,
};

/// The command line of `berry-cli`.
#[derive(Clone, Debug, Parser)]
#[command(name = "berry-cli", version, about = "Checks and operates a Berry gateway.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Check the configuration file and print every error.
    ValidateConfig,

    /// Write a commented configuration to start from.
    GenerateConfig {
        /// The file to write.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Include every key and every strategy, not only what is required.
        #[arg(long)]
        advanced: bool,
        /// Replace the file if it exists.
        #[arg(long)]
        force: bool,
    },

    /// Request the list of models from each enabled provider.
    HealthCheck {
        /// Only this provider, by its id in the file.
        #[arg(short, long, value_name = "PROVIDER")]
        provider: Option<String>,
        /// Also request one token from each backend, which costs money.
        #[arg(long)]
        chat: bool,
    },

    /// Show the running server's counters.
    Metrics {
        /// Include each provider's models.
        #[arg(long)]
        detailed: bool,
        /// Only check that the server is alive; needs neither token nor file.
        #[arg(long, conflicts_with = "detailed")]
        live: bool,
    },

    /// List the known providers, with what each sets.
    Presets,

    /// Request one token from a provider's model.
    TestBackend {
        /// The provider, by its id in the file.
        #[arg(short, long, value_name = "PROVIDER")]
        provider: String,
        /// The provider's name of the model.
        #[arg(short, long, value_name = "MODEL")]
        model: String,
        /// Request a stream, in the provider's own protocol.
        #[arg(long)]
        stream: bool,
        /// Find out by a handful of one-token requests what the provider accepts, and print the options to set.
        #[arg(long, conflicts_with = "stream")]
        all_quirks: bool,
    },

    /// Show which backends the running server would choose from now, and why.
    Explain {
        /// The model, by its public name or its id in the file.
        #[arg(short, long, value_name = "MODEL")]
        model: String,
        /// The user to explain it for, by the id in the file; without one, an admin.
        #[arg(short, long, value_name = "USER")]
        user: Option<String>,
    },

    /// Make the running server reload its configuration.
    Reload,

    /// Make, change and revoke keys of the running server.
    #[command(subcommand)]
    Key(KeyCommand),

    /// Make, change and delete users of the running server.
    #[command(subcommand)]
    User(OwnerCommand),

    /// Make, change and delete teams of the running server.
    #[command(subcommand)]
    Team(OwnerCommand),

    /// Show what was spent, by user, team, key, model, backend or day.
    Usage(UsageArgs),

    /// Work with tables of prices.
    #[command(subcommand)]
    Prices(PricesCommand),
}

impl Cli {
    /// Runs the command. The exit code is 0 for a good result, 1 for a bad one, 2 if there is no configuration file.
    ///
    /// # Errors
    /// Fails when the runtime cannot be created. All other errors are printed.
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
                Command::Presets => Ok(presets::list(&out)),
                Command::TestBackend { provider, model, all_quirks: true, .. } => {
                    quirks::test(&global, &provider, &model, &out).await
                }
                Command::TestBackend { provider, model, stream, .. } => {
                    backends::test(&global, &provider, &model, stream, &out).await
                }
                Command::Explain { model, user } => server::explain(&global, &model, user.as_deref(), &out).await,
                Command::Reload => server::reload(&global, &out).await,
                Command::Key(command) => keys::key(&global, &command, &out).await,
                Command::User(command) => keys::owner(&global, "users", &command, &out).await,
                Command::Team(command) => keys::owner(&global, "teams", &command, &out).await,
                Command::Usage(args) => usage::usage(&global, &args, &out).await,
                Command::Prices(PricesCommand::Import(args)) => prices::import(&args, &out),
            }
        });
        Ok(result.unwrap_or_else(|Fail { message, json, code }| {
            out.error(&message, &json.unwrap_or_else(|| json!({ "error": { "message": message } })));
            ExitCode::from(code)
        }))
    }
}
