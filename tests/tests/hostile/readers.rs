//! Clients that do not read, and many streams at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use berry_tests::Ask;
use futures_util::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    process::{ALICE, BOB, Gateway, PATIENCE, Start, configuration},
    upstream::{Http2, Tls, end_of_stream, event, trust},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_pass_over_providers_that_allow_a_hundred_each() {
    const STREAMS: usize = 1000;
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(files >= 4 * STREAMS as u64, "this test needs more open files than {files}");
    let (go, going) = watch::channel(false);
    let open = Arc::<AtomicUsize>::default();
    let serve = |open: Arc<AtomicUsize>, going: watch::Receiver<bool>| {
        move |mut exchange: crate::upstream::Exchange| {
            let (open, mut going) = (open.clone(), going.clone());
            async move {
                exchange.body().await;
                let Some(mut sender) = exchange.head("text/event-stream") else { return };
                sender.send(event("a")).await;
                open.fetch_add(1, Relaxed);
                let _ = going.wait_for(|go| *go).await;
                sender.send(end_of_stream()).await;
                sender.end();
            }
        }
    };
    let tls = [
        Tls::start(100, serve(open.clone(), going.clone()), |_| Http2::Serve).await,
        Tls::start(100, serve(open.clone(), going.clone()), |_| Http2::Serve).await,
    ];
    let (_folder, trusted) = trust(&[&tls[0], &tls[1]]);
    // On a busy machine a stream may wait long for its connection.
    let patient = "connect_timeout_seconds = 120\ntimeout_seconds = 120";
    let providers = [("a", tls[0].url(), patient), ("b", tls[1].url(), patient)];
    let settings = "stream_idle_timeout_seconds = 300\nfirst_token_timeout_seconds = 300";
    let text = configuration(settings, "strategy = \"round_robin\"", &providers);
    let gateway = Gateway::start_as(&text, Start { trusted: Some(&trusted), ..Start::default() }).await;
    let streams = (0..STREAMS).map(|n| {
        let ask = Ask::chat("m", true).token(if n % 10 == 0 { BOB } else { ALICE });
        let gateway = &gateway;
        async move { gateway.ask(&ask).await }
    });
    let all_open = async {
        let wait = async {
            while open.load(Relaxed) < STREAMS {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = timeout(PATIENCE / 2, wait).await;
        go.send_replace(true);
        waited.is_ok()
    };
    let (replies, all_open) = tokio::join!(join_all(streams), all_open);
    assert!(all_open, "only {} streams were open at once", open.load(Relaxed));
    let good = replies.iter().filter(|reply| reply.is_good_chat()).count();
    assert_eq!(good, STREAMS);
    let connections = tls.each_ref().map(Tls::connections);
    assert!(connections.iter().all(|made| (5..=16).contains(made)), "{connections:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_delay_no_one_else() {
    let tls = Tls::start(
        100,
        |mut exchange| async move {
            let body = exchange.body().await;
            if memchr::memmem::find(&body, b"\"stream\":true").is_none() {
                return exchange.answer().await;
            }
            let Some(mut sender) = exchange.head("text/event-stream") else { return };
            let part = event(&"x".repeat(4000)).repeat(16);
            // 16 MiB.
            for _ in 0..256 {
                if !sender.send(part.clone()).await {
                    return;
                }
            }
            sender.send(end_of_stream()).await;
            sender.end();
        },
        |_| Http2::Serve,
    )
    .await;
    let (_folder, trusted) = trust(&[&tls]);
    let text = configuration("", "", &[("a", tls.url(), "")]);
    let gateway = Gateway::start_as(&text, Start { trusted: Some(&trusted), ..Start::default() }).await;
    let before = gateway.memory();
    let mut unread = Vec::new();
    for _ in 0..10 {
        let mut connection = gateway.connect().await;
        connection.send(&Ask::chat("m", true).token(ALICE).bytes()).await.unwrap();
        assert_eq!(connection.head().await.unwrap().status, 200);
        unread.push(connection);
    }
    sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    for _ in 0..20 {
        let reply = gateway.chat(BOB).await.unwrap();
        assert!(reply.is_good_chat(), "{reply:?}");
    }
    // A stalled connection would delay each response for about a minute.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let memory = gateway.memory().saturating_sub(before);
    assert!(memory < 100, "{memory} MiB for ten clients");
}
