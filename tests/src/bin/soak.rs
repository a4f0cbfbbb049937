//! Soaks a gateway: `cargo run --release -p berry-tests --bin soak -- [SECONDS] [REQUESTS]`.
//!
//! Simulated providers with faults in a tenth to a fifth of their answers, and `berry-server` in a process of its own with
//! its access log on. Connections send plain requests and streams, of which a third is abandoned, until the time is over
//! or the number of requests is reached, whichever is first (defaults: 600 s and 10 million). After each round the
//! program prints the resident memory and the gauges. It fails if the memory of the last round is half as large again as
//! that of the second one, or if a gauge does not return to zero.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

use std::{
    env,
    error::Error,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use berry_simulated::{Config, Provider, Retention};
use berry_tests::{Ask, Connection};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// The connections that send at the same time.
const CONNECTIONS: u64 = 32;
/// The length of a round.
const ROUND: Duration = Duration::from_secs(15);
/// Each request in so many is a stream, and each stream in so many is abandoned.
const STREAM: u64 = 10;
const ABANDONED: u64 = 3;
/// The growth of memory that is allowed, in percent.
const MAX_GROWTH: u64 = 50;
/// The models of the providers, with their faults.
const MODELS: [&str; 4] = ["sim-t12", "sim-t50-cut10-p20", "sim-t12-e500-p20", "sim-t12-e429-p10"];
const TOKEN: &str = "a-token-of-the-soak-0123456789";
const KEY: &str = "sk-upstream";
/// The gauges that return to zero; the request that reads them counts in the first one.
const GAUGES: [(&str, f64); 3] =
    [("http_requests_in_flight", 1.0), ("backend_in_flight", 0.0), ("berry_requests_queued", 0.0)];

type Failed = Box<dyn Error + Send + Sync>;

/// What was sent so far.
#[derive(Debug, Default)]
struct Sent {
    requests: AtomicU64,
    streams: AtomicU64,
    abandoned: AtomicU64,
    failed: AtomicU64,
}

/// The gateway's process, which ends with this value.
struct Gateway {
    child: Child,
    addr: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (seconds, requests) = (number(600)?, number(10_000_000)?);
    let models = MODELS.map(str::to_owned).to_vec();
    let config =
        |name: &str| Config { key: KEY.into(), models: models.clone(), keep: Retention::Counts, ..Config::named(name) };
    let providers = [Provider::start(config("a")).await?, Provider::start(config("b")).await?];
    let folder = tempfile::tempdir()?;
    let gateway = start(folder.path(), &providers).await?;
    println!("| seconds | requests | streams | abandoned | errors | resident MB |\n|---|---|---|---|---|---|");
    let (sent, began) = (Arc::new(Sent::default()), Instant::now());
    let mut resident = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds) && sent.requests.load(Relaxed) < requests {
        let until = Instant::now() + ROUND.min(Duration::from_secs(seconds).saturating_sub(began.elapsed()));
        let mut connections = JoinSet::new();
        for number in 0..CONNECTIONS {
            connections.spawn(send_until(gateway.addr, sent.clone(), number, until));
        }
        while connections.join_next().await.transpose()?.transpose()?.is_some() {}
        gauges_return_to_zero(&gateway).await?;
        resident.push(memory(&gateway)?);
        let of = |count: &AtomicU64| count.load(Relaxed);
        println!(
            "| {} | {} | {} | {} | {} | {:.1} |",
            began.elapsed().as_secs(),
            of(&sent.requests),
            of(&sent.streams),
            of(&sent.abandoned),
            of(&sent.failed),
            resident.last().copied().unwrap_or_default() as f64 / 1e3
        );
    }
    let (early, late) = (resident.get(1).or(resident.first()), resident.last());
    match (early, late) {
        (Some(early), Some(late)) if *late > early + early * MAX_GROWTH / 100 => {
            Err(format!("memory has grown from {early} kB to {late} kB").into())
        }
        _ => Ok(()),
    }
}

