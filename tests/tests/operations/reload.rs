//! A reload applies changes and keeps state. An invalid configuration changes nothing.

use berry_server::config;
use berry_simulated::Fault;
use berry_tests::{Ask, TOKEN};
use serde_json::{Value, json};

use crate::support::{ADMIN, Samples, builder, reload, status};

const OK: &str = "berry_config_last_reload_success";

#[tokio::test]
async fn reload_applies_changes_and_keeps_state() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berry.toml");
    let gateway = builder()
        .file(&file)
        .provider("a")
        .provider("b")
        .backend("priority = 1")
        .strategy("failover")
        .user("[users.alice.rate_limit]\nrequests_per_day = 10")
        .settings("circuit_breaker_failure_threshold = 1")
        .start()
        .await;
    gateway.providers[0].set(Fault::Status(500));
    for _ in 0..3 {
        assert_eq!(gateway.plain().await.status, 200);
    }
    let read_state = async || {
        let mut health = status(&gateway, "/admin/backend-health").await["backend_health"]["pool"]["backends"].clone();
        for backend in health.as_array_mut().unwrap() {
            // The times are computed from elapsed time, so that their last digit varies.
            ["last_success", "last_failure"].into_iter().for_each(|key| backend[key] = json!(backend[key].is_string()));
        }
        let usage = status(&gateway, "/admin/rate-limit-usage?user_id=alice").await["remaining"].clone();
        let numbers = status(&gateway, "/metrics").await;
        let providers = ["a", "b"].map(|name| numbers["providers"][name]["models"].clone());
        (health, usage, providers, numbers["load_balancer"]["total_selections"].clone())
    };
    let before = read_state().await;
    assert_eq!(before.0[0]["circuit_state"], "open");
    assert_eq!(before.1["requests_per_day"], 7);

    let text = format!(
        "{}\n[users.bob]\ntoken = \"token-of-bob-0123456789ab\"\n[models.second]\nname = \"second\"\n\
         [[models.second.backends]]\nprovider = \"b\"\nmodel = \"sim\"\nprobe = \"none\"\n",
        gateway.toml.replace("[settings]\n", "[settings]\nstream_keepalive_seconds = 7\n")
    );
    std::fs::write(&file, text).unwrap();
    let second = Ask::chat("second", false).token("token-of-bob-0123456789ab");
    assert_eq!(gateway.ask(&second).await.status, 401, "not yet");
    let reply = reload(&gateway).await;
    assert_eq!(reply.status, 200);
    let none: [&str; 0] = [];
    let added = |id: &str| json!({ "added": [id], "removed": none, "changed": none });
    let unchanged = json!({ "added": none, "removed": none, "changed": none });
    assert_eq!(
        reply.json()["changes"],
        json!({
            "settings": ["stream_keepalive_seconds"], "users": added("bob"), "models": added("second"),
            "providers": unchanged, "teams": unchanged, "prices": unchanged, "tables": none,
        })
    );
    assert_eq!(reply.json()["source"], file.display().to_string());
    assert_eq!(read_state().await, before, "state is kept");
    assert_eq!(gateway.ask(&second).await.status, 200);
    let stats = status(&gateway, "/admin/system-stats").await;
    assert_eq!(stats["config"]["last_reload"]["ok"], true);
    assert_eq!(stats["config"]["last_reload"]["errors"], json!(none));

    // The original file removes the user again.
    std::fs::write(&file, &*gateway.toml).unwrap();
    assert_eq!(reload(&gateway).await.json()["changes"]["users"]["removed"], json!(["bob"]));
    assert_eq!(gateway.ask(&second).await.status, 401);
    assert_eq!(gateway.plain().await.status, 200);
}

#[tokio::test]
async fn another_database_is_reported_until_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berry.toml");
    let gateway = builder().file(&file).provider("a").start().await;
    let database = format!("[database]\nurl = \"sqlite://{}\"\n", folder.path().join("berry.db").display());
    for (tables, changed) in [
        (&*database, json!(["database.url"])),
        (&format!("{database}retain_days = 7\n"), json!(["database.retain_days"])),
    ] {
        std::fs::write(&file, format!("{}\n{tables}", &*gateway.toml)).unwrap();
        let reply = reload(&gateway).await.json();
        assert_eq!(reply["changes"]["tables"], changed);
        let warnings = reply["warnings"].as_array().unwrap();
        let restart = |warning: &&Value| {
            warning["path"] == "database.url" && warning["message"].as_str().unwrap().contains("only after a restart")
        };
        assert_eq!(warnings.iter().filter(restart).count(), 1, "{warnings:?}");
    }
    std::fs::write(&file, &*gateway.toml).unwrap();
    let reply = reload(&gateway).await.json();
    assert_eq!(reply["changes"]["tables"], json!(["database.url"]));
    assert!(!reply["warnings"].to_string().contains("restart"), "{reply}");
}

