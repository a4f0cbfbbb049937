//! Tests of the chat and completions grammars.

use super::{Bytes, ErrorEvent, Grammar, StreamFault, StreamFilter, Usage, chat, error, fed, of, run};

const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_whole_stream_passes_byte_for_byte() {
    let stream = format!(": hello\n\n{ROLE}event: chunk\nid: 4\nretry: 10\n{HI}{STOP}{USAGE}{DONE}");
    let run = chat(&stream);
    assert_eq!(run.result, Ok(()));
    assert_eq!(run.sent(), stream);
    assert!(run.filter.finished() && run.filter.closed() && run.filter.output_seen());
    assert_eq!(run.filter.usage(), Some(Usage { input: 7, output: 3, cached: 2, ..Usage::default() }));
    assert_eq!(run.filter.events(), 5, "the comment is none");
}

#[test]
fn events_in_one_frame_go_out_as_one_piece_of_that_frame() {
    let frame = Bytes::from(format!("{ROLE}{HI}data: {{\"ch"));
    let mut filter = StreamFilter::new(Grammar::Chat, false);
    let mut pieces = Vec::new();
    filter.push(frame.clone(), &mut |b| pieces.push(b)).unwrap();
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].as_ptr(), frame.as_ptr(), "not a copy");
    assert_eq!(pieces[0].len(), ROLE.len() + HI.len());
}

#[test]
fn preamble_has_no_output() {
    for quiet in [
        ROLE,
        ": comment\n\n",
        "data: {\"choices\":[]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[],\"content\":null,\"reasoning\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"x\":\"y\"},\"logprobs\":{\"content\":[1]}}]}\n\n",
        "data: {\"choices\":[{\"finish_reason\":null}],\"delta\":{\"content\":\"x\"}}\n\n",
        "data: {\"choices\":[{\"finish_reason\":\"\"}]}\n\n",
    ] {
        let (filter, sent) = fed(Grammar::Chat, &[quiet]);
        assert!(!filter.output_seen(), "{quiet}");
        assert_eq!(sent, quiet);
    }
}

#[test]
fn recognises_every_kind_of_output() {
    for delta in [
        "\"content\":\"x\"",
        "\"content\":[{\"type\":\"text\"}]",
        "\"tool_calls\":[{\"index\":0}]",
        "\"function_call\":{\"name\":\"f\"}",
        "\"refusal\":\"no\"",
        "\"reasoning\":\"hm\"",
        "\"reasoning_content\":\"hm\"",
        "\"audio\":{\"id\":\"a\"}",
        "\"c\\u006fntent\":\"\\n\"",
    ] {
        let event = format!("data: {{\"choices\":[{{\"delta\":{{{delta}}}}}]}}\n\n");
        assert!(fed(Grammar::Chat, &[&event]).0.output_seen(), "{delta}");
    }
    assert!(fed(Grammar::Chat, &[STOP]).0.output_seen());
    let text = "data: {\"choices\":[{\"text\":\"x\",\"index\":0,\"finish_reason\":null}]}\n\n";
    assert!(fed(Grammar::Completions, &[text]).0.output_seen());
    let no_text = "data: {\"choices\":[{\"text\":\"\",\"index\":0,\"finish_reason\":null}]}\n\n";
    assert!(!fed(Grammar::Completions, &[no_text]).0.output_seen());
}

#[test]
fn withholds_done_without_a_finish_reason() {
    let run = chat(&format!("{HI}{DONE}"));
    assert_eq!(run.result, Err(StreamFault::Interrupted));
    assert_eq!(run.sent(), HI);
    let run = chat(&format!("{ROLE}{DONE}"));
    assert_eq!(run.result, Err(StreamFault::NoOutput));
    assert_eq!(run.sent(), ROLE);
}

#[test]
fn done_ends_the_stream_at_once() {
    let (filter, sent) = fed(Grammar::Chat, &[STOP, DONE, HI, "\n\n", "data: {\"error\":1}\n\n"]);
    assert_eq!(sent, format!("{STOP}{DONE}"));
    assert!(filter.closed() && !filter.between_events());
}

#[test]
fn adds_a_missing_done() {
    for stream in [STOP.to_owned(), format!("{STOP}{USAGE}")] {
        let run = chat(&stream);
        assert_eq!(run.result, Ok(()));
        assert_eq!(run.sent(), format!("{stream}{DONE}"));
    }
}

#[test]
fn cut_after_the_last_finish_reason_is_no_fault() {
    let filter = || StreamFilter::new(Grammar::Chat, false);
    let cut = format!("{HI}{STOP}data: {{\"choices\":[],\"usa");
    let whole = run(filter(), &[cut.as_bytes()], false);
    assert_eq!(whole.result, Ok(()));
    assert_eq!(whole.sent(), format!("{HI}{STOP}{DONE}"));
    let early = run(filter(), &[HI.as_bytes()], false);
    assert_eq!(early.result, Err(StreamFault::Interrupted));
    assert_eq!(early.sent(), HI);
    let silent = run(filter(), &[], false);
    assert_eq!(silent.result, Err(StreamFault::Interrupted));
}

