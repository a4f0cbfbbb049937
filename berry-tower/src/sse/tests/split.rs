//! Tests of the splitter.

use super::{Bytes, Grammar, StreamFilter};

const STOP: &str = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}";

#[test]
fn emits_an_event_with_its_blank_line() {
    for (end, held_until) in
        [("\n\n", 2), ("\r\n\r\n", 3), ("\r\r", 2), ("\n\r", 2), ("\r\n\n", 3), ("\n\r\n", 2), ("\r\r\n", 2)]
    {
        let stream = format!("{STOP}{end}");
        let mut filter = StreamFilter::new(Grammar::Chat, false);
        let mut sent = Vec::new();
        for (i, byte) in stream.bytes().enumerate() {
            let frame = Bytes::copy_from_slice(&[byte]);
            filter.push(frame, &mut |b: Bytes| sent.extend_from_slice(&b)).unwrap();
            let complete = i + 1 >= STOP.len() + held_until;
            assert_eq!(sent.len(), if complete { i + 1 } else { 0 }, "{end:?}");
            assert_eq!(filter.finished(), complete);
        }
    }
}

#[test]
fn line_feed_belongs_to_its_event() {
    let mut filter = StreamFilter::new(Grammar::Chat, false);
    let mut sent = Vec::new();
    for frame in ["data: oops\r\n\r", "\n", STOP, "\r\n\r", "\ndata: [DONE]\r\r", "\n", "\n"] {
        filter
            .push(Bytes::from(frame), &mut |b: Bytes| {
                sent.extend_from_slice(&b);
            })
            .unwrap();
    }
    let sent = String::from_utf8(sent).unwrap();
    assert_eq!(sent, format!("{STOP}\r\n\r\ndata: [DONE]\r\r\n"));
}

#[test]
fn several_lines_of_data_are_one_object() {
    let stream = "data: {\"choices\":\r\ndata:[{\"finish_reason\"\r: comment\rdata:\ndata:  :\"stop\"}]}\n\n";
    let mut filter = StreamFilter::new(Grammar::Chat, false);
    filter.push(Bytes::from(stream), &mut |_: Bytes| {}).unwrap();
    assert!(filter.finished());
    assert_eq!(filter.malformed(), 0);
}

#[test]
fn compares_whole_field_names() {
    let mut filter = StreamFilter::new(Grammar::Chat, false).holding(8);
    let mut sent = Vec::new();
    for frame in ["event: error", "ful\n\n", STOP, "\n\n"] {
        let frame = Bytes::from(frame);
        assert_eq!(filter.push(frame, &mut |b: Bytes| sent.extend_from_slice(&b)), Ok(()));
    }
    assert!(filter.finished());
    assert_eq!(sent, format!("event: errorful\n\n{STOP}\n\n").into_bytes());
}
