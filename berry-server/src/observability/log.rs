//! Logs: text for people, one JSON object a line for programs.

use std::{
    fmt::{self, Write},
    io::IsTerminal,
    str::FromStr,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// The most lines that wait to be written; further ones are lost, since no request waits for its
/// line. Room for all of them is made at the start.
const WAITING: usize = 16 * 1024;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("BERRY_LOG_FORMAT is `{other}`; it must be `text` or `json`")),
        }
    }
}

/// Sends log lines to standard output, filtered by `RUST_LOG`, in the format that
/// `BERRY_LOG_FORMAT` names; without it, text on a terminal and JSON elsewhere.
///
/// Lines are written by a thread of their own: a reader that stalls must not stall the gateway. When
/// it lags behind by very many, lines are lost rather than requests. What is left is written when the
/// guard is dropped.
///
/// # Errors
/// One of the two variables makes no sense.
pub fn init() -> Result<WorkerGuard, String> {
    let format = match std::env::var("BERRY_LOG_FORMAT").ok().filter(|format| !format.is_empty()) {
        Some(format) => format.parse()?,
        None if std::io::stdout().is_terminal() => Format::Text,
        None => Format::Json,
    };
    let filter = match std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty()) {
        Some(filter) => EnvFilter::try_new(&filter).map_err(|e| format!("RUST_LOG is `{filter}`: {e}"))?,
        None => EnvFilter::new("info"),
    };
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(WAITING).finish(std::io::stdout());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        Format::Text => lines.with_ansi(std::io::stdout().is_terminal()).boxed(),
        Format::Json => lines.event_format(JsonLines).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|e| e.to_string())?;
    Ok(guard)
}

/// `timestamp`, `level`, `target` and `message` at the top, all else under `fields`.
#[derive(Clone, Copy, Debug)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        writeln!(
            writer,
            r#"{{"timestamp":"{}","level":"{}","target":{},"message":{},"fields":{{{}}}}}"#,
            jiff::Timestamp::now(),
            metadata.level(),
            Quoted(metadata.target()),
            Quoted(&fields.message),
            fields.others
        )
    }
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// The members of `fields`, written one after the other; a tree would be built for each line.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl fmt::Display) {
        let comma = if self.others.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(self.others, "{comma}{}:{value}", Quoted(field.name()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put(field, Quoted(&text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, Quoted(value));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows neither infinity nor NaN.
        if value.is_finite() {
            self.put(field, value);
        } else {
            self.put(field, "null");
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc};

    use serde_json::json;
    use tracing_subscriber::fmt::MakeWriter;

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

    #[test]
    fn a_line_is_one_json_object_with_the_message_at_the_top() {
        let (send, lines) = mpsc::channel();
        let lines_layer = tracing_subscriber::fmt::layer().event_format(JsonLines).with_writer(Lines(send));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines_layer), || {
            let none: Option<u64> = None;
            tracing::info!(
                provider = "a\"b\n",
                latency_ms = 850_u64,
                ratio = 0.5,
                nan = f64::NAN,
                ok = true,
                none,
                "told"
            );
        });
        let line = String::from_utf8(lines.recv().unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let fields = json!({ "provider": "a\"b\n", "latency_ms": 850, "ratio": 0.5, "nan": null, "ok": true });
        assert_eq!((&value["level"], &value["message"], &value["fields"]), (&json!("INFO"), &json!("told"), &fields));
        assert_eq!(value["target"], "berry_server::observability::log::tests");
        assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn a_format_that_is_none_is_refused() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert!("xml".parse::<Format>().unwrap_err().contains("`text` or `json`"));
    }
}
