//! What Berry costs beside a proxy that does nothing: `cargo run --release -p berry-tests --bin load`.
//!
//! A simulated provider, `berry-server` in its standard form and a bare proxy of axum and reqwest
//! run in processes of their own, the proxies with one worker thread each. Both are driven by the
//! same load in turns, plain and streamed, over 1 to 256 connections, and the medians of the turns
//! are told, as a table in Markdown. What moves least from run to run is the processor time that a
//! proxy spends on a request, and its ratio to the bare proxy's. It runs on Linux, for about two
//! minutes, and wants a machine that does nothing else.

#![expect(clippy::print_stdout, reason = "a table for whoever measures")]

mod bare;
mod drive;
mod process;

use std::{error::Error, time::Duration};

use drive::{Figures, Load};
use process::Process;

/// How often both proxies take their turn, and how long one is.
const TURNS: usize = 3;
const TURN: Duration = Duration::from_millis(1_500);
/// The turn before, which is not counted.
const WARM_UP: Duration = Duration::from_millis(500);

/// The caller's key.
const TOKEN: &str = "a-token-of-mine-that-is-long-enough";
/// What a plain answer has, and how many events a streamed one: its words, and what is around them.
const MODELS: [(&str, &str); 2] = [("plain", "sim-t12"), ("stream", "sim-t50")];
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("provider"), _) => process::provider().await,
        (Some("bare"), Some(upstream)) => bare::serve(&upstream).await,
        // A turn of no length tells whether it runs at all.
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
