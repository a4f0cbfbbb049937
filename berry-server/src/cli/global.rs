//! The options that every command takes, and the environment.

use std::{env, path::PathBuf};

use clap::Args;
use secrecy::SecretString;

/// The options of every command, before or after its name.
#[derive(Args, Clone, Debug)]
pub(super) struct Global {
    /// The configuration file [default: CONFIG_PATH, then ./config.toml and the examples].
    #[arg(short, long, global = true, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,

    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// The running server's address [default: from BIND_ADDRESS, else http://127.0.0.1:3000].
    #[arg(long, global = true, value_name = "URL")]
    pub(super) url: Option<String>,

    /// A token for the running server [default: that of the file's first enabled admin].
    #[arg(long, global = true, value_name = "TOKEN", env = "BERRY_TOKEN", hide_env_values = true)]
    pub(super) token: Option<SecretString>,
}

/// Returns a variable of the environment; an empty one counts as unset.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
