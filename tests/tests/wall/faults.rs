//! Each fault, plain and streamed, with one backend and with a healthy one beside it.

use std::time::Duration;

use berry_server::simulated::{AFTER_FINISH, Behavior, Fault};
use berry_tower::backend::Stage;
use tokio::time::Instant;

use crate::{answer::Answer, support::Plan};

const SETTINGS: &str = "request_timeout_seconds = 7\nplain_timeout_seconds = 9\n\
    stream_idle_timeout_seconds = 5\nfirst_token_timeout_seconds = 3\nstream_keepalive_seconds = 0";

/// The most that two back-offs of one request take.
const BACK_OFFS: u64 = 750;

/// What the client is told.
#[derive(Clone, Copy, Debug)]
enum Told {
    Whole,
    /// A status and a code.
    Refused(u16, &'static str),
    /// A part, then an error event with this code.
    Part(&'static str),
}
use Told::{Part, Refused, Whole};

/// A fault, and what is to come of it.
struct Case {
    name: &'static str,
    fault: Behavior,
    /// What the client is told when nobody else is there, after how many attempts.
    alone: (Told, usize),
    /// And when somebody healthy is; then each is asked once, unless the first answer counts.
    beside: (Told, [usize; 2]),
    /// How the first attempt ended.
    class: &'static str,
    /// When the client has heard all, at the earliest and at the latest, in milliseconds.
    time_alone: [u64; 2],
    time_beside: [u64; 2],
}

impl Case {
    /// It fails for ever at once, and is asked again twice.
    fn fails(name: &'static str, fault: impl Into<Behavior>, told: Told, class: &'static str) -> Self {
        Self {
            name,
            fault: fault.into(),
            alone: (told, 3),
            beside: (Whole, [1, 1]),
            class,
            time_alone: [0, BACK_OFFS],
            time_beside: [0, 0],
        }
    }

    /// It is asked once, and what it says counts.
    fn counts(name: &'static str, fault: impl Into<Behavior>, told: Told, class: &'static str) -> Self {
        let case = Self::fails(name, fault, told, class);
        Self { alone: (told, 1), beside: (told, [1, 0]), time_alone: [0, 0], ..case }
    }

    /// It recovers after one failure.
    fn once(name: &'static str, fault: impl Into<Behavior>, class: &'static str) -> Self {
        let case = Self::fails(name, fault, Whole, class);
        Self { alone: (Whole, 2), time_alone: [0, 250], ..case }
    }

    /// It is asked once, and somebody else does better.
    fn not_again(self) -> Self {
        Self { alone: (self.alone.0, 1), time_alone: [0, 0], ..self }
    }

    /// It takes so long alone, and so long beside another.
    fn takes(self, alone: [u64; 2], beside: [u64; 2]) -> Self {
        Self { time_alone: alone, time_beside: beside, ..self }
    }
}

fn either(stream: bool) -> Vec<Case> {
    let upstream_error = Refused(502, "upstream_error");
    let head = if stream { 7000 } else { 9000 };
    // While others are left, the first token's deadline is a stream's head's too.
    let head_beside = if stream { 3000 } else { 9000 };
    vec![
        Case::once("429 with Retry-After, once", Fault::Status(429).retry_after(2).once(), "rate_limit")
            .takes([2000, 2050], [0, 0]),
        Case::fails("429", Fault::Status(429), Refused(429, "upstream_rate_limited"), "rate_limit"),
        Case::once("500 once", Fault::Status(500).once(), "server"),
        Case::fails("503", Fault::Status(503), upstream_error, "server"),
        Case::fails("overloaded", Fault::Overloaded, Refused(503, "overloaded"), "server"),
        Case::fails("reset", Fault::Reset, upstream_error, "network"),
        Case::fails("silent", Fault::Silent, Refused(504, "upstream_timeout"), "timeout")
            .not_again()
            .takes([head, head + 50], [head_beside, head_beside + 50]),
        Case::counts("too long", Fault::ContextLength, Refused(400, "context_length_exceeded"), "too_long"),
        Case::counts("refused", Fault::ContentPolicy, Refused(400, "content_policy_violation"), "caller"),
        Case::fails("401", Fault::BadKey, Refused(502, "upstream_auth"), "auth").not_again(),
        Case::fails("quota", Fault::Quota, Refused(502, "upstream_auth"), "auth").not_again(),
        Case::fails("404", Fault::Status(404), Refused(404, "model_not_found"), "model").not_again(),
        Case::fails("error first", Fault::ErrorFirst, upstream_error, "server"),
        Case::fails("html", Fault::Html, upstream_error, "server"),
        Case::fails("empty", Fault::Empty, upstream_error, "server"),
        Case::fails("swapped", Fault::Swap, upstream_error, "server"),
    ]
}

fn plain() -> Vec<Case> {
    let upstream_error = Refused(502, "upstream_error");
    let fails = |name, fault, class| Case::fails(name, fault, upstream_error, class);
    vec![
        fails("breaks off by length", Fault::Short, "network"),
        fails("breaks off in chunks", Fault::Chopped, "network"),
        fails("is reset", Fault::ResetAfter(1), "network"),
        fails("is half a document", Fault::Malformed(1), "server"),
        Case::fails("stalls", Fault::StallAfter(20), Refused(504, "upstream_timeout"), "timeout")
            .takes([15_000, 15_000 + BACK_OFFS + 50], [5000, 5050]),
        Case::counts("comes late", Fault::LateFirstToken(Duration::from_secs(4)), Whole, "success")
            .takes([4000, 4050], [4000, 4050]),
    ]
}

fn streamed() -> Vec<Case> {
    let (cut, late) = (Part("upstream_stream_interrupted"), Fault::LateFirstToken(Duration::from_secs(4)));
    let late = Case::counts("comes late", late, Whole, "success").takes([4000, 4050], [3000, 3050]);
    vec![
        // The last one left is waited for.
        Case { beside: (Whole, [1, 1]), ..late },
        Case::counts("cut", Fault::CutAfter(40), cut, "network"),
        Case::counts("reset in the middle", Fault::ResetAfter(40), cut, "network"),
        Case::counts("breaks off by length", Fault::Short, cut, "network"),
        Case::counts("breaks off in chunks", Fault::Chopped, cut, "network"),
        Case::counts("error in the middle", Fault::ErrorAfter(20), cut, "server"),
        Case::counts("no finish_reason", Fault::NoFinish, cut, "network"),
        Case::counts("stalls", Fault::StallAfter(20), Part("upstream_timeout"), "timeout")
            .takes([5000, 6000], [5000, 6000]),
        Case::counts("malformed", Fault::Malformed(5), Whole, "success"),
        Case::counts("no [DONE]", Fault::NoDone, Whole, "success"),
        Case::counts("CRLF", Fault::Crlf, Whole, "success"),
        Case::counts("in pieces", Fault::Split(7), Whole, "success"),
        Case::counts("cut after the end", Fault::CutAfter(AFTER_FINISH), Whole, "success"),
        Case::counts("reset after the end", Fault::ResetAfter(AFTER_FINISH), Whole, "success"),
        Case::counts("stalls after the end", Fault::StallAfter(AFTER_FINISH), Whole, "success")
            .takes([0, 6000], [0, 6000]),
    ]
}

fn check_told(case: &Case, told: Told, answer: &Answer, stream: bool) {
    let what = format!("{}, stream {stream}: {answer:?}", case.name);
    match told {
        Whole => assert!(answer.is_whole() && answer.is_stream() == stream, "{what}"),
        Refused(status, code) => {
            assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (status, Some(code)), "{what}");
            assert!(answer.clean && !answer.is_stream(), "{what}");
            let error = &answer.json()["error"];
            assert!(
                error["message"].is_string() && error["type"].is_string() && error.get("param").is_some(),
                "{what}"
            );
        }
        Part(code) => {
            assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (200, Some(code)), "{what}");
            assert!(!answer.clean && !answer.done() && !answer.looks_whole(), "{what}");
            assert!(answer.finish_reason().is_none(), "{what}");
        }
    }
}

