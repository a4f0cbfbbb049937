//! The commands of `berry-cli` that ask providers or a running server.

use berry_simulated::{Config, Dialect, Fault, Provider};
use serde_json::Value;

use crate::support::{Site, TOKEN, program, run};

#[tokio::test(flavor = "multi_thread")]
async fn health_check_reports_healthy_and_unhealthy_providers() {
    let site = Site::start("").await;
    let ran = site.cli(&["health-check"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let row = |name: &str| ran.out.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("up ").contains("healthy") && !row("up ").contains("unhealthy"), "{ran:?}");
    assert!(row("down ").contains("unhealthy") && row("down ").contains("network: "), "{ran:?}");
    assert_eq!(row("off"), "", "a disabled one is not asked: {ran:?}");
    assert!(ran.out.ends_with("❌ 1 of 2 checks failed\n"), "{ran:?}");
    assert_eq!(site.up.counts().calls, 0, "a list costs no chat");

    let ran = site.cli(&["health-check", "-p", "up"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.ends_with("✅ Provider up is healthy\n"), "{ran:?}");

    site.down.up().await.unwrap();
    let ran = site.cli(&["health-check", "--chat", "--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told = ran.json();
    assert_eq!(told["healthy"], true);
    let asked: Vec<_> = told["checks"].as_array().unwrap().iter().map(|c| (&c["provider"], &c["model"])).collect();
    let (null, sim) = (Value::Null, Value::from("sim"));
    let (up, down) = (Value::from("up"), Value::from("down"));
    assert_eq!(asked, [(&up, &null), (&down, &null), (&up, &sim), (&down, &sim)]);
    assert_eq!((site.up.counts().calls, site.down.counts().calls), (1, 1));

    let ran = site.cli(&["health-check"]).await;
    assert!(ran.code == Some(0) && ran.out.ends_with("✅ Health check completed\n"), "{ran:?}");
    for unknown in ["uq", "off"] {
        let ran = site.cli(&["health-check", "-p", unknown]).await;
        assert!(ran.code == Some(1) && ran.err.contains(unknown), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_failures_are_unhealthy_and_refused_questions_are_not() {
    let site = Site::start("").await;
    for (fault, healthy, word) in
        [(500, false, "server: 500"), (400, true, "caller: 400"), (429, true, "rate_limit: 429")]
    {
        site.up.script([Fault::Status(fault).once()]);
        let ran = site.cli(&["health-check", "-p", "up", "--chat", "--json"]).await;
        let told = ran.json();
        assert_eq!((ran.code == Some(0), &told["healthy"]), (healthy, &Value::from(healthy)), "{told}");
        assert!(told["checks"][1]["error"].as_str().unwrap().starts_with(word), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn test_backend_sends_one_chat() {
    let site = Site::start("").await;
    let ran = site.cli(&["test-backend", "-p", "up", "-m", "sim"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("✅ Backend up:sim connectivity test passed\n  - latency "), "{ran:?}");
    let ran = site.cli(&["test-backend", "-p", "up", "-m", "sim", "--stream"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("time to first token"), "{ran:?}");
    assert_eq!(site.up.counts().calls, 2);
    // A provider that knows the bound by its other name.
    for more in [&[][..], &["--stream"]] {
        let ran = site.cli(&[&["test-backend", "-p", "up", "-m", "sim-nomax", "--json"], more].concat()).await;
        let told = ran.json();
        assert_eq!((ran.code, &told["ok"], &told["error"]), (Some(0), &true.into(), &Value::Null), "{told}");
        assert_eq!(told["time_to_first_token_ms"].is_u64(), !more.is_empty(), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn test_backend_reports_a_failure_without_the_key() {
    let site = Site::start("").await;
    let key = site.up.key().to_owned();
    let stream = ["--stream"];
    for (provider, model, streamed, why) in [
        ("up", "sim-key", &[][..], "401"),
        ("up", "sim-key", &stream[..], "401"),
        ("up", "sim-cut2", &stream[..], "before the answer was complete"),
        ("down", "sim", &[], "refused"),
        ("down", "sim", &stream, "refused"),
    ] {
        let arguments = [&["test-backend", "-p", provider, "-m", model, "--json"], streamed].concat();
        let ran = site.cli(&arguments).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let told = ran.json();
        assert_eq!(told["ok"], false);
        assert!(told["error"].as_str().unwrap().contains(why), "{told}");
        assert!(!ran.out.contains(&key), "{told}");
    }
    let calls = site.up.counts().calls;
    for (provider, model) in [("uq", "sim"), ("up", "sin")] {
        let ran = site.cli(&["test-backend", "-p", provider, "-m", model]).await;
        assert!(ran.code == Some(1) && !ran.err.is_empty(), "{ran:?}");
    }
    assert_eq!(site.up.counts().calls, calls, "a slip of the pen costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_the_running_servers() {
    let site = Site::start("public_status = false").await;
    let ran = site.cli(&["metrics"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.lines().any(|line| line.starts_with("up ")), "{ran:?}");
    // A container's health check has no token, and must not hang on a file that is being edited.
    let live = site.cli(&["metrics", "--live", "-c", "/no/such/file.toml"]).await;
    assert_eq!((live.code, live.out.trim()), (Some(0), "alive"), "{live:?}");
    let detailed = site.cli(&["metrics", "--detailed"]).await;
    assert!(detailed.out.contains("breaker") && !ran.out.contains("breaker"), "{detailed:?}");
    let told = site.cli(&["metrics", "--json"]).await.json();
    assert!(told["providers"]["up"]["models"]["sim"]["requests"].is_u64(), "{told}");

    // The token can come from the file, the environment and the command line; a user's is not enough.
    std::fs::remove_file(site.folder.path().join("config.toml")).unwrap();
    let url = format!("http://{}/", site.server.addr());
    let none = site.cli(&["metrics", "--url", &url]).await;
    assert!(none.code == Some(1) && none.err.contains("BERRY_TOKEN"), "{none:?}");
    for (token, code) in [(TOKEN, 0), ("token-of-alice-0123456789", 1)] {
        let mut command = site.command(&["metrics", "--json"]);
        command.env("BERRY_TOKEN", token);
        let told = run(command).await;
        assert_eq!(told.code, Some(code), "{told:?}");
        let ran = site.cli(&["metrics", "--json", "--token", token]).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert_eq!(ran.json()["error"].is_object(), code == 1);
        assert!(!ran.out.contains(token), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_an_unreachable_server() {
    let site = Site::start("").await;
    for url in ["http://127.0.0.1:1", "nonsense", "ftp://127.0.0.1"] {
        let ran = site.cli(&["metrics", "--url", url]).await;
        assert!(ran.code == Some(1) && ran.err.contains(url), "{ran:?}");
        assert!(site.cli(&["reload", "--json", "--url", url]).await.json()["error"]["message"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_each_backends_part() {
    let site = Site::start("").await;
    let ran = site.cli(&["explain", "-m", "chat"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("chat by failover\n") && ran.out.contains("100.0 %"), "{ran:?}");
    let told = site.cli(&["explain", "-m", "chat", "-u", "alice", "--json"]).await.json();
    let parts: Vec<_> = told["candidates"].as_array().unwrap().iter().map(|c| c["in"].as_bool().unwrap()).collect();
    assert_eq!(parts, [true, false], "{told}");
    for arguments in [["-m", "none", "-u", "alice"], ["-m", "chat", "-u", "nobody"]] {
        let ran = site.cli(&[&["explain", "--json"][..], &arguments].concat()).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.json()["error"]["code"].is_string(), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_every_protocol_in_its_own_format() {
    for (kind, dialect, more) in [
        ("openai", Dialect::OpenAi, ""),
        ("azure", Dialect::Azure, "api_version = \"2024-10-21\""),
        ("claude", Dialect::Claude, ""),
        ("gemini", Dialect::Gemini, ""),
    ] {
        let provider = Provider::start(Config { dialect, ..Config::named("p") }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (url, key) = (provider.base_url(), provider.key());
        let text = format!(
            r#"
            [users.me]
            token = "token-of-me-0123456789abcdef"
            [providers.p]
            base_url = "{url}"
            api_key = "{key}"
            models = ["sim", "sim-cut2", "sim-key"]
            backend_type = "{kind}"
            {more}
            [models.m]
            name = "m"
            [[models.m.backends]]
            provider = "p"
            model = "sim"
            "#
        );
        std::fs::write(folder.path().join("config.toml"), text).unwrap();
        let cli = async |arguments: &str| {
            let mut command = program(env!("CARGO_BIN_EXE_berry-cli"), folder.path());
            command.args(arguments.split(' '));
            run(command).await
        };
        for arguments in ["health-check --chat", "test-backend -p p -m sim", "test-backend -p p -m sim --stream"] {
            let ran = cli(arguments).await;
            assert_eq!(ran.code, Some(0), "{kind} {arguments}: {ran:?}");
        }
        for (model, why) in [("sim-cut2", "before the answer was complete"), ("sim-key", "40")] {
            let ran = cli(&format!("test-backend -p p -m {model} --stream")).await;
            assert!(ran.code == Some(1) && ran.out.contains(why) && !ran.out.contains(key), "{kind} {model}: {ran:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_applies_a_valid_file_and_reports_an_invalid_one() {
    let site = Site::start("").await;
    let path = site.folder.path().join("config.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("[users.alice]", "[users.bob]").replace("failover", "random")).unwrap();
    let ran = site.cli(&["reload"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for line in
        ["✅ Configuration is reloaded", "  - users: added bob", "  - users: removed alice", "  - models: changed chat"]
    {
        assert!(ran.out.lines().any(|told| told == line), "{line}: {ran:?}");
    }
    let told = site.cli(&["reload", "--json"]).await.json();
    assert_eq!(told["changes"]["settings"], serde_json::json!([]), "{told}");

    // The tool must not need the file to ask for it.
    std::fs::write(&path, good.replace("priority = 1", "priority = 99\nweigth = 2")).unwrap();
    let ran = site.cli(&["reload", "--token", TOKEN]).await;
    assert_eq!((ran.code, &*ran.out), (Some(1), ""), "{ran:?}");
    for wrong in ["422", "backends[1].priority", "backends[1].weigth"] {
        assert!(ran.err.contains(wrong), "{wrong}: {ran:?}");
    }
    let ran = site.cli(&["reload", "--token", TOKEN, "--json"]).await;
    assert_eq!((ran.code, &ran.json()["error"]["code"]), (Some(1), &Value::from("invalid_configuration")));
    let ran = site.cli(&["reload", "--token", "token-of-alice-0123456789"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}
