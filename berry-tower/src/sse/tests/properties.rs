//! Properties of arbitrary bytes, cut anywhere.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::{collection, sample};

use super::reference::{judge, parse};
use super::{Grammar, Run, StreamFilter, run};

fn grammars() -> impl Strategy<Value = Grammar> {
    sample::select(vec![Grammar::Chat, Grammar::Completions, Grammar::Responses, Grammar::Messages])
}

/// The data of one event: what streams hold, and what they should not.
fn data() -> impl Strategy<Value = String> {
    let choice = (0..3u8, 0..6u8).prop_map(|(index, kind)| {
        let rest = [
            "\"delta\":{\"content\":\"hé\\\"}\\u00e9\"}",
            "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}",
            "\"delta\":{},\"finish_reason\":\"stop\"",
            "\"text\":\"x\",\"finish_reason\":null",
            "\"delta\":{\"tool_calls\":[{}]},\"finish_reason\":\"\"",
            "\"finish_reason\":\"length\",\"delta\":null",
        ][usize::from(kind)];
        format!("{{\"choices\":[{{\"index\":{index},{rest}}}]}}")
    });
    let fixed = sample::select(vec![
        "[DONE]",
        "[DONE] ",
        "[DONE]x",
        "",
        "{}",
        "{\"choices\":[]}",
        "{\"choices\":[{\"finish_reason\":\"stop\"},{\"index\":1,\"finish_reason\":\"stop\"}]}",
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}",
        "{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":2}}",
        "{\"error\":{\"message\":\"m\",\"code\":1}}",
        "{\"error\":null,\"x\":[1.5e-3,true,[]]}",
        "{\"type\":\"response.created\"}",
        "{\"type\":\"response.output_text.delta\",\"delta\":\"x\"}",
        "{\"type\":\"response.completed\",\"response\":{\"usage\":{\"output_tokens\":3}}}",
        "{\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"m\"}}}",
        "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}",
        "{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"tool_use\"}}",
        "{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"x\"}}",
        "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}",
        "{\"type\":\"message_stop\"}",
        "{\"type\":\"error\",\"message\":\"m\"}",
        "{\"a\":",
        "{\"a\":\"\u{1}\"}",
        "nonsense",
    ])
    .prop_map(str::to_owned);
    prop_oneof![3 => choice, 2 => fixed]
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r")]
}

fn event() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => data().prop_map(|d| format!("data: {d}")),
        1 => data().prop_map(|d| format!("data:{d}")),
        1 => sample::select(vec![
            ": comment", "id: 1", "retry:5", "data", "event: ping", "event: error", "event:message_stop",
            "event: response.completed", "unknown: x", "", "dat",
        ]).prop_map(str::to_owned),
    ];
    let ended = (line, line_end()).prop_map(|(line, end)| line + end).boxed();
    let lines = prop_oneof![4 => collection::vec(ended.clone(), 1), 1 => collection::vec(ended, 2..4)];
    (lines, line_end()).prop_map(|(lines, end)| lines.concat() + end)
}

