//! The formats of a log line: JSON for programs, text for people.
//!
//! Both escape what a client or a provider could use to forge, hide or rearrange a line, and cut long values.

use std::{
    cell::Cell,
    fmt::{self, Write},
};

use jiff::Timestamp;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// The most bytes of one value in a line; logged bodies are shorter.
const MAX_VALUE_BYTES: usize = 32 * 1024;

/// Whether a character controls a terminal, breaks a line or changes the direction of text.
const fn is_unsafe(char: char) -> bool {
    matches!(char,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' // C0, DEL, C1
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // bidirectional
        | '\u{2028}' | '\u{2029}' // line and paragraph separators
        | '\u{feff}')
}

/// Cuts a value to [`MAX_VALUE_BYTES`]; the second value says whether it was longer.
fn cut(text: &str) -> (&str, bool) {
    if text.len() <= MAX_VALUE_BYTES {
        return (text, false);
    }
    let end = (0..=MAX_VALUE_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    (&text[..end], true)
}

/// `timestamp`, `level`, `target` and `message` at the top, everything else under `fields`.
#[derive(Clone, Copy, Debug)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = LINE.take();
        let mut fields = JsonFields { line, is_open: false, message: None };
        fields.begin(event.metadata());
        event.record(&mut fields);
        let mut line = fields.finish();
        let result = writer.write_str(&line);
        line.clear();
        line.shrink_to(MAX_KEPT_BYTES);
        LINE.set(line);
        result
    }
}

/// The size up to which a thread keeps its buffer of a line.
const MAX_KEPT_BYTES: usize = 16 * 1024;

thread_local! {
    /// The buffer of this thread's lines.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
    /// The second of this thread's last line, with its text.
    static SECOND: Cell<(i64, [u8; SECOND_BYTES])> = const { Cell::new((i64::MIN, [0; SECOND_BYTES])) };
}

/// The length of `2026-11-30T12:34:56`.
const SECOND_BYTES: usize = 19;

/// Appends the time in UTC with microseconds. Most lines share their second with the one before.
fn push_timestamp(line: &mut String, now: Timestamp) {
    let (mut second, mut text) = SECOND.get();
    if second != now.as_second() {
        second = now.as_second();
        let new = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        // Years of more than four digits do not come.
        text = new.as_bytes().try_into().unwrap_or([b'?'; SECOND_BYTES]);
        SECOND.set((second, text));
    }
    line.push_str(str::from_utf8(&text).unwrap_or_default());
    let mut digits = itoa::Buffer::new();
    // The digit in front keeps leading zeros.
    let digits = digits.format(1_000_000 + now.subsec_microsecond());
    line.push('.');
    line.push_str(&digits[1..]);
    line.push('Z');
}

/// Appends a JSON string, without a character that is unsafe in a terminal.
fn push_json(line: &mut String, value: impl fmt::Display) {
    line.push('"');
    let mut escaped = JsonEscaped { line, left: MAX_VALUE_BYTES };
    // The value is cut by an error of its writer.
    let is_cut = write!(escaped, "{value}").is_err();
    line.push_str(if is_cut { "…\"" } else { "\"" });
}

/// Escapes what is written for a JSON string, and fails once [`MAX_VALUE_BYTES`] were written.
struct JsonEscaped<'a> {
    line: &'a mut String,
    left: usize,
}

impl Write for JsonEscaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.len() <= self.left;
        let end = (0..=self.left.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        self.left -= end;
        let mut rest = &text[..end];
        // Runs of ordinary characters are appended at once.
        while let Some(at) = rest.bytes().position(|byte| byte >= 0x80 || needs_escape(byte)) {
            let (run, special) = rest.split_at(at);
            self.line.push_str(run);
            let char = special.chars().next().unwrap_or_default();
            match char {
                '"' => self.line.push_str("\\\""),
                '\\' => self.line.push_str("\\\\"),
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                '\t' => self.line.push_str("\\t"),
                char if is_unsafe(char) => write!(self.line, "\\u{:04x}", u32::from(char))?,
                char => self.line.push(char),
            }
            rest = &special[char.len_utf8()..];
        }
        self.line.push_str(rest);
        if fits { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Whether an ASCII character cannot stand in a line as it is.
const fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f)
}

/// Appends the message and then the other fields to the line. The macros of `tracing` put the message first; one that
/// comes later stands behind the fields.
struct JsonFields {
    line: String,
    /// Whether the object of the other fields has begun.
    is_open: bool,
    message: Option<String>,
}

