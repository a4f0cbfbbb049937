//! Starts a gateway over simulated providers, and runs programs in a temporary folder.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use berry_server::{Options, Server, config};
use berry_simulated::{Config, Provider};
use serde_json::Value;
use tempfile::TempDir;

/// The admin's token.
pub(crate) const TOKEN: &str = "token-of-root-0123456789abcdef";

/// The environment variables that change the behaviour of a program.
const SETTINGS: [&str; 9] = [
    "CONFIG_PATH",
    "BIND_ADDRESS",
    "MAX_CONNECTIONS",
    "RUST_LOG",
    "BERRY_LOG_FORMAT",
    "BERRY_TOKEN",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];

/// Returns the command that runs a program in a folder, without these variables.
pub(crate) fn program(path: &str, folder: &Path) -> Command {
    let mut command = Command::new(path);
    for name in SETTINGS {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl CommandOutput {
    pub(crate) fn run(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// Returns the standard output as JSON. Standard error must be empty.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.err, "");
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A gateway over the providers `up` and `down`, and the folder with its configuration file.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) up: Provider,
    pub(crate) down: Provider,
    pub(crate) folder: TempDir,
}

impl Site {
    pub(crate) async fn start(settings: &str) -> Self {
        let up = Provider::start(Config::named("up")).await.unwrap();
        let down = Provider::start(Config::named("down")).await.unwrap();
        down.down().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, file(settings, &up, &down)).unwrap();
        let server =
            Server::start(config::load(&path).unwrap(), Options { watch: false, ..Options::loopback() }).await.unwrap();
        Self { server, up, down, folder }
    }

    /// Returns the `berry-cli` command with the given arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_berry-cli"), self.folder.path());
        command.env("BIND_ADDRESS", self.server.addr().to_string()).args(arguments);
        command
    }

    /// Runs `berry-cli` with the given arguments.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> CommandOutput {
        run(self.command(arguments)).await
    }
}

/// Runs a program to its end while the simulated providers in this process keep serving.
pub(crate) async fn run(command: Command) -> CommandOutput {
    tokio::task::spawn_blocking(|| CommandOutput::run(command)).await.unwrap()
}

fn file(settings: &str, up: &Provider, down: &Provider) -> String {
    let (up_url, up_key, down_url, down_key) = (up.base_url(), up.key(), down.base_url(), down.key());
    format!(
        r#"
[settings]
health_check_interval_seconds = 3600
{settings}

[users.root]
token = "{TOKEN}"
tags = ["admin"]

[users.alice]
token = "token-of-alice-0123456789"

[providers.up]
base_url = "{up_url}"
api_key = "{up_key}"
models = ["sim", "sim-cut2", "sim-key", "sim-nomax"]

[providers.down]
base_url = "{down_url}"
api_key = "{down_key}"
models = ["sim"]

[providers.off]
base_url = "http://127.0.0.1:9/v1"
api_key = ""
models = ["sim"]
enabled = false

[models.chat]
name = "chat"
strategy = "failover"
[[models.chat.backends]]
provider = "up"
model = "sim"
[[models.chat.backends]]
provider = "down"
model = "sim"
priority = 1
tags = ["members"]
"#
    )
}
