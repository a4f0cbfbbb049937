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

/// Memory in use, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_quick_reloads_lose_no_request() {
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
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|i| {
            let (gateway, stop, asked) = (gateway.clone(), stop.clone(), asked.clone());
            tokio::spawn(async move {
                let mut connection = gateway.connect().await;
                while !stop.load(Relaxed) {
                    let reply = soon(connection.ask(&Ask::chat("pool", i % 2 == 0))).await.unwrap();
                    assert!(reply.status == 200 && reply.whole, "{}: {}", reply.status, reply.text());
                    asked.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    // Two versions that differ in everything that a reload may change but names.
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
    // What the first ones leave in the allocator is not what is measured.
    reload(30).await;
    let before = resident();
    reload(100).await;
    let after = resident();
    stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(after < before + 16 * 1024, "{before} KiB, then {after}");

    // Every request was answered by a backend once, and every count has outlived every reload.
    let asked = asked.load(Relaxed);
    let calls = gateway.calls(0) + gateway.calls(1);
    assert_eq!(calls, asked);
    let samples = Samples::of(&gateway).await;
    assert_eq!(samples.sum("backend_request_count_total") as u64, asked);
    assert_eq!(samples.sum("load_balance_selections_total") as u64, asked);
    assert_eq!(samples.sum("http_requests_total{method=\"POST\"") as u64, asked);
    assert_eq!(samples.sum("backend_in_flight"), 0.0);
    let usage = status(&gateway, "/admin/rate-limit-usage?user_id=alice").await;
    let left = usage["remaining"]["requests_per_day"].as_u64().unwrap();
    // The bucket fills up again, one every 86 ms.
    assert!(1_000_000 - left <= asked && 1_000_000 - left + 2_000 > asked, "{left} left after {asked}");
}