impl JsonFields {
    fn begin(&mut self, metadata: &Metadata<'_>) {
        self.line.push_str(r#"{"timestamp":""#);
        push_timestamp(&mut self.line, Timestamp::now());
        self.line.push_str(r#"","level":""#);
        self.line.push_str(metadata.level().as_str());
        self.line.push_str(r#"","target":"#);
        push_json(&mut self.line, metadata.target());
    }

    /// Appends a field's name, and returns the line for its value.
    fn open(&mut self, field: &Field) -> &mut String {
        self.line.push_str(if self.is_open { ",\"" } else { r#","fields":{""# });
        self.is_open = true;
        // A name is part of the program.
        self.line.push_str(field.name());
        self.line.push_str("\":");
        &mut self.line
    }

    fn push_text(&mut self, field: &Field, value: impl fmt::Display) {
        if field.name() != "message" {
            return push_json(self.open(field), value);
        }
        if self.is_open {
            self.message = Some(value.to_string());
        } else {
            self.line.push_str(r#","message":"#);
            push_json(&mut self.line, value);
        }
    }

    fn finish(mut self) -> String {
        self.line.push_str(if self.is_open { "}" } else { r#","fields":{}"# });
        if let Some(message) = &self.message {
            self.line.push_str(r#","message":"#);
            push_json(&mut self.line, message);
        }
        self.line.push_str("}\n");
        self.line
    }
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.open(field).push_str(itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.open(field).push_str(itoa::Buffer::new().format(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has neither infinity nor NaN. Writing to a string cannot fail.
        let _ = if value.is_finite() { write!(self.open(field), "{value}") } else { write!(self.open(field), "null") };
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.open(field).push_str(if value { "true" } else { "false" });
    }
}

/// The message, then `name=value` for each field.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor { writer, is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct TextVisitor<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl TextVisitor<'_> {
    fn put(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() {
            self.result = self.try_put(field.name(), value);
        }
    }

    fn try_put(&mut self, name: &str, value: &str) -> fmt::Result {
        if !std::mem::replace(&mut self.is_first, false) {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            write!(self.writer, "{name}=")?;
        }
        let (text, is_cut) = cut(value);
        for char in text.chars() {
            if is_unsafe(char) {
                write!(self.writer, "{}", char.escape_unicode())?;
            } else {
                self.writer.write_char(char)?;
            }
        }
        if is_cut { self.writer.write_char('…') } else { Ok(()) }
    }
}

impl Visit for TextVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.put(field, value);
        } else {
            // Quotes show where the value ends.
            self.put(field, &format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc};

    use serde_json::json;
    use tracing_subscriber::{Layer, fmt::MakeWriter, layer::SubscriberExt};

    use super::*;

    #[derive(Clone)]
    struct Lines(mpsc::Sender<Vec<u8>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Returns the line that `emit` writes, in JSON or in text.
    fn line(is_json: bool, emit: impl FnOnce()) -> String {
        let (send, lines) = mpsc::channel();
        let layer = tracing_subscriber::fmt::layer().with_writer(Lines(send));
        let layer = if is_json {
            layer.event_format(JsonLines).boxed()
        } else {
            layer.with_ansi(false).fmt_fields(TextFields).boxed()
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), emit);
        String::from_utf8(lines.recv().unwrap()).unwrap()
    }

    #[test]
    fn writes_one_json_object_per_line_with_the_message_at_the_top() {
        let line = line(true, || {
            let none: Option<u64> = None;
            tracing::info!(
                provider = "a\"b\n\\",
                latency_ms = 850_u64,
                ratio = 0.5,
                nan = f64::NAN,
                ok = true,
                none,
                "done"
            );
        });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let fields = json!({ "provider": "a\"b\n\\", "latency_ms": 850, "ratio": 0.5, "nan": null, "ok": true });
        assert_eq!((&value["level"], &value["message"], &value["fields"]), (&json!("INFO"), &json!("done"), &fields));
        assert_eq!(value["target"], "berry_server::observability::log::format::tests");
        assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line.matches('\n').count(), 1);
        let shape: String = line.chars().skip(14).take(27).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    }

    #[test]
    fn escapes_control_and_bidirectional_characters() {
        let text = "ü\n\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2028}";
        let emit = || tracing::warn!(plain = text, displayed = %text, "{text}");
        let json = line(true, emit);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        for found in [&value["message"], &value["fields"]["plain"], &value["fields"]["displayed"]] {
            assert_eq!(found, text, "the value is unchanged for a JSON reader");
        }
        for line in [json, line(false, emit)] {
            let line = line.strip_suffix('\n').unwrap();
            assert!(line.contains('ü') && !line.chars().any(is_unsafe), "{line:?}");
        }
    }

    #[test]
    fn cuts_long_values() {
        let text = "ü".repeat(MAX_VALUE_BYTES);
        for is_json in [true, false] {
            let line = line(is_json, || tracing::warn!(reason = %text, "failed"));
            assert!(line.len() < MAX_VALUE_BYTES + 512 && line.contains('…'), "{}", line.len());
            assert!(line.len() > MAX_VALUE_BYTES && line.ends_with('\n'), "{}", line.len());
        }
    }
}
