//! Each fault, plain and streamed, in each format behind and in front, with one backend and with a
//! healthy one of another format beside it.

use std::{panic::AssertUnwindSafe, time::Duration};

use berry_simulated::{AFTER_FINISH, Behavior, Dialect, Fault};
use berry_tower::backend::Stage;
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::{
    answer::{Answer, Front},
    support::{FORMATS, Format, Plan, Wall},
};

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

/// What comes of it where the first backend speaks another format than OpenAI's: each provider has
/// its own words for some of it, and its own way to end a stream.
fn as_told_by(format: Format, case: Case) -> Case {
    let (name, Format(dialect, _)) = (case.name, format);
    let cut = |code, class, case: Case| Case { alone: (Part(code), 1), beside: (Part(code), [1, 0]), class, ..case };
    match (dialect, name) {
        // A 404 of all backends is told as it came.
        (Dialect::Azure, "404") => Case { alone: (Refused(404, "DeploymentNotFound"), 1), ..case },
        (Dialect::Gemini, "404") => Case { alone: (Refused(404, "404"), 1), ..case },
        // Google's word for a 503 is that of an overload.
        (Dialect::Gemini, "503") => Case { alone: (Refused(503, "overloaded"), 3), ..case },
        (Dialect::Azure, "refused") => Case::counts(name, case.fault, Refused(400, "content_filter"), "caller"),
        // Anthropic says so in words alone.
        (Dialect::Claude, "refused") => Case::counts(name, case.fault, Refused(400, ""), "caller"),
        // An answer with nothing in it but the reason.
        (Dialect::Gemini, "refused") => Case::counts(name, case.fault, Whole, "success"),
        (Dialect::Gemini, "quota") => {
            Case::fails(name, case.fault, Refused(429, "upstream_rate_limited"), "rate_limit")
        }
        // Only `message_stop` ends a message.
        (Dialect::Claude, "no [DONE]" | "cut after the end" | "reset after the end") => {
            cut("upstream_stream_interrupted", "network", case)
        }
        (Dialect::Claude, "stalls after the end") => {
            cut("upstream_timeout", "timeout", case).takes([5000, 6000], [5000, 6000])
        }
        _ => case,
    }
}

/// The type that Anthropic's API has for an error with this status, or of this code in a stream.
fn kind(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (400, _) => "invalid_request_error",
        (404, _) => "not_found_error",
        (429, _) => "rate_limit_error",
        (503, _) => "overloaded_error",
        (504, _) | (200, "upstream_timeout") => "timeout_error",
        _ => "api_error",
    }
}

fn check_told(what: &str, told: Told, answer: &Answer, stream: bool) {
    let what = format!("{what}: {answer:?}");
    let name = |status, code| match answer.front {
        Front::Chat => code,
        Front::Messages => kind(status, code),
        Front::Responses => code,
    };
    match told {
        Whole => assert!(answer.is_whole() && answer.is_stream() == stream, "{what}"),
        Refused(status, code) => {
            assert_eq!(
                (answer.status.as_u16(), answer.code().as_deref()),
                (status, Some(name(status, code))),
                "{what}"
            );
            assert!(answer.clean && !answer.is_stream(), "{what}");
            let (body, chat) = (answer.json(), answer.front != Front::Messages);
            let error = &body["error"];
            // Azure's own refusals have a type that is null.
            let typed = error["type"].is_string() || chat && code == "content_filter";
            assert!(error["message"].is_string() && typed, "{what}");
            assert!(if chat { error.get("param").is_some() } else { body["type"] == "error" }, "{what}");
        }
        Part(code) => {
            assert_eq!((answer.status.as_u16(), answer.code().as_deref()), (200, Some(name(200, code))), "{what}");
            assert!(!answer.clean && !answer.done() && !answer.looks_whole(), "{what}");
            assert!(answer.front == Front::Chat || answer.is_in_grammar(), "{what}");
            // Anthropic's reason comes before the end, and is passed on.
            assert!(answer.finish_reason().is_none() || answer.front == Front::Messages, "{what}");
            let failed = answer.events().pop().is_some_and(|event| event["type"] == "response.failed");
            assert_eq!(failed, answer.front == Front::Responses, "{what}");
        }
    }
}

fn check_time(what: &str, [least, most]: [u64; 2], answer: &Answer) {
    let took = u64::try_from(answer.told().as_millis()).unwrap();
    // The paused clock moves a little while sockets are at work.
    assert!((least..=most + 100).contains(&took), "{what}: told after {took} ms, not {least} to {most}");
}

