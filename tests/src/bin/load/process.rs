//! Starts the measured processes and reads their CPU time and memory.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use berry_simulated::{Config, Provider};

use crate::{Failed, MODELS, TOKEN, options::Options};

/// The API key of the provider.
const KEY: &str = "sk-upstream";
pub(crate) const BEARER: &str = "Bearer sk-upstream";

/// A process that serves at an address. Dropping it stops the process.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: String,
    /// The configuration and the log, if the process has them.
    files: Vec<PathBuf>,
}

impl Process {
    /// Starts this program as the provider.
    pub(crate) fn provider(options: &Options) -> Result<Self, Failed> {
        let cores = options.cores().map(|(_, others)| others);
        if let Some(cores) = &cores {
            // The load itself runs in this process.
            let pid = std::process::id().to_string();
            let pinned = Command::new("taskset").args(["-acp", cores, &pid]).stdout(Stdio::null()).status();
            pinned.map_err(|error| format!("--pin needs `taskset` (util-linux): {error}"))?;
        }
        let mut command = on_cores(cores, env::current_exe()?);
        command.arg("provider").env("TOKIO_WORKER_THREADS", "1");
        Self::start(command, |line| Some(line.to_owned()))
    }

    /// Starts this program as the bare proxy.
    pub(crate) fn bare(options: &Options, upstream: &str) -> Result<Self, Failed> {
        let mut command = on_cores(options.cores().map(|(proxies, _)| proxies), env::current_exe()?);
        command.args(["bare", upstream]).env("TOKIO_WORKER_THREADS", options.workers.to_string());
        Self::start(command, |line| Some(line.to_owned()))
    }

    /// Starts the gateway with every layer of the request path enabled.
    pub(crate) fn berry(options: &Options, program: &Path, provider: &str) -> Result<Self, Failed> {
        let file = |kind: &str| env::temp_dir().join(format!("berry-load-{}.{kind}", std::process::id()));
        let (config, log) = (file("toml"), file("log"));
        fs::write(&config, configuration(provider))?;
        let mut command = on_cores(options.cores().map(|(proxies, _)| proxies), program);
        command.arg("--config").arg(&config).args(["--bind", "127.0.0.1:0"]);
        command.env("TOKIO_WORKER_THREADS", options.workers.to_string()).env("BERRY_LOG_FORMAT", "json");
        let filter = if options.log { "info" } else { "warn,berry_server=info,berry_server::access=warn" };
        command.env("RUST_LOG", filter).stdin(Stdio::piped()).stdout(fs::File::create(&log)?);
        let child = command.spawn()?;
        let mut berry = Self { child, address: String::new(), files: vec![config, log.clone()] };
        let address = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(line["fields"]["address"].as_str()?.to_owned())
        };
        for _ in 0..500 {
            if let Some(address) = fs::read_to_string(&log)?.lines().find_map(address) {
                berry.address = address;
                return Ok(berry);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err("the gateway did not start".into())
    }

    /// Starts a process and waits for the line that holds its address.
    fn start(mut command: Command, address: impl Fn(&str) -> Option<String>) -> Result<Self, Failed> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("no output")?);
        let found = out.lines().map_while(Result::ok).find_map(|line| address(&line));
        Ok(Self { child, address: found.ok_or("the process ended before it listened")?, files: Vec::new() })
    }

    /// Returns the CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failed> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += stat.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Returns the resident memory in bytes, or 0 where the system does not report it.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        resident.and_then(|kibibytes| kibibytes.parse::<u64>().ok()).unwrap_or_default() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

/// Returns the command for a program, on these cores alone if any are given.
fn on_cores(cores: Option<String>, program: impl AsRef<OsStr>) -> Command {
    let Some(cores) = cores else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.args(["-c", &cores]).arg(program);
    command
}

fn configuration(provider: &str) -> String {
    let names = MODELS.map(|(_, model)| format!("\"{model}\"")).join(", ");
    let mut text = format!(
        "[settings]\nhealth_check_interval_seconds = 3600\n\
         [users.me]\ntoken = \"{TOKEN}\"\nallowed_models = [{names}]\n\
         rate_limit = {{ requests_per_minute = 100000000, requests_per_hour = 1000000000 }}\n"
    );
    for id in ["a", "b"] {
        text += &format!(
            "[providers.{id}]\nbase_url = \"http://{provider}/v1\"\napi_key = \"{KEY}\"\nmodels = [{names}]\n"
        );
    }
    for (id, model) in MODELS {
        text += &format!("[models.{id}]\nname = \"{model}\"\nstrategy = \"weighted_failover\"\n");
        for provider in ["a", "b"] {
            text += &format!("[[models.{id}.backends]]\nprovider = \"{provider}\"\nmodel = \"{model}\"\n");
        }
    }
    text
}

/// Builds the `berry-server` binary and returns its path.
pub(crate) fn berry_server() -> Result<PathBuf, Failed> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "-p", "berry-server", "--bin", "berry-server"]);
    // Both binaries must be built with the same profile to be in the same folder.
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.status()?;
    let program = env::current_exe()?.with_file_name("berry-server");
    if built.success() && program.exists() {
        Ok(program)
    } else {
        Err("berry-server is not in the folder of this program".into())
    }
}

/// Runs the role of the provider, which answers without delay.
pub(crate) async fn provider() -> Result<(), Failed> {
    let models = MODELS.map(|(_, model)| model.to_owned()).to_vec();
    let provider = Provider::start(Config { key: KEY.into(), models, ..Config::named("load") }).await?;
    print_address(provider.addr())?;
    parent_exit().await;
    Ok(())
}

/// Prints the address for the parent process.
pub(crate) fn print_address(address: SocketAddr) -> io::Result<()> {
    writeln!(io::stdout(), "{address}")
}

/// Waits until the parent process has ended.
pub(crate) async fn parent_exit() {
    let _ = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await;
}
