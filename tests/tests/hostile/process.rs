//! The gateway as a process, so that its memory and its files are its own.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use berry_tests::{Ask, Connection, Reply};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

pub(crate) const ADMIN: &str = "token-of-admin-0123456789abcdef";
pub(crate) const ALICE: &str = "token-of-alice-0123456789abcdef";
pub(crate) const BOB: &str = "token-of-bob-0123456789abcdef";

/// The time within which a test expects any single response.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A provider in a configuration: its id, address, and further lines.
pub(crate) type Provider<'a> = (&'a str, String, &'a str);

/// A configuration with the users admin, alice and bob, and the model `m` over all providers.
pub(crate) fn configuration(settings: &str, model: &str, providers: &[Provider<'_>]) -> String {
    let mut text = format!("[settings]\n{settings}\n");
    for (user, token, tags) in [("admin", ADMIN, "tags = [\"admin\"]"), ("alice", ALICE, ""), ("bob", BOB, "")] {
        let _ = writeln!(text, "[users.{user}]\ntoken = \"{token}\"\n{tags}");
    }
    let mut backends = String::new();
    for (id, address, lines) in providers {
        let _ = writeln!(
            text,
            "[providers.{id}]\nbase_url = \"{address}\"\napi_key = \"sk-of-{id}\"\nmodels = [\"m\"]\n{lines}"
        );
        let _ = writeln!(backends, "[[models.m.backends]]\nprovider = \"{id}\"\nmodel = \"m\"\nprobe = \"none\"");
    }
    format!("{text}[models.m]\nname = \"m\"\n{model}\n{backends}")
}

/// A running gateway, killed when it is dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: TempDir,
    log: Arc<OnceLock<Vec<String>>>,
}

/// How a gateway is started.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// The limit of open files.
    pub(crate) files: Option<u32>,
    /// Whether each request has a line in the log.
    pub(crate) access_log: bool,
    /// A file with certificates to trust.
    pub(crate) trusted: Option<&'a std::path::Path>,
}

impl Gateway {
    pub(crate) async fn start(configuration: &str) -> Self {
        Self::start_as(configuration, Start::default()).await
    }

    pub(crate) async fn start_as(configuration: &str, start: Start<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), configuration).unwrap();
        let mut command = Command::new("sh");
        let limit = start.files.map_or_else(String::new, |files| format!("ulimit -n {files} && "));
        command.arg("-c").arg(format!("{limit}exec \"$@\"")).arg("sh").arg(program());
        command.args(["--config", "config.toml", "--bind", "127.0.0.1:0"]).current_dir(folder.path());
        let level = if start.access_log { "info" } else { "warn" };
        command.env("RUST_LOG", format!("warn,berry_server=info,berry_server::access={level}"));
        command.env("BERRY_LOG_FORMAT", "json");
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        if let Some(trusted) = start.trusted {
            command.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR");
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, address) = mpsc::channel();
        let (out, log) = (child.stdout.take().unwrap(), Arc::new(OnceLock::new()));
        let lines = log.clone();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = value["fields"]["address"].as_str() {
                    let _ = sender.send(address.parse().unwrap());
                }
                // A flood of lines must not become this process's memory.
                if kept.len() < 10_000 {
                    kept.push(line);
                }
            }
            let _ = lines.set(kept);
        });
        let address = tokio::task::spawn_blocking(move || address.recv_timeout(PATIENCE)).await.unwrap();
        Self { child, address: address.expect("the gateway starts"), folder, log }
    }

    pub(crate) async fn connect(&self) -> Connection {
        timeout(PATIENCE, Connection::open(self.address)).await.unwrap().unwrap()
    }

    pub(crate) async fn ask(&self, ask: &Ask) -> Reply {
        self.try_ask(ask).await.expect("a response")
    }

    /// Asks on a connection of its own; returns `None` if the connection ends without a response.
    pub(crate) async fn try_ask(&self, ask: &Ask) -> Option<Reply> {
        let mut connection = timeout(PATIENCE, Connection::open(self.address)).await.ok()?.ok()?;
        timeout(PATIENCE, connection.ask(ask)).await.ok()?.ok()
    }

    /// A plain chat of `token`'s user with the model `m`.
    pub(crate) async fn chat(&self, token: &str) -> Option<Reply> {
        self.try_ask(&Ask::chat("m", false).token(token)).await
    }

    /// The health of a backend of the model `m`, as the admin sees it.
    pub(crate) async fn backend(&self, provider: &str) -> serde_json::Value {
        let reply = self.ask(&Ask::get("/admin/backend-health").token(ADMIN)).await.json();
        let models = reply["backend_health"].as_object().unwrap();
        let mut backends = models.values().flat_map(|model| model["backends"].as_array().unwrap());
        backends.find(|backend| backend["provider"] == provider).unwrap().clone()
    }

    /// The sum of the samples of a metric.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.ask(&Ask::get("/prometheus").token(ADMIN)).await.text().to_owned();
        let of_metric = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        text.lines().filter(of_metric).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// The id of the process; `sh` has replaced itself by the gateway.
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    /// The memory in use, in MiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS")
    }

    /// The most memory that was ever in use, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM")
    }

    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Waits until the process has ended; returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let wait = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the gateway ends")
    }

    /// Ends the process and returns the lines that it logged.
    pub(crate) async fn stop(mut self) -> Vec<String> {
        // A signal lets it write the lines that are queued.
        self.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        while Instant::now() < deadline {
            if let Some(lines) = self.log.get() {
                return lines.clone();
            }
            sleep(Duration::from_millis(20)).await;
        }
        Vec::new()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gateway's program, which `cargo test --workspace` builds.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(std::path::Path::parent).unwrap().join("berry-server");
    assert!(program.exists(), "{} is missing; run `cargo build -p berry-server`", program.display());
    program
}

/// Opens a connection that sends nothing.
pub(crate) async fn idle(address: SocketAddr) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(address)).await.unwrap().unwrap()
}

/// The slowest of several health checks that go on until `until` is done.
pub(crate) async fn slowest_health_check<T>(gateway: &Gateway, until: impl Future<Output = T>) -> (Duration, T) {
    let mut slowest = Duration::ZERO;
    let mut until = std::pin::pin!(until);
    let mut connection = gateway.connect().await;
    let ask = Ask::new(http::Method::GET, "/livez");
    loop {
        let check = async {
            let start = Instant::now();
            let status = connection.ask(&ask).await.unwrap().status;
            assert_eq!(status, 200);
            let took = start.elapsed();
            sleep(Duration::from_millis(5)).await;
            took
        };
        tokio::select! {
            biased;
            took = check => slowest = slowest.max(took),
            done = &mut until => return (slowest, done),
        }
    }
}