#[test]
fn every_choice_needs_a_finish_reason() {
    let choice = |index: &str, rest: &str| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"x\"}}{rest}}}]}}\n\n")
    };
    let finish = ",\"finish_reason\":\"length\"";
    let one = choice("0", finish);
    let other = choice("1", "");
    assert_eq!(chat(&format!("{other}{one}")).result, Err(StreamFault::Interrupted));
    assert_eq!(chat(&format!("{other}{one}{}", choice("1", finish))).result, Ok(()));

    let two = |stream: &str| {
        let filter = StreamFilter::new(Grammar::Chat, false).expected_choices(2);
        run(filter, &[stream.as_bytes()], true).result
    };
    assert_eq!(two(&one), Err(StreamFault::Interrupted), "the second never appeared");
    assert_eq!(two(&format!("{one}{}", choice("1", finish))), Ok(()));
    assert_eq!(two(&format!("{one}{one}")), Err(StreamFault::Interrupted));
    for odd in ["-1", "\"x\"", "4096", "0.5", "true", "[]", "{}"] {
        let stream = format!("{one}{}", choice(odd, finish));
        assert_eq!(chat(&stream).result, Err(StreamFault::Interrupted), "{odd}");
    }
}

#[test]
fn last_of_two_finish_reasons_counts() {
    for (twice, whole) in [("\"stop\",\"finish_reason\":null", false), ("null,\"finish_reason\":\"stop\"", true)] {
        let stream = format!("data: {{\"choices\":[{{\"finish_reason\":{twice}}}]}}\n\n");
        assert_eq!(chat(&stream).result.is_ok(), whole);
    }
    let stream = "data: {\"choices\":[{\"finish_reason\":\"stop\"}],\"choices\":[]}\n\n";
    assert!(chat(stream).result.is_err());
}

#[test]
fn an_error_in_any_event_is_an_error_event() {
    let bad = "data: {\"id\":\"x\",\"choices\":[{\"finish_reason\":\"stop\"}],\"error\":{\"message\":\"a\\u00e4\\n\",\"type\":\"server_error\",\"code\":502}}\n\n";
    for before in ["", HI, STOP] {
        let run = chat(&format!("{before}{bad}{DONE}"));
        let told = ErrorEvent {
            message: Some("a\u{e4}\n".to_owned()),
            kind: Some("server_error".to_owned()),
            code: Some("502".to_owned()),
        };
        assert_eq!(run.result, Err(StreamFault::Error(told)));
        assert_eq!(run.sent(), before);
    }
    assert_eq!(chat("data: {\"error\":\"overloaded\"}\n\n").result, Err(error("overloaded")));
    assert_eq!(chat("event: error\ndata: {\"message\":\"m\"}\n\n").result, Err(error("m")));
    assert_eq!(chat(&format!("data: {{\"error\":null}}\n\n{STOP}")).result, Ok(()));
}

#[test]
fn the_usage_chunk_is_hidden_when_only_the_gateway_asked() {
    let both = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1}}\n\n";
    let null = "data: {\"choices\":[],\"usage\":null}\n\n";
    let stream = format!("{both}{null}{STOP}{USAGE}{DONE}");
    let filter = StreamFilter::new(Grammar::Chat, true);
    let run = run(filter, &[stream.as_bytes()], true);
    assert_eq!(run.result, Ok(()));
    assert_eq!(run.sent(), format!("{both}{null}{STOP}{DONE}"));
    assert_eq!(run.filter.usage(), Some(Usage { input: 7, output: 3, cached: 2, ..Usage::default() }));
    assert_eq!(run.filter.malformed(), 0);
}

#[test]
fn a_malformed_event_is_left_out_and_counted() {
    for bad in [
        "data: {\"choices\":[{\n\n",
        "data:\n\n",
        "data\n\n",
        "data: oops\n\n",
        "data: [1]\n\n",
        "data: {\"a\":\"b\ndata: c\"}\n\n",
        "data: {} {}\n\n",
        "data: {\"a\":01}\n\n",
        "data:  [DONE]\n\n",
        "data: [DONE]x\n\n",
    ] {
        let run = chat(&format!("{HI}{bad}{STOP}{DONE}"));
        assert_eq!(run.result, Ok(()), "{bad}");
        assert_eq!(run.sent(), format!("{HI}{STOP}{DONE}"));
        assert_eq!(run.filter.malformed(), 1);
    }
    let bytes = [HI.as_bytes(), b"data: {\"a\":\"\xff\"}\n\n", STOP.as_bytes()].concat();
    let run = run(StreamFilter::new(Grammar::Chat, false), &[&bytes], true);
    assert_eq!((run.result, run.filter.malformed()), (Ok(()), 1));
}

