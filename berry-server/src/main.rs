//! The gateway's server; see `--help`.

use std::{env, io::Write, path::Path, process::ExitCode};

use berry_server::{
    Options, Server,
    cli::Cli,
    config::{self, Loaded},
    demo::Demo,
    telemetry,
};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Where the demo listens unless it is told otherwise: nobody else need see it.
const DEMO_BIND: &str = "127.0.0.1:3000";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = if cli.check_config { check(&cli) } else { run(&cli) };
    result.unwrap_or_else(|failure| {
        complain(&failure.message);
        ExitCode::from(failure.code)
    })
}

/// Why the server does not run, and what it exits with.
struct Fail {
    message: String,
    code: u8,
}

impl<T: ToString> From<T> for Fail {
    fn from(error: T) -> Self {
        Self { message: error.to_string(), code: 1 }
    }
}

/// To standard error, which may be closed.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

fn load(cli: &Cli) -> Result<Loaded, Fail> {
    let variable = |name: &str| env::var(name).ok();
    let path = config::find(cli.config.as_deref(), variable, Path::new("."))
        .map_err(|error| Fail { message: error.to_string(), code: 2 })?;
    Ok(config::load(&path)?)
}

fn check(cli: &Cli) -> Result<ExitCode, Fail> {
    let loaded = load(cli)?;
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    let config = &loaded.config;
    let (providers, models, users) = (config.providers.len(), config.models.len(), config.users.len());
    let mut out = std::io::stdout();
    let _ = writeln!(
        out,
        "✅ Configuration is valid\n  - {providers} providers configured\n  - {models} models configured\n  - {users} users configured"
    );
    Ok(ExitCode::SUCCESS)
}

fn run(cli: &Cli) -> Result<ExitCode, Fail> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if cli.demo {
            demo(cli).await
        } else {
            let loaded = load(cli)?;
            telemetry::init()?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            serve(loaded, options(cli)?).await
        }
    })
}

async fn demo(cli: &Cli) -> Result<ExitCode, Fail> {
    // The demo's own words are what there is to read, unless logs are asked for.
    if env::var_os("RUST_LOG").is_some() {
        telemetry::init()?;
    }
    let signals = signals()?;
    let demo = Demo::start().await?;
    let mut options = options(cli)?;
    let chosen = cli.bind.is_some() || env::var_os("BIND_ADDRESS").is_some();
    if !chosen {
        options.bind = DEMO_BIND.to_owned();
        if tokio::net::TcpListener::bind(DEMO_BIND).await.is_err() {
            // Somebody else is there; the demo need not be.
            options.bind = Options::loopback().bind;
        }
    }
    let server = Server::start(demo.loaded.clone(), options).await?;
    let _ = write!(std::io::stdout(), "{}", demo.guide(server.addr()));
    until_stopped(server, signals).await
}

async fn serve(loaded: Loaded, options: Options) -> Result<ExitCode, Fail> {
    let signals = signals()?;
    let source = loaded.source.clone();
    let server = Server::start(loaded, options).await?;
    let config = source.as_ref().map(|path| path.display().to_string());
    tracing::info!(address = %server.addr(), config, version = env!("CARGO_PKG_VERSION"), "Starting Berry API");
    until_stopped(server, signals).await
}

/// Serves until a signal, then drains; a second signal ends it at once.
async fn until_stopped(server: Server, mut signals: Signals) -> Result<ExitCode, Fail> {
    either(&mut signals).await;
    tracing::info!("draining: requests under way may finish, new ones go elsewhere");
    tokio::select! {
        () = server.shutdown() => {}
        () = either(&mut signals) => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(ExitCode::SUCCESS)
}

/// `SIGTERM` and `SIGINT`; made before the server starts, so that none is missed.
type Signals = (Signal, Signal);

fn signals() -> std::io::Result<Signals> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

async fn either((terminate, interrupt): &mut Signals) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn options(cli: &Cli) -> Result<Options, Fail> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let mut options = Options::default();
    if let Some(bind) = cli.bind.clone().or_else(|| variable("BIND_ADDRESS")) {
        options.bind = bind;
    }
    if let Some(most) = variable("MAX_CONNECTIONS") {
        let positive = most.parse().ok().filter(|most| *most > 0);
        options.max_connections =
            positive.ok_or_else(|| format!("MAX_CONNECTIONS is `{most}`; it must be a whole number of at least 1"))?;
    }
    Ok(options)
}
