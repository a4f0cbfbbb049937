//! A thousand concurrent streams, every tenth with a slow reader.

use std::{sync::Arc, time::Duration};

use berry_simulated::{Config, Retention};
use berry_tests::{Ask, Gateway, soon};
use tokio::{sync::watch, task::JoinSet};

const STREAMS: usize = 1_000;
/// The events of each stream. A debug build takes ten times as long per event.
const EVENTS: usize = if cfg!(debug_assertions) { 50 } else { 500 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_do_not_delay_others() {
    // Each stream has two connections, and each connection two ends in this process.
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("a limit of open files");
    assert!(files >= 4 * STREAMS as u64 + 200, "this test needs more open files than {files}");
    let provider = Config {
        keep: Retention::Counts,
        tokens: Some(EVENTS),
        per_token: Duration::from_millis(1),
        ..Config::named("a")
    };
    let gateway = Arc::new(Gateway::builder().provider_as(provider).start().await);
    let (resume, resumed) = watch::channel(false);
    let (mut fast, mut slow) = (JoinSet::new(), JoinSet::new());
    for i in 0..STREAMS {
        let (gateway, mut resumed) = (gateway.clone(), resumed.clone());
        let stream = async move {
            let mut connection = gateway.connect().await;
            connection.send(&Ask::chat("pool", true).bytes()).await.expect("sent");
            let mut reply = connection.head().await.expect("a head");
            if i % 10 == 0 {
                resumed.wait_for(|resume| *resume).await.expect("the sender lives");
            }
            connection.rest(&mut reply).await;
            assert!(reply.is_good_chat() && reply.is_done(), "{}", reply.text().len());
        };
        if i % 10 == 0 {
            slow.spawn(stream)
        } else {
            fast.spawn(stream)
        };
    }
    soon(async { while fast.join_next().await.transpose().expect("a complete stream").is_some() {} }).await;
    assert_eq!(slow.len(), STREAMS / 10, "the slow clients have not read yet");
    resume.send_replace(true);
    soon(async { while slow.join_next().await.transpose().expect("a complete stream").is_some() {} }).await;
    gateway.providers[0].wait_idle().await;
}