#[tokio::test]
async fn invalid_file_changes_nothing_and_is_reported_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berry.toml");
    let gateway = builder().file(&file).provider("a").start().await;
    let at_start = Samples::fetch(&gateway).await;
    assert_eq!(at_start.get(OK), 1.0);
    assert_eq!(status(&gateway, "/admin/system-stats").await["config"]["last_reload"], Value::Null);

    let text = gateway.toml.replace("max_tokens", "").replace("[settings]\n", "[settings]\nmax_retrys = 1\n");
    std::fs::write(&file, text.replace("provider = \"a\"", "provider = \"aa\"")).unwrap();
    let reply = reload(&gateway).await;
    assert_eq!(reply.status, 422);
    let error = reply.error();
    assert_eq!((&error["code"], &error["type"]), (&json!("invalid_configuration"), &json!("invalid_request_error")));
    let errors: Vec<&str> = error["message"].as_str().unwrap().lines().skip(1).collect();
    assert!(errors[0].contains("line 2: settings.max_retrys: "), "{errors:?}");
    assert!(errors[1].contains("models.pool.backends[0].provider: unknown provider `aa`"), "{errors:?}");
    assert!(!reply.text().contains(TOKEN) && !reply.text().contains(ADMIN));

    let stats = status(&gateway, "/admin/system-stats").await;
    assert_eq!(stats["config"]["last_reload"]["ok"], false);
    assert_eq!(stats["config"]["last_reload"]["errors"].as_array().unwrap().len(), errors.len());
    let samples = Samples::fetch(&gateway).await;
    assert_eq!(samples.get(OK), 0.0);
    let at = "berry_config_last_reload_timestamp_seconds";
    assert!(samples.get(at) > at_start.get(at));
    assert!(gateway.plain().await.is_good_chat(), "the previous configuration stays in use");

    // A missing file is an error as well.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(reload(&gateway).await.status, 422);
    std::fs::write(&file, &*gateway.toml).unwrap();
    assert_eq!(reload(&gateway).await.status, 200);
    assert_eq!(Samples::fetch(&gateway).await.get(OK), 1.0);
}

#[tokio::test]
async fn only_admins_reload_and_only_from_a_file() {
    let gateway = builder().provider("a").start().await;
    let ask = Ask::post("/admin/reload-config", "");
    assert_eq!(gateway.ask(&ask.clone().without("authorization")).await.status, 401);
    assert_eq!(gateway.ask(&ask.clone()).await.status, 403);
    assert_eq!(gateway.ask(&Ask::get("/admin/reload-config").token(ADMIN)).await.status, 405);
    let reply = gateway.ask(&ask.token(ADMIN)).await;
    assert_eq!(reply.status, 422);
    assert!(reply.text().contains("came from no file"), "{}", reply.text());
    // A program that embeds the server passes a configuration itself.
    let loaded = config::parse(&gateway.toml.replace("[users.alice]", "[users.carol]"), &|_| None).unwrap();
    let changes = gateway.server.reload(loaded).await.unwrap();
    assert_eq!((changes.users.added, changes.users.removed), (vec!["carol".to_owned()], vec!["alice".to_owned()]));
    assert!(gateway.plain().await.is_good_chat());
}

#[tokio::test]
async fn stream_in_flight_finishes_on_the_old_configuration() {
    let gateway = builder().provider("a").start().await;
    gateway.providers[0].set(Fault::LateFirstToken(std::time::Duration::from_millis(300)));
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", true).bytes()).await.unwrap();
    berry_tests::soon(gateway.providers[0].wait_for(1)).await;
    // The new configuration has neither the model nor the user nor the provider.
    let other = "[users.u]\ntoken = \"token-of-another-user-0123\"\n[providers.p]\nbase_url = \"http://127.0.0.1:9\"\n\
                 api_key = \"\"\nmodels = [\"m\"]\n[models.m]\nname = \"m\"\n[[models.m.backends]]\nprovider = \"p\"\nmodel = \"m\"\n";
    gateway.server.reload(config::parse(other, &|_| None).unwrap()).await.unwrap();
    let mut reply = berry_tests::soon(connection.head()).await.unwrap();
    connection.rest(&mut reply).await;
    assert!(reply.is_good_chat(), "{}", reply.text());
    assert_eq!(gateway.plain().await.status, 401);
}
