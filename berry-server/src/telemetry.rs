//! Logs: text for people, one JSON object a line for programs.

use std::{fmt, io::IsTerminal, str::FromStr};

use serde_json::{Map, Value};
use tracing::{Event, Subscriber, field::Visit};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

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
    let (writer, guard) = tracing_appender::non_blocking(std::io::stdout());
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
        let line = serde_json::json!({
            "timestamp": jiff::Timestamp::now().to_string(),
            "level": event.metadata().level().as_str(),
            "target": event.metadata().target(),
            "message": fields.message,
            "fields": fields.others,
        });
        writeln!(writer, "{line}")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &tracing::field::Field, value: impl Into<Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &tracing::field::Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &tracing::field::Field, value: bool) {
        self.put(field, value);
    }
}
