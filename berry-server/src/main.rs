//! The server; see `--help`.

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

/// A request allocates about a hundred times; the system's allocator takes three times as long for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The default address of the demo: loopback only.
const DEMO_BIND: &str = "127.0.0.1:3000";

fn main() -> ExitCode {
    let cli = ServeArgs::parse();
    let result = if cli.check_config { check(&cli) } else { run(&cli) };
    result.unwrap_or_else(|failure| {
        complain(&failure.message);
        ExitCode::from(failure.code)
    })
}

/// Why the server does not run, with its exit code.
struct Fail {
    message: String,
    code: u8,
}

impl<T: ToString> From<T> for Fail {
    fn from(error: T) -> Self {
        Self { message: error.to_string(), code: 1 }
    }
}

/// Prints to standard error, which may be closed.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

fn load(cli: &ServeArgs) -> Result<Loaded, Fail> {
    let named = variable("CONFIG_PATH")?;
    let path = config::find(cli.config.as_deref(), |_| named.clone(), Path::new("."))
        .map_err(|error| Fail { message: error.to_string(), code: 2 })?;
    config::load(&path).map_err(|errors| Fail { message: errors.report(), code: 1 })
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
    let result = runtime.block_on(async {
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
    });
    // Does not wait for a blocking call that hangs, such as a read from a lost network share.
    runtime.shutdown_background();
    result
}

/// Ends the process at the second signal, whatever hangs: on a thread and a runtime of its own, so
/// that no task that blocks the server's threads delays it.
fn exit_at_second_signal() -> std::io::Result<()> {
    /// How long the server has to end by itself at the second signal.
    const GRACE: std::time::Duration = std::time::Duration::from_millis(500);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = move || {
        runtime.block_on(async {
            let Ok(mut signals) = Signals::new() else { return };
            signals.stop().await;
            signals.stop().await;
            tokio::time::sleep(GRACE).await;
            std::process::exit(0);
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

async fn demo(cli: &ServeArgs) -> Result<ExitCode, Fail> {
    exit_at_second_signal()?;
    // Logs would bury the demo's text; they are on only if `RUST_LOG` asks for them.
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
            // The port is in use; any other one will do.
            options.bind = Options::loopback().bind;
        }
    }
    raise_file_limit(&mut options);
    let server = Server::start(demo.loaded.clone(), options).await?;
    let _ = write!(std::io::stdout(), "{}", demo.guide(server.addr()));
    until_stopped(server, signals).await
}

async fn serve(loaded: Loaded, mut options: Options) -> Result<ExitCode, Fail> {
    let signals = Signals::new()?.with_reload()?;
    exit_at_second_signal()?;
    raise_file_limit(&mut options);
    let source = loaded.source.clone();
    let server = Server::start(loaded, options).await?;
    let config = source.as_ref().map(|path| path.display().to_string());
    tracing::info!(address = %server.addr(), config, version = env!("CARGO_PKG_VERSION"), "Starting Berry API");
    until_stopped(server, signals).await
}

/// Serves until a signal, then drains; a second signal ends the process at once. `SIGHUP` reloads.
async fn until_stopped(server: Server, mut signals: Signals) -> Result<ExitCode, Fail> {
    while signals.asks_for_reload().await {
        tokio::select! {
            // The reload has logged its errors.
            _ = server.reload_file("SIGHUP") => {}
            () = signals.stop() => break,
        }
    }
    tracing::info!("draining: requests in flight may finish");
    tokio::select! {
        () = server.shutdown() => {}
        () = signals.stop() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The signals that stop or reload the server, registered before it starts so that none is missed.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Absent in the demo, which has nothing to reload and ends with its terminal.
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

    /// Waits for the next signal; returns whether it asks for a reload rather than for the end.
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

/// Returns a variable of the environment; an empty one counts as unset.
fn variable(name: &str) -> Result<Option<String>, Fail> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8").into()),
    }
}

/// Raises the limit of open files, and lowers that of connections if they do not fit into it. Without files, connections
/// to providers would fail.
fn raise_file_limit(options: &mut Options) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            let wanted = options.max_connections;
            if options.fit_to_file_limit(limit) {
                let used = options.max_connections;
                let message = "the limit of open files is low for MAX_CONNECTIONS; raise it (ulimit -n)";
                tracing::warn!(limit, wanted, used, "{message}");
            }
        }
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
