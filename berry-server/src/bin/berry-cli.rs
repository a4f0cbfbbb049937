//! The operator's tool; see `--help`.

use std::process::ExitCode;

use berry_server::cli::Cli;
use clap::Parser;

fn main() -> std::io::Result<ExitCode> {
    Cli::parse().run()
}
