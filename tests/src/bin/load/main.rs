//! Measures the overhead of Berry against a minimal proxy:
//! `cargo run --release -p berry-tests --bin load -- [--workers N] [--pin] [--log] [--quick]`.
//!
//! A simulated provider, `berry-server` with its default configuration, and a minimal proxy of axum
//! and reqwest run in separate processes. The same load drives both proxies in turns: plain and
//! streamed over 1 to 256 connections, large bodies, and streams whose events come 5 ms apart. The
//! program prints the medians of the turns as a Markdown table. The most stable figure is the CPU
//! time per request, and its ratio to that of the minimal proxy. A run takes about three minutes on
//! Linux and needs an otherwise idle machine. `tests/measure.sh` runs all combinations of the options.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

mod bare;
mod drive;
mod options;
mod process;

use std::{error::Error, time::Duration};

use drive::{Figures, Load, Payload};
use options::Options;
use process::Process;

/// The number of turns of each proxy, and the length of one.
const TURNS: usize = 3;
const TURN: Duration = Duration::from_millis(1_500);
/// A short turn, which only checks that the program works.
const QUICK_TURN: Duration = Duration::from_millis(20);
/// The length of the first turn, which is not measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// The caller's key.
const TOKEN: &str = "a-token-of-mine-that-is-long-enough";
/// The models and their names upstream: 12 words in a plain response, 50 in a stream, 50 of which each comes 5 ms after
/// the one before, and 256 KiB in one event.
const MODELS: [(&str, &str); 4] =
    [("plain", "sim-t12"), ("stream", "sim-t50"), ("slow", "sim-t50-d5"), ("large", "sim-t1-huge256")];

/// What is measured: a name, the model, the payload, whether it streams, and the numbers of connections.
const LOADS: [(&str, &str, Payload, bool, &[usize]); 5] = [
    ("plain", "sim-t12", Payload::Small, false, &[1, 16, 64, 256]),
    ("256 KiB request", "sim-t12", Payload::Large, false, &[16]),
    ("256 KiB response", "sim-t1-huge256", Payload::Small, false, &[16]),
    ("stream", "sim-t50", Payload::Small, true, &[1, 16, 64, 256]),
    ("stream, 5 ms apart", "sim-t50-d5", Payload::Small, true, &[64]),
];

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["provider"] => process::provider().await,
        ["bare", upstream] => bare::serve(upstream).await,
        _ => compare(Options::parse(&arguments)?).await,
    }
}

async fn compare(options: Options) -> Result<(), Failed> {
    let (turns, turn) = if options.quick { (1, QUICK_TURN) } else { (TURNS, TURN) };
    let program = process::berry_server()?;
    let provider = Process::provider(&options)?;
    let bare = Process::bare(&options, &provider.address)?;
    let berry = Process::berry(&options, &program, &provider.address)?;
    let idle = (bare.memory(), berry.memory());
    println!("{options}\n");
    println!(
        "| load | connections | bare: requests/s | p50 / p99 | CPU | Berry: requests/s | p50 / p99 | CPU | CPU ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, model, payload, stream, connections) in LOADS {
        for &connections in connections {
            let load = Load { model, payload, connections, stream };
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