/// Bytes that are shown as text.
struct Text(Vec<u8>);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A stream, which may be cut anywhere or hold a stray byte.
fn stream() -> impl Strategy<Value = Text> {
    let parts = (any::<bool>(), collection::vec(event(), 0..8));
    let whole = parts.prop_map(|(bom, events)| {
        let bom = if bom && events.len() > 4 { "\u{feff}" } else { "" };
        [bom.to_owned(), events.concat()].concat().into_bytes()
    });
    let spoil = prop_oneof![
        5 => Just(None),
        1 => (any::<sample::Index>(), any::<u8>()).prop_map(Some),
    ];
    (whole, any::<Option<sample::Index>>(), spoil).prop_map(|(mut bytes, cut, spoil)| {
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        if let Some((at, byte)) = spoil.filter(|_| !bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        Text(bytes)
    })
}

fn frames<'a>(bytes: &'a [u8], cuts: &[sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
}

fn same(one: &Run, other: &Run) -> bool {
    one.result == other.result
        && one.filter.usage() == other.filter.usage()
        && one.filter.malformed() == other.filter.malformed()
        && one.filter.events() == other.filter.events()
        && one.filter.output_seen() == other.filter.output_seen()
        && one.filter.torn() == other.filter.torn()
        && one.filter.finished() == other.filter.finished()
}

proptest! {
    #[test]
    fn result_does_not_depend_on_cuts_and_agrees_with_the_reference(
        Text(bytes) in stream(),
        cuts in collection::vec(any::<sample::Index>(), 0..40),
        grammar in grammars(),
        hide in any::<bool>(),
        expected in 1..3usize,
        clean in any::<bool>(),
    ) {
        let filter = || StreamFilter::new(grammar, hide).expected_choices(expected);
        let one = run(filter(), &[&bytes], clean);
        let cut = run(filter(), &frames(&bytes, &cuts), clean);
        prop_assert!(same(&one, &cut), "{:?} {:?}", one, cut);
        prop_assert_eq!(&one.sent, &cut.sent);
        let each: Vec<_> = bytes.chunks(1).collect();
        let each = run(filter(), &each, clean);
        prop_assert!(same(&one, &each), "{:?} {:?}", one, each);
        prop_assert_eq!(&one.sent, &each.sent);
        if let Some(plain) = judge(&bytes, grammar, hide, expected, clean) {
            prop_assert_eq!(String::from_utf8_lossy(&one.sent), String::from_utf8_lossy(&plain.sent));
            prop_assert_eq!(&one.result, &plain.result);
            prop_assert_eq!(one.filter.usage(), plain.usage);
            prop_assert_eq!(one.filter.malformed(), plain.malformed);
            prop_assert_eq!(one.filter.output_seen(), plain.output);
        }
    }

    #[test]
    fn result_of_long_events_does_not_depend_on_cuts(
        Text(bytes) in stream(),
        cuts in collection::vec(any::<sample::Index>(), 0..40),
        grammar in grammars(),
        hold in 1..80usize,
    ) {
        let filter = || StreamFilter::new(grammar, true).holding(hold);
        let one = run(filter(), &[&bytes], true);
        let cut = run(filter(), &frames(&bytes, &cuts), true);
        prop_assert!(same(&one, &cut), "{:?} {:?}", one, cut);
        if one.result.is_ok() {
            prop_assert_eq!(&one.sent, &cut.sent);
        } else {
            // Of a long event more or less may have gone before its fault showed.
            prop_assert!(one.sent.starts_with(&cut.sent) || cut.sent.starts_with(&one.sent));
        }
    }

    /// `[DONE]` reaches the client only when every choice that it saw has a finish reason.
    #[test]
    fn truncated_response_never_looks_complete(
        Text(bytes) in stream(),
        cuts in collection::vec(any::<sample::Index>(), 0..10),
        hold in prop_oneof![Just(16 * 1024), 1..200usize],
        clean in any::<bool>(),
    ) {
        let filter = StreamFilter::new(Grammar::Chat, false).holding(hold);
        let run = run(filter, &frames(&bytes, &cuts), clean);
        // The comment stands in for a first event that was left out.
        let sent = run.sent.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&run.sent);
        let (events, rest) = parse(&[b":\n\n", sent].concat()).expect("it begins like a stream");
        prop_assert_eq!(rest.is_some(), run.filter.torn());
        let mut open = std::collections::BTreeMap::new();
        let mut done = false;
        for data in events.iter().filter_map(|e| e.data.as_ref()) {
            if data.starts_with(b"[DONE]") {
                prop_assert!(!open.is_empty() && open.values().all(|open| !open));
                done = true;
                continue;
            }
            prop_assert!(!done, "nothing comes after [DONE]");
            let Ok(chunk) = serde_json::from_slice::<serde_json::Value>(data) else {
                prop_assert!(run.result.is_err(), "only the fault of a long event shows");
                continue;
            };
            for choice in chunk["choices"].as_array().into_iter().flatten() {
                let index = choice["index"].as_u64().unwrap_or(0);
                let finished = choice["finish_reason"].as_str().is_some_and(|f| !f.is_empty());
                *open.entry(index).or_insert(true) &= !finished;
            }
        }
        prop_assert_eq!(done, run.result.is_ok());
        // Nor to a client that reads lines rather than events.
        let lines = &mut sent.split(|b| matches!(b, b'\n' | b'\r'));
        let said = lines.any(|l| l.starts_with(b"data: [DONE]") || l.starts_with(b"data:[DONE]"));
        prop_assert_eq!(done, said);
    }
}