fn check_time(case: &Case, [least, most]: [u64; 2], answer: &Answer) {
    let took = u64::try_from(answer.told().as_millis()).unwrap();
    // The paused clock moves a little while sockets are at work.
    assert!((least..=most + 100).contains(&took), "{}: told after {took} ms, not {least} to {most}", case.name);
}

async fn run(case: &Case, stream: bool, backends: usize) {
    let wall = Plan::of(backends).settings(SETTINGS).start().await;
    wall.set(0, case.fault.clone());
    let began = Instant::now();
    let answer = wall.ask(stream).await;
    wall.settle().await;
    let what = format!("{}, stream {stream}, {backends} backends", case.name);
    if backends == 1 {
        check_told(case, case.alone.0, &answer, stream);
        assert_eq!(wall.counts(), [case.alone.1], "{what}: {:?}", wall.calls(0, began));
        check_time(case, case.time_alone, &answer);
        let failures = if matches!(case.alone.0, Whole) { 1 } else { case.alone.1 };
        assert_eq!(wall.outcomes(0, case.class), failures as u64, "{what}: {:?}", wall.state(0));
    } else {
        check_told(case, case.beside.0, &answer, stream);
        assert_eq!(wall.counts(), case.beside.1, "{what}");
        check_time(case, case.time_beside, &answer);
        let first = if case.beside.1[1] > 0 && case.class == "success" { "timeout" } else { case.class };
        assert_eq!(wall.outcomes(0, first), 1, "{what}: {:?}", wall.state(0));
        let (backend, attempts) = if case.beside.1[1] > 0 { ("p1:sim", "2") } else { ("p0:sim", "1") };
        assert_eq!(wall.outcomes(1, "success"), case.beside.1[1] as u64, "{what}");
        assert_eq!(
            (answer.header("x-berry-backend"), answer.header("x-berry-attempts")),
            (backend, attempts),
            "{what}"
        );
        check_state(case, first, &wall.state(0));
    }
    wall.next_works(&answer).await;
}

fn check_state(case: &Case, class: &str, state: &berry_tower::backend::LiveSnapshot) {
    let tells_against = matches!(class, "auth" | "model" | "server" | "timeout" | "network");
    assert_eq!(state.view.stage == Stage::Unhealthy, tells_against, "{}: {state:?}", case.name);
    assert_eq!(state.view.cooling.is_some(), class == "rate_limit", "{}: {state:?}", case.name);
}

#[tokio::test(start_paused = true)]
async fn of_a_plain_answer_with_one_backend() {
    for case in either(false).iter().chain(&plain()) {
        run(case, false, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_plain_answer_with_two_backends() {
    for case in either(false).iter().chain(&plain()) {
        run(case, false, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_stream_with_one_backend() {
    for case in either(true).iter().chain(&streamed()) {
        run(case, true, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_stream_with_two_backends() {
    for case in either(true).iter().chain(&streamed()) {
        run(case, true, 2).await;
    }
}
