//! Measures the overhead of Berry against a minimal proxy:
//! `cargo run --release -p berry-tests --bin load`.
//!
//! A simulated provider, `berry-server` with its default configuration, and a minimal proxy of axum
//! and reqwest run in separate processes, the proxies with one worker thread each. The same load
//! drives both in turns, plain and streamed, over 1 to 256 connections. The program prints the
//! medians of the turns as a Markdown table. The most stable figure is the CPU time per request,
//! and its ratio to that of the minimal proxy. A run takes about two minutes on Linux and needs an
//! otherwise idle machine.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

mod bare;
mod drive;
mod process;

use std::{error::Error, time::Duration};

use drive::{Figures, Load};
use process::Process;

/// The number of turns of each proxy, and the length of one.
const TURNS: usize = 3;
const TURN: Duration = Duration::from_millis(1_500);
/// The length of the first turn, which is not measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// The caller's key.
const TOKEN: &str = "a-token-of-mine-that-is-long-enough";
/// The upstream models: 12 words in a plain response, 50 in a stream.
const MODELS: [(&str, &str); 2] = [("plain", "sim-t12"), ("stream", "sim-t50")];
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("provider"), _) => process::provider().await,
        (Some("bare"), Some(upstream)) => bare::serve(&upstream).await,
        // A short turn, which only checks that the program works.
        (Some("--quick"), _) => compare(1, Duration::from_millis(20)).await,
        _ => compare(TURNS, TURN).await,
    }
}

async fn compare(turns: usize, turn: Duration) -> Result<(), Failed> {
    let program = process::berry_server()?;
    let provider = Process::this("provider", None)?;
    let bare = Process::this("bare", Some(&provider.address))?;
    let berry = Process::berry(&program, &provider.address)?;
    let idle = (bare.memory(), berry.memory());
    println!(
        "| load | connections | bare: requests/s | p50 / p99 | CPU | Berry: requests/s | p50 / p99 | CPU | CPU ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, model) in MODELS {
        for connections in CONNECTIONS {
            let load = Load { model, connections, stream: name == "stream" };
            let mut figures = [Vec::new(), Vec::new()];
            for turn_no in 0..=turns {
                for (proxy, figures) in [&bare, &berry].into_iter().zip(&mut figures) {
                    let measured = load.run(proxy, if turn_no == 0 { WARM_UP.min(turn) } else { turn }).await?;
                    figures.extend((turn_no > 0).then_some(measured));
                }
            }
            let [bare, berry] = figures.map(|turns| Figures::median(&turns));
            let ratio = berry.cpu / bare.cpu;
            println!("| {name} | {connections} | {bare} | {berry} | {ratio:.2} |");
        }
    }
    let megabytes = |bytes: u64| bytes / 1_000_000;
    println!(
        "\nMemory, idle and after the load: the bare proxy {} MB and {} MB, Berry {} MB and {} MB.",
        megabytes(idle.0),
        megabytes(bare.memory()),
        megabytes(idle.1),
        megabytes(berry.memory())
    );
    Ok(())
}
