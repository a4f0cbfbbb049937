//! Each fault in each dialect.

use super::{ALL, Read, finish, fold, plain, question, read, request, send, soon, start, stream, text};
use crate::{Dialect, End, Provider};
use serde_json::{Value, json};
use std::time::Duration;

/// Returns the number of events with output.
fn tokens(dialect: Dialect, read: &Read) -> usize {
    let bears = |event: &Value| match dialect {
        Dialect::Claude => event["type"] == "content_block_delta",
        Dialect::Gemini => {
            event["candidates"][0]["content"]["parts"][0]["text"].as_str().is_some_and(|t| !t.is_empty())
        }
        _ => event["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()),
    };
    read.events().iter().filter(|event| bears(event)).count()
}

/// Returns whether an event has a finish reason.
fn finished(dialect: Dialect, read: &Read) -> bool {
    let tells = |event: &Value| match dialect {
        Dialect::Claude => event["delta"]["stop_reason"].is_string(),
        Dialect::Gemini => event["candidates"][0]["finishReason"].is_string(),
        _ => event["choices"][0]["finish_reason"].is_string(),
    };
    read.events().iter().any(tells)
}

/// Returns whether the stream has its end marker. Gemini's streams have none.
fn marked(dialect: Dialect, read: &Read) -> bool {
    match dialect {
        Dialect::Claude => read.text().contains("\"type\":\"message_stop\""),
        Dialect::Gemini => false,
        _ => read.done(),
    }
}

/// Returns whether a healthy stream has an end marker.
fn mark(dialect: Dialect) -> bool {
    dialect != Dialect::Gemini
}

async fn broken(dialect: Dialect, model: &str) -> (Read, End) {
    let (provider, response) = send(dialect, model, true, &question(dialect)).await;
    let read = soon(read(response)).await;
    soon(provider.wait_idle()).await;
    (read, provider.seen()[0].end().unwrap())
}

#[tokio::test]
async fn errors_have_the_status_and_shape_of_the_provider() {
    // The status and the type, code or status word of each dialect.
    let cases = [
        ("e500", [(500, "server_error"), (500, "server_error"), (500, "api_error"), (500, "INTERNAL")]),
        ("e503", [(503, "server_error"), (503, "server_error"), (503, "api_error"), (503, "UNAVAILABLE")]),
        (
            "e529",
            [(529, "overloaded_error"), (529, "overloaded_error"), (529, "overloaded_error"), (529, "UNAVAILABLE")],
        ),
        ("e429", [(429, "rate_limit_exceeded"), (429, "429"), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")]),
        (
            "e403",
            [
                (403, "permission_denied"),
                (403, "permission_denied"),
                (403, "permission_error"),
                (403, "PERMISSION_DENIED"),
            ],
        ),
        ("e404", [(404, "model_not_found"), (404, "DeploymentNotFound"), (404, "not_found_error"), (404, "NOT_FOUND")]),
        ("key", [(401, "invalid_api_key"), (401, "401"), (401, "authentication_error"), (400, "INVALID_ARGUMENT")]),
        (
            "ctx",
            [
                (400, "context_length_exceeded"),
                (400, "context_length_exceeded"),
                (400, "invalid_request_error"),
                (400, "INVALID_ARGUMENT"),
            ],
        ),
        (
            "quota",
            [
                (429, "insufficient_quota"),
                (429, "insufficient_quota"),
                (402, "billing_error"),
                (429, "RESOURCE_EXHAUSTED"),
            ],
        ),
        (
            "busy",
            [
                (503, "server_is_overloaded"),
                (503, "server_is_overloaded"),
                (529, "overloaded_error"),
                (503, "UNAVAILABLE"),
            ],
        ),
    ];
    for (token, expected) in cases {
        for (dialect, (status, word)) in ALL.into_iter().zip(expected) {
            for stream in [false, true] {
                let (_provider, response) =
                    send(dialect, &format!("sim-{token}-ra3"), stream, &question(dialect)).await;
                assert_eq!(response.status(), status, "{dialect:?} {token}");
                assert_eq!(response.headers()["retry-after"], "3");
                let body: Value = response.json().await.unwrap();
                let error = &body["error"];
                let words = [&error["code"], &error["type"], &error["status"]];
                assert!(words.contains(&&json!(word)), "{dialect:?} {token} {body}");
                assert!(error["message"].is_string());
                assert_eq!(body["type"] == "error", dialect == Dialect::Claude);
            }
        }
    }
}

#[tokio::test]
async fn policy_refusal_is_a_400_except_for_google() {
    for dialect in ALL {
        for streamed in [false, true] {
            let (_provider, response) = send(dialect, "sim-policy", streamed, &question(dialect)).await;
            let is_google = dialect == Dialect::Gemini;
            assert_eq!(response.status(), if is_google { 200 } else { 400 });
            if is_google {
                let read = soon(read(response)).await;
                let answer = if streamed { read.events().remove(0) } else { read.json() };
                assert_eq!(answer["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
                assert!(answer.get("candidates").is_none());
            }
        }
    }
}

#[tokio::test]
async fn streams_break_at_the_given_token() {
    for dialect in ALL {
        for (token, seen, has_finish, how) in [
            ("cut0", 0, false, End::Cut),
            ("cut5", 5, false, End::Cut),
            ("cut12", 12, false, End::Cut),
            ("rst5", 5, false, End::Reset),
            ("cutfin", 12, true, End::Cut),
            ("chop", 6, false, End::Cut),
            ("short", 6, false, End::Cut),
        ] {
            let (read, end) = broken(dialect, &format!("sim-{token}")).await;
            assert!(!read.whole, "{dialect:?} {token}");
            assert_eq!(end, how, "{dialect:?} {token}");
            if how == End::Cut {
                assert_eq!(tokens(dialect, &read), seen, "{dialect:?} {token}");
                assert_eq!(finished(dialect, &read), has_finish, "{dialect:?} {token}");
            }
            assert!(!marked(dialect, &read));
        }
    }
}

#[tokio::test]
async fn stall_lasts_until_the_client_disconnects() {
    for dialect in ALL {
        for model in ["sim-stall5", "sim-stallfin", "sim-silent"] {
            let provider = start(dialect).await;
            let body = question(dialect);
            let ask = request(&provider, dialect, model, true, &body).send();
            let waiting = tokio::spawn(async move {
                let response = ask.await.unwrap();
                read(response).await
            });
            soon(provider.wait_for(1)).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(provider.counts().in_flight, 1, "{dialect:?} {model}");
            waiting.abort();
            soon(provider.wait_idle()).await;
            assert_eq!(provider.seen()[0].end(), Some(End::PeerClosed));
        }
    }
}

#[tokio::test]
async fn error_events_have_the_shape_of_the_dialect() {
    for dialect in ALL {
        for (token, seen) in [("err", 0), ("err5", 5)] {
            let read = stream(dialect, &format!("sim-{token}"), &question(dialect)).await;
            assert!(read.whole);
            assert_eq!((tokens(dialect, &read), finished(dialect, &read)), (seen, false), "{dialect:?} {token}");
            assert_eq!(marked(dialect, &read), mark(dialect), "the end marker follows the error");
            let events = read.events();
            let at = events.iter().position(|event| event["error"].is_object()).unwrap();
            if token == "err" {
                assert_eq!(at, 0);
            }
            let error = &events[at]["error"];
            match dialect {
                Dialect::Claude => {
                    assert!(read.text().contains("event: error\n"));
                    assert_eq!((&events[at]["type"], &error["type"]), (&json!("error"), &json!("api_error")));
                }
                Dialect::Gemini => assert_eq!((&error["code"], &error["status"]), (&json!(500), &json!("INTERNAL"))),
                _ => assert_eq!(error["type"], "server_error"),
            }
        }
    }
}

#[tokio::test]
async fn end_events_can_be_missing() {
    for dialect in ALL {
        let body = question(dialect);
        let read = stream(dialect, "sim-nodone", &body).await;
        assert!(read.whole && finished(dialect, &read) && !marked(dialect, &read), "{dialect:?}");
        let read = stream(dialect, "sim-nofinish", &body).await;
        assert!(read.whole && !finished(dialect, &read), "{dialect:?}");
        assert_eq!((marked(dialect, &read), tokens(dialect, &read)), (mark(dialect), 12));
        let read = stream(dialect, "sim-nofinish-nodone", &body).await;
        assert!(read.whole && !finished(dialect, &read) && !marked(dialect, &read));
    }
}

#[tokio::test]
async fn additional_events_keep_the_valid_ones() {
    for dialect in ALL {
        let good = stream(dialect, "sim", &question(dialect)).await;
        let of_good = good.text().replace("sim", "");
        for token in ["bad5", "odd5", "pings"] {
            let read = stream(dialect, &format!("sim-{token}"), &question(dialect)).await;
            assert_eq!((tokens(dialect, &read), read.whole), (12, true), "{dialect:?} {token}");
            assert!(finished(dialect, &read));
            assert!(read.text().len() > of_good.len());
            let broken = read.data().iter().filter(|data| data.starts_with('{') && !data.ends_with('}')).count();
            assert_eq!(broken, usize::from(token == "bad5"), "{dialect:?} {token}");
        }
    }
}

#[tokio::test]
async fn content_survives_splits_and_line_ends() {
    for dialect in ALL {
        let answer = plain(dialect, "sim", &question(dialect)).await;
        for token in ["split7", "crlf", "crlf-split3", "d1", "drip1-t2", "huge1-t2"] {
            let read = stream(dialect, &format!("sim-{token}"), &question(dialect)).await;
            assert!(read.whole);
            assert_eq!(marked(dialect, &read), mark(dialect));
            let crlf = read.text().contains("\r\n");
            assert_eq!(crlf, token.contains("crlf"));
            // Azure's first chunk has no choice, which the fold ignores.
            let folded = fold(dialect, &read.events());
            match token {
                "huge1-t2" => assert!(text(dialect, &folded).len() > 1024),
                "drip1-t2" => assert_eq!(tokens(dialect, &read), 2),
                _ => assert_eq!(text(dialect, &folded), text(dialect, &answer), "{dialect:?} {token}"),
            }
            assert_eq!(finish(dialect, &folded), finish(dialect, &answer));
        }
    }
}

#[tokio::test]
async fn swaps_streams_and_plain_bodies() {
    for dialect in ALL {
        let body = question(dialect);
        for streamed in [false, true] {
            let (_provider, response) = send(dialect, "sim-html", streamed, &body).await;
            assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
            assert!(soon(read(response)).await.text().contains("<html>"));
            let (_provider, response) = send(dialect, "sim-empty", streamed, &body).await;
            assert_eq!(response.status(), 200);
            assert!(soon(read(response)).await.bytes.is_empty());
            let (_provider, response) = send(dialect, "sim-swap", streamed, &body).await;
            let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
            assert_eq!(content_type.starts_with("text/event-stream"), !streamed, "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn plain_bodies_are_truncated_or_errors() {
    for dialect in ALL {
        let body = question(dialect);
        for token in ["short", "chop", "cut5", "rst5", "bad"] {
            let (_provider, response) = send(dialect, &format!("sim-{token}"), false, &body).await;
            let read = soon(read(response)).await;
            assert_eq!(read.whole, token == "bad", "{dialect:?} {token}");
            assert!(serde_json::from_slice::<Value>(&read.bytes).is_err());
        }
        let (_provider, response) = send(dialect, "sim-err", false, &body).await;
        assert_eq!(response.status(), 200);
        assert!(soon(read(response)).await.json()["error"].is_object());
    }
}

#[tokio::test]
async fn usage_can_be_absent() {
    for dialect in ALL {
        let mut body = question(dialect);
        if matches!(dialect, Dialect::OpenAi | Dialect::Azure) {
            body["stream_options"] = json!({"include_usage": true});
        }
        assert!(stream(dialect, "sim", &body).await.text().to_lowercase().contains("usage"));
        let read = stream(dialect, "sim-nousage", &body).await;
        assert!(!read.text().contains("tokens\":") && !read.text().contains("TokenCount"), "{dialect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn delays_heads_and_tokens() {
    for dialect in ALL {
        let provider: Provider = start(dialect).await;
        for (model, hours_to_head) in [("sim-head3600000", 1), ("sim-late3600000", 0)] {
            let begin = tokio::time::Instant::now();
            let response = request(&provider, dialect, model, true, &question(dialect)).send().await.unwrap();
            let hour = Duration::from_secs(3600);
            assert_eq!(begin.elapsed() >= hour, hours_to_head == 1, "{dialect:?} {model}");
            assert!(read(response).await.whole);
            assert!(begin.elapsed() >= hour);
        }
    }
}
