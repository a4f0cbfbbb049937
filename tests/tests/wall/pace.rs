//! Healthy streams: held back not at all, and not by slow neighbours.

use std::time::Duration;

use berry_simulated::{Behavior, Fault};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    answer::{Answer, Front},
    support::{Plan, TOKENS, question},
};

const TICK: Duration = Duration::from_millis(500);

#[tokio::test(start_paused = true)]
async fn adds_no_delay_to_any_token() {
    let wall = Plan::of(1).provider("stream_usage = false").start().await;
    wall.set(0, Behavior::from(Fault::LateFirstToken(TICK * 3)).per_token(TICK));
    let through = wall.ask(true).await;
    let mut body = question(true);
    body["model"] = json!("sim");
    let url = format!("{}/chat/completions", wall.providers[0].base_url());
    let bare = wall.send(wall.client.post(url).bearer_auth(wall.providers[0].key()).json(&body)).await;
    assert_eq!(through.text, bare.text);
    // When each token can be read, in milliseconds. The preamble waits for the first.
    let times = |answer: &Answer| -> Vec<u128> {
        let tokens = answer.pieces.iter().filter(|(_, piece)| !piece.contains(r#""role""#));
        tokens.map(|(at, _)| at.as_millis()).collect()
    };
    let (through, bare) = (times(&through), times(&bare));
    assert!(through.len() == bare.len() && through.len() > TOKENS, "{through:?} {bare:?}");
    for (through, bare) in through.iter().zip(&bare) {
        assert!(through.abs_diff(*bare) <= 20, "{through} ms, and without a gateway {bare} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_reader_delays_no_other_stream() {
    let wall = Plan::of(1).settings("stream_keepalive_seconds = 0").start().await;
    wall.set(0, Behavior::from(Fault::Huge(4 << 10)).per_token(TICK));
    let began = Instant::now();
    let mut streams = Vec::new();
    for i in 0..100 {
        let request = wall.chat(true);
        streams.push(tokio::spawn(async move {
            let response = request.send().await.unwrap();
            if i % 10 == 0 {
                sleep(Duration::from_secs(50)).await;
            }
            (i % 10 == 0, Answer::read(Front::Chat, response, began).await)
        }));
    }
    for stream in streams {
        let (slow, answer) = stream.await.unwrap();
        assert!(answer.is_whole());
        let most = if slow { 52 } else { 31 };
        assert!(answer.end < Duration::from_secs(most), "slow {slow}: {:?}", answer.end);
    }
    assert_eq!(wall.outcomes(0, "success"), 100);
}
