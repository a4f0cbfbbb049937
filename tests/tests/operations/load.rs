//! Reloads under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use berry_server::config;
use berry_tests::{Ask, soon};
use tokio::time::{MissedTickBehavior, interval};

use crate::support::{Samples, builder, status};

/// Returns the resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_lose_no_request() {
    let gateway = Arc::new(
        builder()
            .provider("a")
            .provider("b")
            .counted()
            .strategy("weighted_random")
            .user("[users.alice.rate_limit]\nrequests_per_day = 1000000")
            .start()
            .await,
    );
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|i| {
            let (gateway, stop, sent) = (gateway.clone(), stop.clone(), sent.clone());
            tokio::spawn(async move {
                let mut connection = gateway.connect().await;
                while !stop.load(Relaxed) {
                    let reply = soon(connection.ask(&Ask::chat("pool", i % 2 == 0))).await.unwrap();
                    assert!(reply.status == 200 && reply.whole, "{}: {}", reply.status, reply.text());
                    sent.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    // Two versions that differ in a setting.
    let versions = [gateway.toml.to_string(), gateway.toml.replace("[settings]\n", "[settings]\nmax_retries = 2\n")]
        .map(|text| config::parse(&text, &|_| None).unwrap());
    let reload = async |times: usize| {
        let mut ticks = interval(Duration::from_millis(10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for i in 0..times {
            ticks.tick().await;
            gateway.server.reload(versions[i % 2].clone()).await.unwrap();
        }
    };
    // The first reloads warm up the allocator.
    reload(30).await;
    let before = resident();
    reload(100).await;
    let after = resident();
    stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(after < before + 16 * 1024, "{before} KiB, then {after}");

    // Every request reached a backend once, and the counters survived every reload.
    let sent = sent.load(Relaxed);
    let calls = gateway.calls(0) + gateway.calls(1);
    assert_eq!(calls, sent);
    let samples = Samples::fetch(&gateway).await;
    assert_eq!(samples.sum("backend_request_count_total") as u64, sent);
    assert_eq!(samples.sum("load_balance_selections_total") as u64, sent);
    assert_eq!(samples.sum("http_requests_total{method=\"POST\"") as u64, sent);
    assert_eq!(samples.sum("backend_in_flight"), 0.0);
    let usage = status(&gateway, "/admin/rate-limit-usage?user_id=alice").await;
    let left = usage["remaining"]["requests_per_day"].as_u64().unwrap();
    // The bucket refills by one request every 86 ms.
    assert!(1_000_000 - left <= sent && 1_000_000 - left + 2_000 > sent, "{left} left after {sent}");
}