/// Starts the gateway that was built beside this program.
async fn start(folder: &Path, providers: &[Provider]) -> Result<Gateway, Failed> {
    let mut text = format!(
        "[settings]\nhealth_check_interval_seconds = 3600\ncircuit_breaker_timeout_seconds = 1\n\
         recovery_check_interval_seconds = 1\n[users.me]\ntoken = \"{TOKEN}\"\ntags = [\"admin\"]\n"
    );
    for (id, provider) in ["a", "b"].into_iter().zip(providers) {
        let url = provider.base_url();
        text += &format!("[providers.{id}]\nbase_url = \"{url}\"\napi_key = \"{KEY}\"\nmodels = {MODELS:?}\n");
    }
    for (number, model) in MODELS.into_iter().enumerate() {
        text += &format!("[models.m{number}]\nname = \"m{number}\"\nstrategy = \"weighted_failover\"\n");
        for provider in ["a", "b"] {
            text += &format!(
                "[[models.m{number}.backends]]\nprovider = \"{provider}\"\nmodel = \"{model}\"\nprobe = \"none\"\n"
            );
        }
    }
    let (config, log) = (folder.join("soak.toml"), folder.join("soak.log"));
    fs::write(&config, text)?;
    let mut command = Command::new(env::current_exe()?.with_file_name("berry-server"));
    command.arg("--config").arg(&config).args(["--bind", "127.0.0.1:0"]).stdout(fs::File::create(&log)?);
    // The failures of the providers would be most of the log.
    let filter = "error,berry_server=info";
    let child = command.env("RUST_LOG", filter).env("BERRY_LOG_FORMAT", "json").stdin(Stdio::null()).spawn()?;
    let mut gateway = Gateway { child, addr: SocketAddr::from(([127, 0, 0, 1], 0)) };
    let address = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["fields"]["address"].as_str()?.parse().ok()
    };
    for _ in 0..500 {
        if let Some(addr) = fs::read_to_string(&log)?.lines().find_map(address) {
            gateway.addr = addr;
            return Ok(gateway);
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err("berry-server did not start; it must be built beside this program".into())
}

/// Sends requests over one connection after the other. A stream that is abandoned ends its connection.
async fn send_until(addr: SocketAddr, sent: Arc<Sent>, start: u64, until: Instant) -> Result<(), Failed> {
    let mut connection = Connection::open(addr).await?;
    let mut number = start;
    while Instant::now() < until {
        number += 1;
        let is_stream = number.is_multiple_of(STREAM);
        // Streams meet every model too.
        let model = format!("m{}", (number + number / STREAM) % MODELS.len() as u64);
        let ask = Ask::chat(&model, is_stream).token(TOKEN);
        sent.requests.fetch_add(1, Relaxed);
        sent.streams.fetch_add(is_stream.into(), Relaxed);
        if is_stream && (number / STREAM).is_multiple_of(ABANDONED) {
            sent.abandoned.fetch_add(1, Relaxed);
            if connection.send(&ask.bytes()).await.is_ok()
                && let Ok(mut reply) = connection.head().await
            {
                let _ = connection.more(&mut reply).await;
            }
            connection = Connection::open(addr).await?;
            continue;
        }
        let reply = connection.ask(&ask).await;
        let is_whole = reply.as_ref().is_ok_and(|reply| reply.whole);
        sent.failed.fetch_add((!is_whole || reply.is_ok_and(|reply| !reply.status.is_success())).into(), Relaxed);
        if !is_whole {
            connection = Connection::open(addr).await?;
        }
    }
    Ok(())
}

async fn gauges_return_to_zero(gateway: &Gateway) -> Result<(), Failed> {
    let mut found = String::new();
    for _ in 0..100 {
        let mut connection = Connection::open(gateway.addr).await?;
        let reply = connection.ask(&Ask::get("/prometheus").token(TOKEN)).await?;
        let sum = |name: &str| -> f64 {
            let lines = reply.text().lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        if GAUGES.iter().all(|(name, rest)| sum(name) <= *rest) {
            return Ok(());
        }
        found = GAUGES.map(|(name, _)| format!("{name} {}", sum(name))).join(", ");
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("a gauge does not return to zero: {found}").into())
}

/// Returns the resident memory of the gateway in kB.
fn memory(gateway: &Gateway) -> Result<u64, Failed> {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.child.id()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    Ok(resident.ok_or("no resident memory")?.parse()?)
}
