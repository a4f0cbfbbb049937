//! The commands of `berry-cli` that send requests to providers or to a running server.

use berry_simulated::{Config, Dialect, Fault, Provider};
use serde_json::Value;

use crate::support::{Site, TOKEN, program, run};

#[tokio::test(flavor = "multi_thread")]
async fn health_check_reports_healthy_and_unhealthy_providers() {
    let site = Site::start("").await;
    let output = site.cli(&["health-check"]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let row = |name: &str| output.out.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("up ").contains("healthy") && !row("up ").contains("unhealthy"), "{output:?}");
    assert!(row("down ").contains("unhealthy") && row("down ").contains("network: "), "{output:?}");
    assert_eq!(row("off"), "", "a disabled provider is not checked: {output:?}");
    assert!(output.out.ends_with("❌ 1 of 2 checks failed\n"), "{output:?}");
    assert_eq!(site.up.counts().calls, 0, "the check sends no chat request");

    let output = site.cli(&["health-check", "-p", "up"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.ends_with("✅ Provider up is healthy\n"), "{output:?}");

    site.down.up().await.unwrap();
    let output = site.cli(&["health-check", "--chat", "--json"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let report = output.json();
    assert_eq!(report["healthy"], true);
    let checked: Vec<_> = report["checks"].as_array().unwrap().iter().map(|c| (&c["provider"], &c["model"])).collect();
    let (null, sim) = (Value::Null, Value::from("sim"));
    let (up, down) = (Value::from("up"), Value::from("down"));
    assert_eq!(checked, [(&up, &null), (&down, &null), (&up, &sim), (&down, &sim)]);
    assert_eq!((site.up.counts().calls, site.down.counts().calls), (1, 1));

    let output = site.cli(&["health-check"]).await;
    assert!(output.code == Some(0) && output.out.ends_with("✅ Health check completed\n"), "{output:?}");
    for unknown in ["uq", "off"] {
        let output = site.cli(&["health-check", "-p", unknown]).await;
        assert!(output.code == Some(1) && output.err.contains(unknown), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_failures_are_unhealthy_and_client_errors_are_not() {
    let site = Site::start("").await;
    for (fault, healthy, word) in
        [(500, false, "server: 500"), (400, true, "caller: 400"), (429, true, "rate_limit: 429")]
    {
        site.up.script([Fault::Status(fault).once()]);
        let output = site.cli(&["health-check", "-p", "up", "--chat", "--json"]).await;
        let report = output.json();
        assert_eq!((output.code == Some(0), &report["healthy"]), (healthy, &Value::from(healthy)), "{report}");
        assert!(report["checks"][1]["error"].as_str().unwrap().starts_with(word), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn test_backend_sends_one_chat() {
    let site = Site::start("").await;
    let output = site.cli(&["test-backend", "-p", "up", "-m", "sim"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.starts_with("✅ Backend up:sim connectivity test passed\n  - latency "), "{output:?}");
    let output = site.cli(&["test-backend", "-p", "up", "-m", "sim", "--stream"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.contains("time to first token"), "{output:?}");
    assert_eq!(site.up.counts().calls, 2);
    // This provider accepts the token limit only under its other name.
    for more in [&[][..], &["--stream"]] {
        let output = site.cli(&[&["test-backend", "-p", "up", "-m", "sim-nomax", "--json"], more].concat()).await;
        let report = output.json();
        assert_eq!((output.code, &report["ok"], &report["error"]), (Some(0), &true.into(), &Value::Null), "{report}");
        assert_eq!(report["time_to_first_token_ms"].is_u64(), !more.is_empty(), "{report}");
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
        let output = site.cli(&arguments).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        let report = output.json();
        assert_eq!(report["ok"], false);
        assert!(report["error"].as_str().unwrap().contains(why), "{report}");
        assert!(!output.out.contains(&key), "{report}");
    }
    let calls = site.up.counts().calls;
    for (provider, model) in [("uq", "sim"), ("up", "sin")] {
        let output = site.cli(&["test-backend", "-p", provider, "-m", model]).await;
        assert!(output.code == Some(1) && !output.err.is_empty(), "{output:?}");
    }
    assert_eq!(site.up.counts().calls, calls, "a misspelt name causes no request");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_come_from_the_running_server() {
    let site = Site::start("public_status = false").await;
    let output = site.cli(&["metrics"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.lines().any(|line| line.starts_with("up ")), "{output:?}");
    // A container health check has no token and must not depend on a file that is being edited.
    let live = site.cli(&["metrics", "--live", "-c", "/no/such/file.toml"]).await;
    assert_eq!((live.code, live.out.trim()), (Some(0), "alive"), "{live:?}");
    let detailed = site.cli(&["metrics", "--detailed"]).await;
    assert!(detailed.out.contains("breaker") && !output.out.contains("breaker"), "{detailed:?}");
    let report = site.cli(&["metrics", "--json"]).await.json();
    assert!(report["providers"]["up"]["models"]["sim"]["requests"].is_u64(), "{report}");

    // The token comes from the file, the environment or the command line, and must be an admin's.
    std::fs::remove_file(site.folder.path().join("config.toml")).unwrap();
    let url = format!("http://{}/", site.server.addr());
    let none = site.cli(&["metrics", "--url", &url]).await;
    assert!(none.code == Some(1) && none.err.contains("BERRY_TOKEN"), "{none:?}");
    for (token, code) in [(TOKEN, 0), ("token-of-alice-0123456789", 1)] {
        let mut command = site.command(&["metrics", "--json"]);
        command.env("BERRY_TOKEN", token);
        let report = run(command).await;
        assert_eq!(report.code, Some(code), "{report:?}");
        let output = site.cli(&["metrics", "--json", "--token", token]).await;
        assert_eq!(output.code, Some(code), "{output:?}");
        assert_eq!(output.json()["error"].is_object(), code == 1);
        assert!(!output.out.contains(token), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_an_unreachable_server() {
    let site = Site::start("").await;
    for url in ["http://127.0.0.1:1", "nonsense", "ftp://127.0.0.1"] {
        let output = site.cli(&["metrics", "--url", url]).await;
        assert!(output.code == Some(1) && output.err.contains(url), "{output:?}");
        assert!(site.cli(&["reload", "--json", "--url", url]).await.json()["error"]["message"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_share_of_each_backend() {
    let site = Site::start("").await;
    let output = site.cli(&["explain", "-m", "chat"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.starts_with("chat by failover\n") && output.out.contains("100.0 %"), "{output:?}");
    let report = site.cli(&["explain", "-m", "chat", "-u", "alice", "--json"]).await.json();
    let parts: Vec<_> = report["candidates"].as_array().unwrap().iter().map(|c| c["in"].as_bool().unwrap()).collect();
    assert_eq!(parts, [true, false], "{report}");
    for arguments in [["-m", "none", "-u", "alice"], ["-m", "chat", "-u", "unknown"]] {
        let output = site.cli(&[&["explain", "--json"][..], &arguments].concat()).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.json()["error"]["code"].is_string(), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_every_protocol_in_its_own_format() {
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
            let output = cli(arguments).await;
            assert_eq!(output.code, Some(0), "{kind} {arguments}: {output:?}");
        }
        for (model, why) in [("sim-cut2", "before the answer was complete"), ("sim-key", "40")] {
            let output = cli(&format!("test-backend -p p -m {model} --stream")).await;
            assert!(
                output.code == Some(1) && output.out.contains(why) && !output.out.contains(key),
                "{kind} {model}: {output:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_applies_a_valid_file_and_reports_an_invalid_one() {
    let site = Site::start("").await;
    let path = site.folder.path().join("config.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("[users.alice]", "[users.bob]").replace("failover", "random")).unwrap();
    let output = site.cli(&["reload"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for line in
        ["✅ Configuration is reloaded", "  - users: added bob", "  - users: removed alice", "  - models: changed chat"]
    {
        assert!(output.out.lines().any(|shown| shown == line), "{line}: {output:?}");
    }
    let report = site.cli(&["reload", "--json"]).await.json();
    assert_eq!(report["changes"]["settings"], serde_json::json!([]), "{report}");

    // The command works without a valid local file when the token is given.
    std::fs::write(&path, good.replace("priority = 1", "priority = 99\nweigth = 2")).unwrap();
    let output = site.cli(&["reload", "--token", TOKEN]).await;
    assert_eq!((output.code, &*output.out), (Some(1), ""), "{output:?}");
    for wrong in ["422", "backends[1].priority", "backends[1].weigth"] {
        assert!(output.err.contains(wrong), "{wrong}: {output:?}");
    }
    let output = site.cli(&["reload", "--token", TOKEN, "--json"]).await;
    assert_eq!((output.code, &output.json()["error"]["code"]), (Some(1), &Value::from("invalid_configuration")));
    let output = site.cli(&["reload", "--token", "token-of-alice-0123456789"]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_an_owner_is_refused_with_both_cures() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["key", "create"][..], &["key", "create", "--user", "a", "--team", "b"]] {
        let mut command = program(env!("CARGO_BIN_EXE_berry-cli"), folder.path());
        command.args(arguments);
        let output = run(command).await;
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.err.contains("--user <ID>|--team <ID>"), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_lists_the_known_providers_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_berry-cli"), folder.path());
    command.arg("presets");
    let output = run(command).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for part in ["mistral", "https://api.mistral.ai/v1", "token_limit = \"max_tokens\"", "https://docs.mistral.ai/api/"]
    {
        assert!(output.out.contains(part), "{part} in {output:?}");
    }
    let mut command = program(env!("CARGO_BIN_EXE_berry-cli"), folder.path());
    command.args(["presets", "--json"]);
    let known = run(command).await.json();
    let known: Vec<_> = known.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(known, Config::presets().collect::<Vec<_>>(), "each has a simulated provider");
}

#[tokio::test(flavor = "multi_thread")]
async fn test_backend_finds_out_what_a_provider_accepts() {
    let provider = Provider::start(Config::of_preset("mistral").unwrap()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let text = format!(
        "[users.me]\ntoken = \"{TOKEN}\"\n[providers.p]\nbase_url = \"{}\"\napi_key = \"{}\"\nmodels = [\"sim\"]\n\
         [models.m]\nname = \"m\"\nbackends = [{{ provider = \"p\", model = \"sim\" }}]\n",
        provider.base_url(),
        provider.key()
    );
    std::fs::write(&file, text).unwrap();
    let ask = async |more: &[&str]| {
        let mut command = program(env!("CARGO_BIN_EXE_berry-cli"), folder.path());
        command.args(["-c", file.to_str().unwrap(), "test-backend", "-p", "p", "-m", "sim", "--all-quirks"]).args(more);
        run(command).await
    };
    let output = ask(&[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let report = ask(&["--json"]).await.json();
    let options: Vec<_> = report["options"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let expected = [
        "token_limit = \"max_tokens\"",
        "stream_usage = false",
        "accepts.developer = false",
        "accepts.user = false",
        "accepts.message_names = false",
        "accepts.reasoning_effort = [\"none\", \"high\"]",
    ];
    assert_eq!(options, expected, "{report}");
    for line in expected {
        assert!(output.out.contains(line), "{line} in {output:?}");
    }
}
