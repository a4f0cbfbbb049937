//! Log lines: text for people, one JSON object per line for programs.

mod format;
mod queue;

use std::{io::IsTerminal, str::FromStr};

use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

pub use format::JsonLines;
pub use queue::FlushGuard;
#[cfg(feature = "observability")]
pub(crate) use queue::dropped_lines;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object per line.
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

/// Sends log lines to standard output, filtered by `RUST_LOG`, in the format that `BERRY_LOG_FORMAT` names; without it,
/// text on a terminal and JSON elsewhere.
///
/// A thread of its own writes the lines. The queue before it is bounded in bytes: when standard output does not keep
/// up, lines are dropped and counted. The guard writes the lines that are left when it is dropped.
///
/// # Errors
/// Returns a message when one of the two variables is invalid, or the thread cannot be started.
pub fn init() -> Result<FlushGuard, String> {
    let format = match std::env::var("BERRY_LOG_FORMAT").ok().filter(|format| !format.is_empty()) {
        Some(format) => format.parse()?,
        None if std::io::stdout().is_terminal() => Format::Text,
        None => Format::Json,
    };
    let filter = match std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty()) {
        Some(filter) => {
            EnvFilter::try_new(with_present_targets(&filter)).map_err(|e| format!("RUST_LOG is `{filter}`: {e}"))?
        }
        None => EnvFilter::new("info"),
    };
    let (queue, guard) = queue::start(std::io::stdout()).map_err(|e| e.to_string())?;
    let lines = tracing_subscriber::fmt::layer().with_writer(queue);
    let lines = match format {
        Format::Text => lines.with_ansi(std::io::stdout().is_terminal()).fmt_fields(format::TextFields).boxed(),
        Format::Json => lines.event_format(JsonLines).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|e| e.to_string())?;
    Ok(guard)
}

/// The crates of the gateway that this one replaces, and those that have their tasks now.
const FORMER_TARGETS: [(&str, &str); 5] = [
    ("berry_api_api", "berry_server"),
    ("berry_api", "berry_server"),
    ("berry_core", "berry_server"),
    ("berry_relay", "berry_server"),
    ("berry_loadbalance", "berry_tower"),
];

/// Replaces the names of former crates in a filter, with which the log would be empty.
fn with_present_targets(filter: &str) -> String {
    let present = |directive: &str| {
        let directive = directive.trim();
        let end = directive.find(['=', '[', ':']).unwrap_or(directive.len());
        let Some((_, now)) = FORMER_TARGETS.iter().find(|(former, _)| *former == &directive[..end]) else {
            return directive.to_owned();
        };
        let rest = directive.find(['=', '[']).unwrap_or(directive.len());
        format!("{now}{}", &directive[rest..])
    };
    filter.split(',').map(present).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_name_former_crates_still_show_lines() {
        for (filter, expected) in [
            ("berry_api=debug", "berry_server=debug"),
            ("berry_loadbalance=debug, berry_relay=trace", "berry_tower=debug,berry_server=trace"),
            ("warn,berry_api_api::router=debug", "warn,berry_server=debug"),
            ("berry_server::access=info,berry_apiary=debug", "berry_server::access=info,berry_apiary=debug"),
            ("info", "info"),
        ] {
            assert_eq!(with_present_targets(filter), expected);
        }
    }

    #[test]
    fn rejects_an_unknown_format() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert!("xml".parse::<Format>().unwrap_err().contains("`text` or `json`"));
    }
}