#[test]
fn a_last_event_without_its_blank_line_counts_when_it_is_complete() {
    for cut in ["", "\n", "\r", "\r\n"] {
        let last = format!("{}{cut}", STOP.trim_end());
        let run = chat(&format!("{HI}{last}"));
        assert_eq!(run.result, Ok(()), "{cut:?}");
        let owed = if cut.ends_with('\n') { "\n" } else { "\n\n" };
        assert_eq!(run.sent(), format!("{HI}{last}{owed}{DONE}"));
        let run = chat(&format!("{STOP}data: [DONE]{cut}"));
        assert_eq!(run.sent(), format!("{STOP}data: [DONE]{cut}{owed}"));
    }
    let half = &STOP[..STOP.len() - 4];
    let run = chat(&format!("{HI}{half}"));
    assert_eq!(run.result, Err(StreamFault::Interrupted));
    assert_eq!(run.sent(), HI);
}

#[test]
fn rejects_a_body_that_is_no_event_stream_before_any_output() {
    for body in
        ["<html>", "OK", "\n\r\n  x", "database: x\n", "dat\n", "\u{feff}{}", "[1]", "ev{\"error\":1}", "\u{fb01}"]
    {
        let run = chat(body);
        assert_eq!(run.result, Err(StreamFault::NotEvents(None)), "{body}");
        assert_eq!(run.sent(), "");
    }
    let told = |message: &str| {
        let error = ErrorEvent { message: Some(message.to_owned()), ..ErrorEvent::default() };
        Err(StreamFault::NotEvents(Some(error)))
    };
    assert_eq!(chat("\n{\"error\": {\"message\":\"no\"}}").result, told("no"));
    assert_eq!(chat("{\"error\": \"cut\", \"x").result, told("cut"));
    assert_eq!(chat("{\"data\": []}").result, Err(StreamFault::NotEvents(None)));
    let blank = "\n".repeat(20_000);
    assert_eq!(chat(&blank).result, Err(StreamFault::NotEvents(None)));
}

#[test]
fn empty_stream_has_no_output() {
    for body in ["", "\n\n", "\u{feff}", ": comment\n\n", "da", "data", ROLE] {
        assert_eq!(chat(body).result, Err(StreamFault::NoOutput), "{body:?}");
    }
}

#[test]
fn a_byte_order_mark_passes() {
    let run = chat(&format!("\u{feff}{HI}{STOP}"));
    assert_eq!(run.result, Ok(()));
    assert_eq!(run.sent(), format!("\u{feff}{HI}{STOP}{DONE}"));
}

#[test]
fn emits_a_long_event_in_pieces_and_reads_it() {
    let text = "x".repeat(1 << 20);
    let event =
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}\n\n");
    let mut filter = StreamFilter::new(Grammar::Chat, false);
    let mut sent = 0;
    let mut most_behind = 0;
    for (i, frame) in event.as_bytes().chunks(1000).enumerate() {
        filter
            .push(Bytes::copy_from_slice(frame), &mut |b: Bytes| {
                sent += b.len();
            })
            .unwrap();
        let fed = (i * 1000 + frame.len()).min(event.len());
        most_behind = most_behind.max(fed - sent);
        assert!(sent == 0 || sent == event.len() || !filter.between_events());
    }
    assert!(most_behind <= 16 * 1024);
    assert_eq!(sent, event.len());
    assert!(filter.output_seen() && filter.finished() && filter.between_events());
    assert_eq!(filter.events(), 1);
    assert_eq!(of(Grammar::Chat, &event).result, Ok(()));
}

#[test]
fn malformed_long_event_is_a_fault() {
    let text = "x".repeat(20_000);
    let open = format!("data: {{\"a\":\"{text}\"");
    for bad in [format!("{HI}{open}]\n\n{STOP}"), format!("{HI}{open}")] {
        let run = chat(&bad);
        assert_eq!(run.result, Err(StreamFault::Interrupted));
        assert!(run.filter.torn() && !run.filter.between_events());
    }
    let run = chat(&format!("{open},\"error\":{{\"message\":\"late\"}}}}\n\n"));
    assert_eq!(run.result, Err(error("late")));
    assert!(run.filter.torn() && !run.sent().contains("late"));
    // What shows early enough can still be left out.
    let run = chat(&format!("{HI}data: oops{text}\n\n{STOP}"));
    assert_eq!((run.result.clone(), run.filter.malformed()), (Ok(()), 1));
    assert_eq!(run.sent(), format!("{HI}{STOP}{DONE}"));
    let run = chat(&format!("data: {{\"error\":\"e\",\"a\":\"{text}\"}}\n\n"));
    assert_eq!((run.result.clone(), run.sent()), (Err(error("e")), ""));
    assert!(!run.filter.torn());
    // A `[DONE]` that drags a long comment behind it does not slip through.
    let run = chat(&format!("{HI}data: [DONE]\n:{text}\n\n"));
    assert_eq!((run.result.clone(), run.sent()), (Err(StreamFault::Interrupted), HI));
}

