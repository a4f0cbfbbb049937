//! The operator's tool; see `--help`.

use std::process::ExitCode;

use berry_server::cli::Tool;
use clap::Parser;

fn main() -> std::io::Result<ExitCode> {
    Tool::parse().run()
}
