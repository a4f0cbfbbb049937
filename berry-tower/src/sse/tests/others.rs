//! Tests of the Responses, Messages and opaque grammars.

use super::{Bytes, ErrorEvent, Grammar, StreamFault, StreamFilter, Usage, error, fed, of, run};

fn event(kind: &str, rest: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n")
}

#[test]
fn responses_run_from_preamble_to_completed() {
    let stream =
        [event("response.created", ",\"response\":{\"error\":null}"), event("response.in_progress", "")].concat();
    assert!(!fed(Grammar::Responses, &[&stream]).0.output_seen());
    let delta = event("response.output_text.delta", ",\"delta\":\"hi\"");
    assert!(fed(Grammar::Responses, &[&stream, &delta]).0.output_seen());
    let cut = of(Grammar::Responses, &format!("{stream}{delta}"));
    assert_eq!(cut.result, Err(StreamFault::Interrupted));
    let usage = ",\"response\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":4,\"input_tokens_details\":{\"cached_tokens\":1}}}";
    for end in ["response.completed", "response.incomplete", "response.failed"] {
        let stream = format!("{stream}{delta}{}", event(end, usage));
        let run = of(Grammar::Responses, &stream);
        assert_eq!(run.result, Ok(()));
        assert_eq!(run.sent(), stream, "no [DONE] is added");
        assert_eq!(run.filter.usage(), Some(Usage { input: 9, output: 4, cached: 1, ..Usage::default() }));
    }
    let empty = of(Grammar::Responses, &stream);
    assert_eq!(empty.result, Err(StreamFault::NoOutput));
}

#[test]
fn a_response_that_fails_before_output_is_an_error() {
    let failed = event("response.failed", ",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}");
    let run = of(Grammar::Responses, &format!("{}{failed}", event("response.created", "")));
    let told = ErrorEvent { message: Some("m".to_owned()), kind: None, code: Some("server_error".to_owned()) };
    assert_eq!(run.result, Err(StreamFault::Error(told)));
    assert!(!run.sent().contains("failed"));
    let flat = event("error", ",\"code\":null,\"message\":\"flat\"");
    assert_eq!(of(Grammar::Responses, &flat).result, Err(error("flat")));
}

#[test]
fn done_of_another_grammar_never_completes_a_stream() {
    let delta = event("response.output_text.delta", ",\"delta\":\"x\"");
    let run = of(Grammar::Responses, &format!("{delta}data: [DONE]\n\n"));
    assert_eq!(run.result, Err(StreamFault::Interrupted));
    assert_eq!(run.sent(), delta);
    let end = event("response.completed", "");
    let whole = format!("{end}data: [DONE]\n\n");
    assert_eq!(of(Grammar::Responses, &whole).sent(), end);
}

#[test]
fn done_follows_the_end_of_a_response_where_it_is_asked_for() {
    for tail in ["", "data: [DONE]\n\n"] {
        // Longer than what is held.
        let end = event("response.completed", &format!(",\"response\":{{\"x\":\"{}\"}}", "x".repeat(40_000)));
        let (mut filter, mut sent) = (StreamFilter::new(Grammar::Responses, false).done_event(true), Vec::new());
        filter.push(format!("{end}{tail}").into(), &mut |bytes| sent.extend_from_slice(&bytes)).unwrap();
        assert!(filter.closed());
        filter.end(&mut |bytes| sent.extend_from_slice(&bytes)).unwrap();
        assert_eq!(String::from_utf8(sent).unwrap(), format!("{end}data: [DONE]\n\n"));
    }
}

#[test]
fn the_line_event_gives_the_type_when_the_data_does_not() {
    let run = of(Grammar::Responses, "event: response.completed\ndata: {}\n\n");
    assert_eq!(run.result, Ok(()));
    let run = of(Grammar::Messages, "event: error\ndata: {\"error\":{\"message\":\"x\"}}\n\n");
    assert_eq!(run.result, Err(error("x")));
}

#[test]
fn messages_run_from_start_to_stop() {
    let start = event(
        "message_start",
        ",\"message\":{\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":2,\"output_tokens\":1}}",
    );
    let quiet = [
        start.clone(),
        event("ping", ""),
        event("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}"),
        event("content_block_delta", ",\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}"),
        event("new_type", ",\"delta\":{\"text\":\"x\"}"),
    ]
    .concat();
    assert!(!fed(Grammar::Messages, &[&quiet]).0.output_seen());
    let stop_reason =
        event("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":30}");
    let output = [
        event("content_block_delta", ",\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}"),
        event("content_block_delta", ",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}"),
        event("content_block_start", ",\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\"}"),
        stop_reason.clone(),
    ];
    for output in &output {
        assert!(fed(Grammar::Messages, &[&quiet, output]).0.output_seen(), "{output}");
    }
    let cut = format!("{quiet}{}{stop_reason}", output[0]);
    assert_eq!(of(Grammar::Messages, &cut).result, Err(StreamFault::Interrupted));
    let whole = format!("{cut}{}", event("message_stop", ""));
    let run = of(Grammar::Messages, &whole);
    assert_eq!(run.result, Ok(()));
    assert_eq!(run.sent(), whole);
    assert_eq!(
        run.filter.usage(),
        Some(Usage { input: 17, output: 30, cached: 5, cache_write: 2, ..Usage::default() })
    );
    // Without a reason for its end it is no whole message, whatever it says.
    let untold = of(Grammar::Messages, &format!("{quiet}{}{}", output[0], event("message_stop", "")));
    assert_eq!(untold.result, Err(StreamFault::Interrupted));
    assert!(!untold.sent().contains("message_stop"));
    let empty = of(Grammar::Messages, &format!("{quiet}{}", event("message_stop", "")));
    assert_eq!(empty.result, Err(StreamFault::NoOutput));
    assert!(!empty.sent().contains("message_stop"));
}

#[test]
fn reports_an_error_in_a_message_and_none_after_its_end() {
    let overloaded = event("error", ",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}");
    let run = of(Grammar::Messages, &overloaded);
    let told = ErrorEvent { message: Some("m".to_owned()), kind: Some("overloaded_error".to_owned()), code: None };
    assert_eq!(run.result, Err(StreamFault::Error(told)));
    let stop =
        [event("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\"}"), event("message_stop", "")].concat();
    let run = of(Grammar::Messages, &format!("{stop}{overloaded}"));
    assert_eq!(run.result, Ok(()));
    assert_eq!(run.sent(), stop);
}

#[test]
fn opaque_bodies_pass_unchanged() {
    let bytes: &[&[u8]] = &[b"\0\xff<html>", b"data: [DONE]\n\n", b"{"];
    let whole = run(StreamFilter::new(Grammar::Opaque, true), bytes, true);
    assert_eq!(whole.result, Ok(()));
    assert_eq!(whole.sent, bytes.concat());
    assert!(whole.filter.output_seen() && whole.filter.finished());
    assert!(!whole.filter.between_events());
    let cut = run(StreamFilter::new(Grammar::Opaque, true), bytes, false);
    assert_eq!(cut.result, Err(StreamFault::Interrupted));
    let empty = run(StreamFilter::new(Grammar::Opaque, true), &[], true);
    assert_eq!(empty.result, Err(StreamFault::NoOutput));
}

#[test]
fn debug_shows_no_content() {
    let (mut filter, _) = fed(Grammar::Chat, &["data: {\"choices\":[{\"delta\":{\"content\":\"secret"]);
    assert!(!format!("{filter:?}").contains("secret"));
    assert!(filter.end(&mut |_: Bytes| {}).is_err());
}
