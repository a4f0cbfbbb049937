//! The `berry-server` binary: demo mode, exit codes and signals.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use berry_simulated::{Config, Fault, Provider};

const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the command that runs the server in a folder, without the environment of this process.
fn berry(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berry-server"));
    for name in ["CONFIG_PATH", "BIND_ADDRESS", "MAX_CONNECTIONS", "RUST_LOG", "BERRY_LOG_FORMAT"] {
        command.env_remove(name);
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running server. Dropping it kills the process.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Returns the next line that contains the text.
    fn line(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("no line with {text}: {e}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Waits for the process to end and returns its exit code.
    fn exit_code(mut self) -> Option<i32> {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap().code()
    }
}

/// Sends each line of the output to a channel, which closes when the process ends.
fn lines(out: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// Runs a command to its end. Returns the exit code and the output.
fn output(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn shell(line: &str) -> String {
    let line = line.replacen("curl ", "curl --silent --show-error --max-time 30 --noproxy '*' ", 1);
    let mut child = Command::new("sh").args(["-c", &line]).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{line}: {text}");
    text
}

#[test]
fn demo_prints_a_working_command_and_exits_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = berry(folder.path());
    command.args(["--demo", "--bind", "127.0.0.1:0"]);
    let demo = Running::start(command);
    let address = demo.line("address ").split_whitespace().last().unwrap().to_owned();
    let token = demo.line("token ").split_whitespace().last().unwrap().to_owned();
    let curl = demo.line("curl ");
    assert!(curl.contains(&format!("Authorization: Bearer {token}")) && curl.contains(&address), "{curl}");

    let response = shell(&curl);
    let events: Vec<&str> = response.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"), "{response}");
    assert!(events.len() > 10, "{response}");
    // Every listed model responds, plain and streamed.
    let list = shell(&format!("curl {address}/models -H 'Authorization: Bearer {token}'"));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let models = list["data"].as_array().unwrap();
    assert!(models.len() >= 4, "{list}");
    let ask = |model: &serde_json::Value, stream: bool, more: &str| {
        let body = serde_json::json!({
            "model": model, "stream": stream, "max_tokens": 9, "messages": [{ "role": "user", "content": "Hello!" }],
        });
        shell(&format!(
            "curl {address}/chat/completions {more} -H 'Authorization: Bearer {token}' \
             -H 'Content-Type: application/json' -d '{body}'"
        ))
    };
    for model in models {
        let response: serde_json::Value = serde_json::from_str(&ask(&model["id"], false, "")).unwrap();
        assert!(response["choices"][0]["message"]["content"].is_string(), "{response}");
        let stream = ask(&model["id"], true, "");
        assert!(stream.contains("\"finish_reason\":\"length\"") && stream.ends_with("data: [DONE]\n\n"), "{stream}");
    }
    // Each provider gets requests, including the one that speaks Claude's format.
    let served: BTreeSet<String> =
        (0..4).map(|_| ask(&"demo-fair".into(), false, "-o /dev/null -w '%header{x-berry-backend}'")).collect();
    assert!(served.contains("foreign:sim-small"), "{served:?}");
    demo.signal("TERM");
    assert_eq!(demo.exit_code(), Some(0));
}

/// Returns the configuration of the original README with another base URL and key.
fn minimal(base_url: &str, key: &str) -> String {
    format!(
        r#"
# 全局设置
[settings]
health_check_interval_seconds = 30
request_timeout_seconds = 30
max_retries = 3
max_internal_retries = 2

# 用户认证
[users.admin]
name = "Administrator"
token = "berry-admin-token-12345"
allowed_models = []  # 空数组表示允许访问所有模型
enabled = true

# AI服务提供商
[providers.openai]
name = "OpenAI"
base_url = "{base_url}"
api_key = "{key}"
models = ["gpt-4", "gpt-3.5-turbo"]
enabled = true

# 模型映射
[models.gpt_4]
name = "gpt-4"
strategy = "weighted_failover"  # 推荐策略
enabled = true

[[models.gpt_4.backends]]
provider = "openai"
model = "gpt-4"
weight = 1.0
priority = 1
enabled = true
"#
    )
}

/// Returns the response of the minimal configuration's model.
async fn ask_gpt_4(server: &Running) -> serde_json::Value {
    let line: serde_json::Value = serde_json::from_str(&server.line("Starting Berry API")).unwrap();
    let address = line["fields"]["address"].as_str().unwrap().to_owned();
    let response = tokio::task::spawn_blocking(move || {
        shell(&format!(
            "curl http://{address}/v1/chat/completions -H 'Authorization: Bearer berry-admin-token-12345' \
             -H 'Content-Type: application/json' \
             -d '{{\"model\":\"gpt-4\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'"
        ))
    });
    serde_json::from_str(&response.await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_configuration_serves_and_exits_on_either_signal() {
    let models = vec!["gpt-4".to_owned(), "gpt-3.5-turbo".to_owned()];
    let provider = Provider::start(Config { models, ..Config::named("openai") }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), minimal(&provider.base_url(), provider.key())).unwrap();
    for signal in ["TERM", "INT"] {
        let mut command = berry(folder.path());
        command.env("BIND_ADDRESS", "127.0.0.1:0");
        let server = Running::start(command);
        assert_eq!(ask_gpt_4(&server).await["model"], "gpt-4");
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_the_proxy_of_the_environment() {
    let provider =
        Provider::start(Config { models: vec!["gpt-4".to_owned()], ..Config::named("openai") }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The host does not exist, so only a proxy can respond. The simulated provider acts as the proxy.
    fs::write(folder.path().join("config.toml"), minimal("http://provider.invalid/v1", provider.key())).unwrap();
    let mut command = berry(folder.path());
    command.env("BIND_ADDRESS", "127.0.0.1:0").env("HTTP_PROXY", provider.base_url().trim_end_matches("/v1"));
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    let server = Running::start(command);
    assert_eq!(ask_gpt_4(&server).await["model"], "gpt-4");
}

#[test]
fn check_config_reports_every_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.toml");
    let check = || {
        let mut command = berry(folder.path());
        command.args(["--check-config", "--config"]).arg(&path);
        output(command)
    };
    let good = minimal("https://api.openai.com/v1", "sk-your-openai-key-here");
    fs::write(&path, &good).unwrap();
    let (code, text) = check();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("✅ Configuration is valid") && text.contains("  - 1 providers configured"), "{text}");

    // All errors are reported at once, without secrets.
    fs::write(&path, good.replace("\"openai\"", "\"opnai\"").replace("max_retries = 3", "max_retries = 99")).unwrap();
    let (code, text) = check();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("models.gpt_4.backends[0].provider") && text.contains("settings.max_retries"), "{text}");
    assert!(text.contains("warning: (file): others may read it"), "{text}");
    assert!(!text.contains("sk-your-openai-key-here") && !text.contains("berry-admin-token-12345"), "{text}");
}

#[test]
fn missing_configuration_lists_the_searched_places() {
    let folder = tempfile::tempdir().unwrap();
    let places = [
        "--config",
        "CONFIG_PATH",
        "./config.toml",
        "./config-example.toml",
        "./config/smart_ai_example.toml",
        "--demo",
    ];
    for arguments in [&[][..], &["--check-config"]] {
        let mut command = berry(folder.path());
        command.args(arguments);
        let (code, text) = output(command);
        assert_eq!(code, Some(2), "{text}");
        for place in places {
            assert!(text.contains(place), "{place} in {text}");
        }
    }
    // A path that is set explicitly is the only one that is tried.
    fs::write(folder.path().join("config.toml"), minimal("https://api.openai.com/v1", "sk-x")).unwrap();
    let mut command = berry(folder.path());
    command.arg("--check-config").env("CONFIG_PATH", "./missing.toml");
    let (code, text) = output(command);
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("missing.toml"), "{text}");
}

#[test]
fn reports_invalid_environment_settings() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [("MAX_CONNECTIONS", "many"), ("BIND_ADDRESS", "nowhere:x"), ("BERRY_LOG_FORMAT", "xml")] {
        fs::write(folder.path().join("config.toml"), minimal("https://api.openai.com/v1", "sk-x")).unwrap();
        let mut command = berry(folder.path());
        command.env("BIND_ADDRESS", "127.0.0.1:0").env(name, value);
        let (code, text) = output(command);
        assert_eq!(code, Some(1), "{name}: {text}");
        assert!(text.contains(value), "{name}: {text}");
    }
}

/// Starts a server over the provider. Returns it with its address.
fn serving(folder: &Path, settings: &str, provider: &Provider) -> (Running, String) {
    let file =
        minimal(&provider.base_url(), provider.key()).replace("[settings]\n", &format!("[settings]\n{settings}\n"));
    fs::write(folder.join("config.toml"), file).unwrap();
    let mut command = berry(folder);
    command.env("BIND_ADDRESS", "127.0.0.1:0");
    let server = Running::start(command);
    let line: serde_json::Value = serde_json::from_str(&server.line("Starting Berry API")).unwrap();
    let address = line["fields"]["address"].as_str().unwrap().to_owned();
    (server, address)
}

async fn provider(tokens: usize, pace: u64) -> Provider {
    let models = vec!["gpt-4".to_owned(), "gpt-3.5-turbo".to_owned()];
    let per_token = Duration::from_millis(pace);
    Provider::start(Config { models, tokens: Some(tokens), per_token, ..Config::named("openai") }).await.unwrap()
}

/// Starts a streaming chat in a separate process.
fn streamed(address: &str) -> Child {
    let url = format!("http://{address}/v1/chat/completions");
    let body = r#"{"model":"gpt-4","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--no-buffer", "--max-time", "60", "--noproxy", "*", &url, "--data", body]);
    curl.args(["-H", "Authorization: Bearer berry-admin-token-12345", "-H", "Content-Type: application/json"]);
    curl.stdout(Stdio::piped()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_in_flight_completes_before_the_exit() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(40, 20).await;
    let (server, address) = serving(folder.path(), "", &provider);
    let mut curl = streamed(&address);
    let mut response = BufReader::new(curl.stdout.take().unwrap());
    let mut text = String::new();
    response.read_line(&mut text).unwrap();
    server.signal("TERM");
    response.read_to_string(&mut text).unwrap();
    assert!(curl.wait().unwrap().success() && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(server.exit_code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn second_signal_exits_without_draining() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(4, 0).await;
    provider.set(Fault::StallAfter(1));
    let (server, address) = serving(folder.path(), "shutdown_grace_seconds = 3600", &provider);
    let mut curl = streamed(&address);
    BufReader::new(curl.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    server.signal("TERM");
    server.line("draining");
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    curl.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_and_logs_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(4, 0).await;
    let (server, _) = serving(folder.path(), "", &provider);
    let file = folder.path().join("config.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("max_retries = 3", "max_retries = 99")).unwrap();
    server.signal("HUP");
    let line: serde_json::Value = serde_json::from_str(&server.line("is refused")).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["cause"], "SIGHUP");
    assert!(line["fields"]["error"].as_str().unwrap().contains("settings.max_retries"), "{line}");
    fs::write(&file, good.replace("max_retries = 3", "max_retries = 2")).unwrap();
    server.signal("HUP");
    let line: serde_json::Value = serde_json::from_str(&server.line("was reloaded")).unwrap();
    assert_eq!(line["level"], "INFO");
    let changes = line["fields"]["changes"].as_str().unwrap();
    assert_eq!(changes, "~settings.max_retries, ~providers.openai", "the provider inherits the setting");
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn is_ready_soon() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(4, 0).await;
    // The fastest of several starts counts, because a busy machine slows down the others.
    let took = (0..20).map(|_| {
        let started = std::time::SystemTime::now();
        let (server, address) = serving(folder.path(), "", &provider);
        let alive = std::net::TcpStream::connect(address).is_ok();
        let took = started.elapsed().unwrap();
        server.signal("TERM");
        assert!(alive && server.exit_code() == Some(0));
        took
    });
    // A debug build is slow, and shares the processors with other tests.
    let fast = if cfg!(debug_assertions) { Duration::from_secs(10) } else { Duration::from_millis(200) };
    assert!(took.into_iter().any(|took| took < fast));
}

/// Returns the first column of a table in the operations guide.
fn guide_table(heading: &str) -> BTreeSet<String> {
    let guide = include_str!("../docs/operations.md");
    let table = guide.split(heading).nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|line| line.split('`').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn access_log_has_the_documented_fields() {
    let main = Provider::start(Config::named("main")).await.unwrap();
    let spare = Provider::start(Config::named("spare")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let provider = |name: &str, provider: &Provider| {
        let (url, key) = (provider.base_url(), provider.key());
        format!(
            "[providers.{name}]\nname = \"{name}\"\nbase_url = \"{url}\"\napi_key = \"{key}\"\nmodels = [\"sim\"]\n"
        )
    };
    let model = |name: &str, provider: &str, more: &str| {
        format!(
            "[models.{name}]\nname = \"{name}\"\n{more}\n[[models.{name}.backends]]\nprovider = \"{provider}\"\n\
             model = \"sim\"\nprobe = \"none\"\n"
        )
    };
    let file = [
        "[users.me]\ntoken = \"token-of-me-0123456789\"\n".to_owned(),
        provider("main", &main),
        provider("spare", &spare),
        model("first", "main", "fallbacks = [\"second\"]\nstream_recovery = \"off\""),
        model("second", "spare", ""),
        "[prices.first]\ninput = \"1\"\noutput = \"2\"\n".to_owned(),
    ];
    fs::write(folder.path().join("config.toml"), file.concat()).unwrap();
    let mut command = berry(folder.path());
    command.env("BIND_ADDRESS", "127.0.0.1:0");
    let server = Running::start(command);
    let line: serde_json::Value = serde_json::from_str(&server.line("Starting Berry API")).unwrap();
    let url = format!("http://{}/v1/chat/completions", line["fields"]["address"].as_str().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |model: &str, token: &str| {
        let body = serde_json::json!({
            "model": model, "stream": true, "messages": [{ "role": "user", "content": "Hello!" }],
        });
        client.post(&url).bearer_auth(token).json(&body).send().await.unwrap()
    };
    let finished = || -> serde_json::Map<String, serde_json::Value> {
        let line: serde_json::Value = serde_json::from_str(&server.line("request finished")).unwrap();
        assert_eq!((&line["target"], &line["level"]), (&"berry_server::access".into(), &"INFO".into()));
        line["fields"].as_object().unwrap().clone()
    };
    const TOKEN: &str = "token-of-me-0123456789";
    let mut lines = Vec::new();

    let _ = ask("first", TOKEN).await.bytes().await.unwrap();
    lines.push(("complete", finished()));
    let complete = &lines[0].1;
    let text = |line: &serde_json::Map<_, _>, field: &str| line[field].as_str().unwrap().to_owned();
    assert_eq!((text(complete, "model"), text(complete, "served_model")), ("first".into(), "first".into()));
    assert_eq!((text(complete, "backend"), text(complete, "provider")), ("main:sim".into(), "main".into()));
    let count = |field: &str| complete[field].as_f64().unwrap();
    let cost = (count("input_tokens") + 2.0 * count("output_tokens")) / 1e6;
    // A text, so that it is exact.
    let logged: f64 = text(complete, "cost").parse().unwrap();
    assert!((logged - cost).abs() < 1e-9 && cost > 0.0, "{complete:?}");
    assert_eq!((&complete["attempts"], &complete["status"], &complete["user"]), (&1.into(), &200.into(), &"me".into()));

    main.script([Fault::CutAfter(3).once()]);
    assert!(ask("first", TOKEN).await.bytes().await.is_err());
    lines.push(("interrupted", finished()));

    // An unknown model name may be a secret, so it is not logged.
    let unknown_model = format!("\n{{\u{1b}\u{202e}{}", "x".repeat(1000));
    let _ = ask(&unknown_model, TOKEN).await.bytes().await.unwrap();
    let refused = finished();
    assert!(!refused.contains_key("model"), "{refused:?}");
    lines.push(("refused", refused));

    main.set(Fault::StallAfter(2));
    let mut response = ask("first", TOKEN).await;
    let _ = response.chunk().await.unwrap();
    drop(response);
    lines.push(("cancelled", finished()));

    main.set(Fault::Status(500));
    let _ = ask("first", TOKEN).await.bytes().await.unwrap();
    let fallback = finished();
    assert_eq!((text(&fallback, "model"), text(&fallback, "served_model")), ("first".into(), "second".into()));
    lines.push(("complete", fallback));

    spare.set(Fault::Status(500));
    let _ = ask("second", TOKEN).await.bytes().await.unwrap();
    lines.push(("failed", finished()));

    let fields = guide_table("| field | meaning |");
    let outcomes = guide_table("| outcome | meaning |");
    let mut seen = BTreeSet::new();
    for (outcome, line) in &lines {
        assert_eq!(line["outcome"], *outcome, "{line:?}");
        seen.extend(line.keys().cloned());
    }
    assert_eq!(outcomes, lines.iter().map(|(outcome, _)| (*outcome).to_owned()).collect());
    // Dropped fields, and keys of the database, do not occur in this test.
    seen.extend(["dropped", "key"].map(str::to_owned));
    assert_eq!(seen, fields);
    server.signal("TERM");
}