async fn run(what: &str, case: &Case, stream: bool, wall: &Wall) {
    wall.set(0, case.fault.clone());
    let began = Instant::now();
    let answer = wall.ask(stream).await;
    wall.settle().await;
    if wall.providers.len() == 1 {
        check_told(what, case.alone.0, &answer, stream);
        assert_eq!(wall.counts(), [case.alone.1], "{what}: {:?}", wall.calls(0, began));
        check_time(what, case.time_alone, &answer);
        let failures = if matches!(case.alone.0, Whole) { 1 } else { case.alone.1 };
        assert_eq!(wall.outcomes(0, case.class), failures as u64, "{what}: {:?}", wall.state(0));
    } else {
        check_told(what, case.beside.0, &answer, stream);
        assert_eq!(wall.counts(), case.beside.1, "{what}");
        check_time(what, case.time_beside, &answer);
        let first = if case.beside.1[1] > 0 && case.class == "success" { "timeout" } else { case.class };
        assert_eq!(wall.outcomes(0, first), 1, "{what}: {:?}", wall.state(0));
        let (backend, attempts) = if case.beside.1[1] > 0 { (1, "2") } else { (0, "1") };
        assert_eq!(wall.outcomes(1, "success"), case.beside.1[1] as u64, "{what}");
        assert_eq!(
            (answer.header("x-berry-backend"), answer.header("x-berry-attempts")),
            (&*wall.id(backend), attempts),
            "{what}"
        );
        check_state(what, first, &wall.state(0));
    }
    // An answer that a filter has stopped is whole and says nothing.
    let filtered = answer.is_whole() && answer.content().is_empty();
    let before = if filtered { Answer { text: String::new(), clean: false, ..answer } } else { answer };
    wall.next_works(&before).await;
}

fn check_state(what: &str, class: &str, state: &berry_tower::backend::BackendStateSnapshot) {
    let is_backend_failure = matches!(class, "auth" | "model" | "server" | "timeout" | "network");
    assert_eq!(state.view.stage == Stage::Unhealthy, is_backend_failure, "{what}: {state:?}");
    assert_eq!(state.view.cooling.is_some(), class == "rate_limit", "{what}: {state:?}");
}

/// All faults of one way to answer, of the first backend in each format; beside it, each of the
/// other formats has its turn.
async fn all(stream: bool, backends: usize, front: Front) {
    let (mut cases, mut pools) = (Vec::new(), Vec::new());
    for (at, first) in FORMATS.into_iter().enumerate() {
        let more = if stream { streamed() } else { plain() };
        for (turn, case) in either(stream).into_iter().chain(more).enumerate() {
            let beside = FORMATS[(at + 1 + turn % 4) % FORMATS.len()];
            let pool = [first, beside][..backends].to_vec();
            cases.push((format!("{}, stream {stream}, {pool:?} to {front:?}", case.name), as_told_by(first, case)));
            pools.push(pool);
        }
    }
    let walls = Plan::pools(pools).front(front).settings(SETTINGS).start_all().await;
    // Each of them is run, whatever becomes of the others.
    let mut failed = Vec::new();
    for ((what, case), wall) in cases.iter().zip(&walls) {
        if AssertUnwindSafe(run(what, case, stream, wall)).catch_unwind().await.is_err() {
            failed.push(what);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_plain_answer_with_one_backend() {
    all(false, 1, Front::Chat).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_plain_answer_with_two_backends() {
    all(false, 2, Front::Chat).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_stream_with_one_backend() {
    all(true, 1, Front::Chat).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_stream_with_two_backends() {
    all(true, 2, Front::Chat).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_plain_message_with_one_backend() {
    all(false, 1, Front::Messages).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_plain_message_with_two_backends() {
    all(false, 2, Front::Messages).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_streamed_message_with_one_backend() {
    all(true, 1, Front::Messages).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_streamed_message_with_two_backends() {
    all(true, 2, Front::Messages).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_plain_response_with_one_backend() {
    all(false, 1, Front::Responses).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_plain_response_with_two_backends() {
    all(false, 2, Front::Responses).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_streamed_response_with_one_backend() {
    all(true, 1, Front::Responses).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_streamed_response_with_two_backends() {
    all(true, 2, Front::Responses).await;
}