#[test]
fn a_comment_fits_between_whole_events_only() {
    let (filter, sent) = fed(Grammar::Chat, &[HI, &STOP[..20]]);
    assert_eq!(sent, HI);
    assert!(filter.between_events(), "what is held back has not begun for the client");
    let long = format!("data: {{\"a\":\"{}", "x".repeat(20_000));
    assert!(!fed(Grammar::Chat, &[HI, &long]).0.between_events());
}

#[test]
fn after_a_fault_it_stays_one() {
    let mut filter = StreamFilter::new(Grammar::Chat, false);
    let mut out = |_: Bytes| {};
    filter.push(Bytes::from(STOP), &mut out).unwrap();
    assert!(filter.push(Bytes::from("data: {\"error\":1}\n\n"), &mut out).is_err());
    assert!(!filter.finished());
    assert_eq!(filter.push(Bytes::from(DONE), &mut out), Err(StreamFault::Interrupted));
    assert_eq!(filter.end(&mut out), Err(StreamFault::Interrupted));
}

#[test]
fn choice_that_continues_after_its_finish_reason_has_not_finished() {
    let early = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}]}\n\n";
    assert_eq!(chat(&format!("{early}{HI}")).result, Err(StreamFault::Interrupted));
    assert_eq!(chat(&format!("{early}{HI}{DONE}")).result, Err(StreamFault::Interrupted));
    assert_eq!(chat(&format!("{early}{HI}{STOP}{DONE}")).result, Ok(()));
    assert_eq!(chat(&format!("{early}{HI}{STOP}")).result, Ok(()));
    let filter = StreamFilter::new(Grammar::Chat, false);
    let cut = run(filter, &[format!("{early}{HI}{STOP}").as_bytes()], false);
    assert_eq!(cut.result, Err(StreamFault::Interrupted), "its reasons are not to be relied on");
    assert!(!cut.filter.finished());
}

#[test]
fn done_ends_a_stream_whose_visible_choices_have_finished() {
    let filter = StreamFilter::new(Grammar::Chat, false).expected_choices(3);
    assert_eq!(run(filter, &[format!("{HI}{STOP}{DONE}").as_bytes()], true).result, Ok(()));
}

#[test]
fn errors_of_other_shapes_are_error_events() {
    for (event, message) in [
        (r#"{"object":"error","message":"m","code":7}"#, "m"),
        (r#"{"detail":"m"}"#, "m"),
        (r#"{"code":1,"msg":"m"}"#, "m"),
        (r#"{"base_resp":{"status_code":1004,"status_msg":"m"}}"#, "m"),
        (r#"{"choices":[{"finish_reason":"error"}]}"#, "the model failed (finish_reason: error)"),
    ] {
        let run = chat(&format!("{HI}data: {event}\n\n{STOP}{DONE}"));
        match run.result {
            Err(StreamFault::Error(error)) => assert_eq!(error.message.as_deref(), Some(message), "{event}"),
            other => panic!("{event}: {other:?}"),
        }
    }
    let fine = r#"{"choices":[],"detail":"x","base_resp":{"status_code":0,"status_msg":""}}"#;
    assert_eq!(chat(&format!("{HI}data: {fine}\n\n{STOP}{DONE}")).result, Ok(()));
}

#[test]
fn counts_are_not_taken_back_and_have_many_names() {
    let usage = |usage: &str| format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
    let first = usage(r#"{"prompt_tokens":"7","completion_tokens":3.0,"prompt_cache_hit_tokens":2}"#);
    let later = usage(r#"{"prompt_tokens":0,"completion_tokens":null,"cached_tokens":0}"#);
    let run = chat(&format!("{first}{later}{STOP}"));
    assert_eq!(run.filter.usage(), Some(Usage { input: 7, output: 3, cached: 2, ..Usage::default() }));
    let groq =
        r#"data: {"choices":[{"index":"0","usage":{"prompt_tokens":5}}],"x_groq":{"usage":{"completion_tokens":2}}}"#;
    let run = chat(&format!("{groq}\n\n{STOP}"));
    assert_eq!(run.filter.usage(), Some(Usage { input: 5, output: 2, cached: 0, ..Usage::default() }));
}
