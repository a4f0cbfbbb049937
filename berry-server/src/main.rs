//! The gateway's server; see `--help`.

use std::{env, io::Write, path::Path, process::ExitCode};

use berry_server::{
    Options, Server,
    cli::serve::ServeArgs,
    config::{self, Loaded},
    demo::Demo,
    observability::log,
};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A request allocates about a hundred times, and the system's own allocator takes three times as long for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the demo listens unless it is told otherwise: nobody else need see it.
const DEMO_BIND: &str = "127.0.0.1:3000";

fn main() -> ExitCode {
    let cli = ServeArgs::parse();
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

fn load(cli: &ServeArgs) -> Result<Loaded, Fail> {
    let named = variable("CONFIG_PATH")?;
    let path = config::find(cli.config.as_deref(), |_| named.clone(), Path::new("."))
        .map_err(|error| Fail { message: error.to_string(), code: 2 })?;
    Ok(config::load(&path)?)
}

fn check(cli: &ServeArgs) -> Result<ExitCode, Fail> {
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

fn run(cli: &ServeArgs) -> Result<ExitCode, Fail> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if cli.demo {
            demo(cli).await
        } else {
            let loaded = load(cli)?;
            let _lines = log::init()?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            serve(loaded, options(cli)?).await
        }
    })
}

async fn demo(cli: &ServeArgs) -> Result<ExitCode, Fail> {
    // The demo's own words are what there is to read, unless logs are asked for.
    let _lines = match variable("RUST_LOG")? {
        Some(_) => Some(log::init()?),
        None => None,
    };
    let signals = Signals::new()?;
    let demo = Demo::start().await?;
    let mut options = options(cli)?;
    if cli.bind.is_none() && variable("BIND_ADDRESS")?.is_none() {
        options.bind = DEMO_BIND.to_owned();
        if tokio::net::TcpListener::bind(DEMO_BIND).await.is_err() {
            // Somebody else is there; the demo need not be.
            options.bind = Options::loopback().bind;
        }
    }
    raise_file_limit(options.max_connections);
    let server = Server::start(demo.loaded.clone(), options).await?;
    let _ = write!(std::io::stdout(), "{}", demo.guide(server.addr()));
    until_stopped(server, signals).await
}

async fn serve(loaded: Loaded, options: Options) -> Result<ExitCode, Fail> {
    let signals = Signals::new()?.with_reload()?;
    raise_file_limit(options.max_connections);
    let source = loaded.source.clone();
    let server = Server::start(loaded, options).await?;
    let config = source.as_ref().map(|path| path.display().to_string());
    tracing::info!(address = %server.addr(), config, version = env!("CARGO_PKG_VERSION"), "Starting Berry API");
    until_stopped(server, signals).await
}

/// Serves until a signal, then drains; a second signal ends it at once. `SIGHUP` reloads.
async fn until_stopped(server: Server, mut signals: Signals) -> Result<ExitCode, Fail> {
    while signals.asks_for_reload().await {
        tokio::select! {
            // What is wrong with the file has been logged.
            _ = server.reload_file("SIGHUP") => {}
            () = signals.stop() => break,
        }
    }
    tracing::info!("draining: requests under way may finish, new ones go elsewhere");
    tokio::select! {
        () = server.shutdown() => {}
        () = signals.stop() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What ends or reloads the server; made before it starts, so that none is missed.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A demo has nothing to reload, and ends with its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: None })
    }

    fn with_reload(self) -> std::io::Result<Self> {
        Ok(Self { hangup: Some(signal(SignalKind::hangup())?), ..self })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the next one: whether the server is to reload, rather than to end.
    async fn asks_for_reload(&mut self) -> bool {
        let hangup = async |hangup: &mut Option<Signal>| match hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
            _ = hangup(&mut self.hangup) => true,
        }
    }
}

/// A variable of the environment; an empty one is not set.
fn variable(name: &str) -> Result<Option<String>, Fail> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is no UTF-8 text").into()),
    }
}

/// Files for as many connections as may be open, and as many again to the upstreams. Without them
/// connections to upstreams would fail, and healthy backends be blamed.
fn raise_file_limit(max_connections: usize) {
    let wanted = 2 * u64::try_from(max_connections).unwrap_or(u64::MAX / 2);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < wanted => {
            tracing::warn!(limit, wanted, "the limit of open files is low for MAX_CONNECTIONS; raise it (ulimit -n)");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}

fn options(cli: &ServeArgs) -> Result<Options, Fail> {
    let mut options = Options::default();
    if let Some(bind) = cli.bind.clone().or(variable("BIND_ADDRESS")?) {
        options.bind = bind;
    }
    if let Some(most) = variable("MAX_CONNECTIONS")? {
        let positive = most.parse().ok().filter(|most| *most > 0);
        options.max_connections =
            positive.ok_or_else(|| format!("MAX_CONNECTIONS is `{most}`; it must be a whole number of at least 1"))?;
    }
    Ok(options)
}
