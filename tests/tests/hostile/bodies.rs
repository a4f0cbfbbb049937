//! Bodies that take memory or time.

use std::time::Duration;

use berry_tests::Ask;
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    process::{ALICE, BOB, Gateway, PATIENCE, configuration, slowest_health_check},
    upstream::{CLAUDE_ANSWER, Http1, Then, good, response},
};

const MIB: usize = 1 << 20;

/// The longest time of a health check: 50 ms in a release build that has the machine for itself, as in a long run. Else
/// the tests share the processors, and only a runtime that is blocked takes so long.
fn longest_health_check() -> Duration {
    let is_alone = !cfg!(debug_assertions) && std::env::var_os("BERRY_HOSTILE_SECONDS").is_some();
    if is_alone { Duration::from_millis(50) } else { Duration::from_secs(10) }
}

/// Sends the beginning of a body of 32 MiB; returns the connection and the beginning of a response, if there is one.
pub(crate) async fn send_unfinished(gateway: &Gateway, bytes: usize) -> (TcpStream, Vec<u8>) {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let ask = Ask::post("/v1/chat/completions", Vec::new()).token(ALICE);
    let mut part = ask.head(32 * MIB);
    part.extend_from_slice(br#"{"model":"m","messages":[{"role":"user","content":""#);
    let _ = socket.write_all(&part).await;
    let part = vec![b'a'; MIB];
    for _ in 0..bytes / MIB {
        match timeout(Duration::from_secs(10), socket.write_all(&part)).await {
            Ok(Ok(())) => {}
            // The response came before the body's end.
            _ => break,
        }
    }
    let response = early_response(&mut socket, Duration::from_millis(200)).await;
    (socket, response)
}

/// The beginning of a response that comes within this time.
async fn early_response(socket: &mut TcpStream, within: Duration) -> Vec<u8> {
    let mut response = vec![0; 4096];
    let read = timeout(within, socket.read(&mut response)).await;
    response.truncate(read.ok().and_then(Result::ok).unwrap_or(0));
    response
}

#[tokio::test]
async fn sixty_bodies_of_31_mib_stay_within_the_budget_and_leave_room_for_others() {
    const BUDGET: usize = 256;
    let provider = Http1::start(|_| good()).await;
    let settings = format!("max_buffered_bytes = {}", BUDGET * MIB);
    let gateway = Gateway::start(&configuration(&settings, "", &[("a", provider.url(), "")])).await;
    let before = gateway.memory();
    let mut held = Vec::new();
    for _ in 0..15 {
        held.extend(join_all((0..4).map(|_| send_unfinished(&gateway, 31 * MIB))).await);
    }
    // On a busy machine a refusal may take longer.
    let late = held.iter_mut().filter(|(_, response)| response.is_empty());
    join_all(late.map(async |(socket, response)| *response = early_response(socket, Duration::from_secs(10)).await))
        .await;
    let memory = gateway.memory() - before;
    assert!(memory <= 256 + 64, "{memory} MiB for a budget of {BUDGET}");
    let refused: Vec<_> = held.iter().filter(|(_, response)| !response.is_empty()).collect();
    assert!(refused.len() >= 60 - 9, "{} bodies were refused", refused.len());
    for (_, response) in refused {
        let text = String::from_utf8_lossy(response).to_lowercase();
        assert!(
            text.starts_with("http/1.1 503") && text.contains("retry-after") && text.contains("overloaded"),
            "{text}"
        );
    }
    // One tenant takes half of the budget at most.
    let large = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "b".repeat(24 * MIB));
    let reply = gateway.ask(&Ask::post("/v1/chat/completions", large).token(BOB)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(gateway.chat(ALICE).await.unwrap().status, 200, "short bodies have room");
    drop(held);
    let until = Instant::now() + PATIENCE;
    while !send_unfinished(&gateway, 31 * MIB).await.1.is_empty() {
        assert!(Instant::now() < until, "what was given up was not given back");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Bodies of few bytes for each value.
fn bombs(length: usize) -> Vec<Vec<u8>> {
    let filled = |before: &str, unit: &str, after: &str| {
        let mut body = before.to_owned();
        while body.len() + unit.len() + after.len() < length {
            body.push_str(unit);
        }
        (body + after).into_bytes()
    };
    let depth = length / 2 - 100;
    vec![
        filled(
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"enum":["#,
            "1,",
            "1]}}}]}",
        ),
        filled(r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"a":["#, r#"{"":{}},"#, "{}]}}"),
        format!(r#"{{"model":"m","messages":[],"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)).into_bytes(),
        filled(
            r#"{"model":"m","messages":["#,
            r#"{"role":"user","content":"x"},"#,
            r#"{"role":"user","content":"x"}]}"#,
        ),
    ]
}

#[tokio::test]
async fn bodies_of_many_values_take_bounded_memory_and_delay_no_health_check() {
    let claude = Http1::start(|_| (response("200 OK", "", CLAUDE_ANSWER), Then::Keep)).await;
    let url = format!("http://{}", claude.address);
    let gateway = Gateway::start(&configuration("", "", &[("a", url, "backend_type = \"claude\"")])).await;
    let before = gateway.memory();
    let length = if cfg!(debug_assertions) { 2 * MIB } else { 24 * MIB };
    let attack = async {
        for _ in 0..2 {
            let asks: Vec<_> = bombs(length)
                .into_iter()
                .flat_map(|body| {
                    let messages = Ask::post("/v1/messages", body.clone()).token(ALICE);
                    [Ask::post("/v1/chat/completions", body).token(ALICE), messages]
                })
                .collect();
            for status in join_all(asks.iter().map(|ask| gateway.try_ask(ask))).await {
                assert!(status.is_none_or(|reply| reply.status == 200 || reply.status.is_client_error()));
            }
        }
    };
    let (slowest, ()) = slowest_health_check(&gateway, attack).await;
    assert!(slowest <= longest_health_check(), "a health check took {slowest:?}");
    let memory = gateway.peak_memory() - before;
    assert!(memory <= 300, "{memory} MiB");
    assert_eq!(gateway.chat(BOB).await.unwrap().status, 200);
}

#[tokio::test]
async fn answers_of_many_values_fail_and_delay_no_health_check() {
    let length = if cfg!(debug_assertions) { 4 * MIB } else { 32 * MIB };
    let body = format!(r#"{{"id":"x","content":[{{"type":"text","text":"ok"}}],"x":[{}1]}}"#, "1,".repeat(length / 2));
    let answer = response("200 OK", "", &body);
    let claude = Http1::start(move |_| (answer.clone(), Then::Keep)).await;
    let url = format!("http://{}", claude.address);
    let provider = ("a", url, "backend_type = \"claude\"");
    let gateway = Gateway::start(&configuration("max_retries = 0", "", &[provider])).await;
    let (slowest, reply) = slowest_health_check(&gateway, gateway.chat(ALICE)).await;
    assert!(slowest <= longest_health_check(), "a health check took {slowest:?}");
    assert_eq!(reply.unwrap().status, 502);
    assert!(gateway.peak_memory() < 300, "{} MiB", gateway.peak_memory());
}
