//! The shared store against a real server, which each test starts for itself on loopback. Without
//! `redis-server` or `valkey-server` on the machine there is nothing to test.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use berry_tower::store::{
    Calendar, Charge, CounterUsage, Memory, Notice, Rule, Store, TakeError,
    redis::{Mode, OnError, Redis, RedisConfig},
};
use tokio::time::sleep;

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    async fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { process: Self::spawn(port)?, port };
        server.wait().await;
        Some(server)
    }

    fn spawn(port: u16) -> Option<Child> {
        let start = |program: &str| {
            Command::new(program)
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
                .stdout(Stdio::null())
                .spawn()
                .ok()
        };
        start("redis-server").or_else(|| start("valkey-server"))
    }

    async fn wait(&mut self) {
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(self.process.try_wait().unwrap().is_none(), "the server has ended");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn restart(&mut self) {
        self.process = Self::spawn(self.port).unwrap();
        self.wait().await;
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn config(&self) -> RedisConfig {
        let config = RedisConfig::from_url(&format!("redis://127.0.0.1:{}", self.port)).unwrap();
        // A machine under load is no outage.
        config.timeout(Duration::from_secs(5))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn day(limit: u64) -> Rule {
    Rule::Rolling { period: Duration::from_secs(86_400), limit }
}

fn calendar(limit: u64) -> Rule {
    Rule::Calendar { window: Calendar::Month, limit }
}

/// Lets four processes take units by turns and at once, and returns how many they got.
async fn admitted(stores: &[Redis], charges: &[Charge], requests: u64) -> u64 {
    let admitted = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let (store, charges, admitted) = (stores[task % stores.len()].clone(), charges.to_vec(), admitted.clone());
            tokio::spawn(async move {
                for _ in 0..requests / 64 {
                    match store.take("g", &charges).await {
                        Ok(_) => _ = admitted.fetch_add(1, Relaxed),
                        Err(TakeError::Exceeded { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    admitted.load(Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_processes_admit_exactly_the_limit() {
    let Some(server) = Server::start().await else { return };
    let stores: Vec<Redis> = (0..4).map(|_| Redis::start(server.config())).collect();
    for (key, rule) in [("requests", day(500)), ("cost", calendar(500))] {
        assert_eq!(admitted(&stores, &[Charge::new(key, rule, 1)], 6_400).await, 500, "{key}");
    }
    // All or nothing: the tighter counter decides, and the other one is not touched by refusals.
    let both = [Charge::new("wide", day(1_000), 10), Charge::new("tight", calendar(50), 1)];
    assert_eq!(admitted(&stores, &both, 640).await, 50);
    let left = stores[0].take("g", &[Charge::new("wide", day(1_000), 0)]).await.unwrap();
    assert_eq!(left.usages()[0].remaining(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_processes_admit_no_more_and_little_less() {
    let Some(server) = Server::start().await else { return };
    let config = server.config().mode(Mode::Leased { millionths: 50_000 });
    let stores: Vec<Redis> = (0..4).map(|_| Redis::start(config.clone())).collect();
    for (key, rule) in [("requests", day(1_000)), ("cost", calendar(1_000))] {
        let charges = [Charge::new(key, rule, 1)];
        let admitted = admitted(&stores, &charges, 6_400).await;
        assert!((801..=1_000).contains(&admitted), "{admitted} {key}");
        // Leases that nobody has used are given back when they end.
        sleep(Duration::from_millis(2_600)).await;
        let mut rest = 0;
        while stores[0].take("g", &charges).await.is_ok() {
            rest += 1;
        }
        assert_eq!(admitted + rest, 1_000, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_count_like_memory() {
    let Some(server) = Server::start().await else { return };
    let (redis, memory) = (Redis::start(server.config()), Memory::new());
    let rules = [("a", day(1_000)), ("b", calendar(700)), ("c", Rule::Concurrent { limit: 5 })];
    let mut random = 12_345_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut held = Vec::new();
    for step in 0..400 {
        if next(3) == 0 && !held.is_empty() {
            let at = usize::try_from(next(held.len() as u64)).unwrap();
            let (one, other, amounts): (_, _, Vec<u64>) = held.swap_remove(at);
            let used = vec![next(amounts[0] * 2 + 1), next(amounts[1] + 1), 0];
            redis.settle(one, used.clone()).await;
            memory.settle(other, used).await;
        } else {
            let amounts = vec![next(60), next(40), 1];
            let charge = |((key, rule), amount): (&(&str, Rule), &u64)| Charge::new(*key, *rule, *amount);
            let charges: Vec<Charge> = rules.iter().zip(&amounts).map(charge).collect();
            match (redis.take("g", &charges).await, memory.take("g", &charges).await) {
                (Ok(one), Ok(other)) => {
                    let left = |receipt: &berry_tower::store::Receipt| {
                        receipt.usages().iter().map(CounterUsage::remaining).collect::<Vec<_>>()
                    };
                    assert_eq!(left(&one), left(&other), "step {step}");
                    held.push((one, other, amounts));
                }
                (Err(TakeError::Exceeded { index: one, .. }), Err(TakeError::Exceeded { index: other, .. })) => {
                    assert_eq!(one, other, "step {step}");
                }
                (one, other) => panic!("step {step}: {one:?}, {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_allowed_goes_on_while_the_store_is_away() {
    let Some(mut server) = Server::start().await else { return };
    let config = server.config();
    let share: Vec<Redis> = (0..4).map(|_| Redis::start(config.clone())).collect();
    let local = Redis::start(config.clone().on_error(OnError::Local).prefix("local"));
    let deny = Redis::start(config.on_error(OnError::Deny).prefix("deny"));
    let charge = [Charge::new("k", day(100), 1)];
    for store in share.iter().chain([&local, &deny]) {
        assert!(store.take("g", &charge).await.is_ok());
    }
    while share.iter().any(|store| store.health().replicas != 4) {
        sleep(Duration::from_millis(50)).await;
    }
    server.kill();
    let mut admitted = 0;
    for store in &share {
        while store.take("g", &charge).await.is_ok() {
            admitted += 1;
        }
        assert!(!store.health().is_available);
        assert_eq!(store.health().outages, 1);
        assert!(store.health().errors >= 1);
    }
    // Each has last heard of 96 to 99 that were left, and takes a quarter.
    assert!((93..=96).contains(&admitted), "{admitted}");
    let mut alone = 0;
    while local.take("g", &charge).await.is_ok() {
        alone += 1;
    }
    assert_eq!(alone, 100);
    assert!(matches!(deny.take("g", &charge).await, Err(TakeError::Unavailable)));

    server.restart().await;
    for store in share.iter().chain([&local, &deny]) {
        let back = async {
            while !store.health().is_available {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), back).await.unwrap();
        assert!(store.take("g", &charge).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_in_flight_are_shared_and_given_back() {
    let Some(server) = Server::start().await else { return };
    let stores =
        [Redis::start(server.config()), Redis::start(server.config().mode(Mode::Leased { millionths: 50_000 }))];
    let charges = [Charge::new("places", Rule::Concurrent { limit: 2 }, 1), Charge::new("k", day(1_000), 1)];
    let first = stores[0].take("g", &charges).await.unwrap();
    let _second = stores[1].take("g", &charges).await.unwrap();
    assert!(stores[0].take("g", &charges).await.is_err());
    stores[0].settle(first, vec![0, 1]).await;
    assert!(stores[1].take("g", &charges).await.is_ok());
}

#[tokio::test]
async fn notices_reach_other_processes_and_go_on_after_a_restart() {
    let Some(mut server) = Server::start().await else { return };
    let (here, there) = (Redis::start(server.config()), Redis::start(server.config()));
    let (own, heard) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let count = |counter: &Arc<AtomicU64>| {
        let counter = counter.clone();
        move |notice: &Notice| {
            assert_eq!((notice.topic(), notice.text()), ("greeting", "a text of\nseveral words"));
            counter.fetch_add(1, Relaxed);
        }
    };
    here.on_notice(Box::new(count(&own)));
    there.on_notice(Box::new(count(&heard)));
    // What is said before the channel is open is lost.
    let until_heard = async || {
        let before = heard.load(Relaxed);
        for _ in 0..600 {
            here.announce(Notice::new("greeting", "a text of\nseveral words"));
            sleep(Duration::from_millis(50)).await;
            if heard.load(Relaxed) > before {
                return;
            }
        }
        panic!("nothing is heard in half a minute");
    };
    until_heard().await;
    server.kill();
    server.restart().await;
    until_heard().await;
    assert_eq!(own.load(Relaxed), 0, "nobody hears itself");
}
