//! Compares the strategies over a simulated pool with failures; see `--help`.

use std::{
    io::Write,
    num::NonZero,
    thread::{available_parallelism, scope},
    time::Duration,
};

use berry_tests::sim::{Setup, Table, pools};
use berry_tower::backend::strategy::NAMES;
use clap::Parser;
use tokio::time::Instant;

/// Runs the gateway's strategies, breaker, health and retry policy over a simulated pool in virtual
/// time, and prints a table of the results.
#[derive(Debug, Parser)]
struct Cli {
    /// The name of a strategy, or `all`.
    #[arg(long, default_value = "all")]
    strategy: String,
    /// The number of runs per strategy, each with different failures.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The virtual hours of each run.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    hours: u64,
    /// The mean number of requests per second.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cli = Cli::parse();
    let names: Vec<&str> = NAMES.into_iter().filter(|name| cli.strategy == "all" || cli.strategy == *name).collect();
    if names.is_empty() {
        return Err(format!("--strategy: unknown strategy `{}`; use all, {}", cli.strategy, NAMES.join(", ")).into());
    }
    if !(cli.rate.is_finite() && cli.rate > 0.0) {
        return Err("--rate: must be a number greater than 0".into());
    }
    let started = Instant::now();
    let mut tables: Vec<Table> = vec![Table::default(); names.len()];
    let threads = available_parallelism().map_or(1, NonZero::get);
    let each = names.len().div_ceil(threads);
    scope(|scope| {
        for (names, tables) in names.chunks(each).zip(tables.chunks_mut(each)) {
            scope.spawn(|| names.iter().zip(tables).for_each(|(name, table)| fill(table, name, &cli)));
        }
    });
    let table = Table::join(tables);
    let hours = cli.hours * cli.seeds * names.len() as u64;
    let took = started.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "{table}\n{hours} virtual hours in {took:.1} s")?;
    Ok(())
}

/// Runs one strategy with every seed.
fn fill(table: &mut Table, strategy: &str, cli: &Cli) {
    let length = Duration::from_secs(cli.hours * 3_600);
    for seed in 0..cli.seeds {
        let mut setup = Setup::new(strategy, pools::market(length, seed), length).seed(seed);
        setup.rate = cli.rate;
        table.add(&setup, &setup.run());
    }
}
