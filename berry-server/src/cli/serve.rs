//! The command line of `berry-server`.

use std::path::PathBuf;

use clap::Parser;

/// An AI gateway: OpenAI's API in front of many providers.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct ServeArgs {
    /// The configuration file.
    #[arg(long, value_name = "PATH", conflicts_with = "demo")]
    pub config: Option<PathBuf>,

    /// The address and port to listen on [env: BIND_ADDRESS] [default: 0.0.0.0:3000].
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<String>,

    /// Check the configuration and exit with 0, or with 1 and every error.
    #[arg(long, conflicts_with = "demo")]
    pub check_config: bool,

    /// Run a gateway over simulated providers; needs no file and no key.
    #[arg(long)]
    pub demo: bool,
}
