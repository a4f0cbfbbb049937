//! Output: text and tables for people, or one JSON value for scripts.

use std::{
    fmt::Display,
    io::{IsTerminal, Write, stderr, stdout},
    process::ExitCode,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::global::variable;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Fail {
    pub(super) message: String,
    /// The value that `--json` prints; without it, an object with the message.
    pub(super) json: Option<Value>,
    pub(super) code: u8,
}

impl Fail {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), json: None, code: 1 }
    }
}

/// The output of a command, as text or JSON.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    /// Whether to use colours and a progress bar; only on a terminal.
    colour: bool,
}

/// The colour of a cell or a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Doubtful,
    Plain,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Doubtful => "33",
            Self::Plain => "0",
        }
    }
}

/// A table's cell.
#[derive(Debug)]
pub(super) struct Cell(String, Tone);

impl Cell {
    pub(super) fn new(text: impl Display) -> Self {
        Self(text.to_string(), Tone::Plain)
    }

    pub(super) fn tone(text: impl Display, tone: Tone) -> Self {
        Self(text.to_string(), tone)
    }

    /// A value, or a dash if there is none.
    pub(super) fn maybe(number: Option<impl Display>) -> Self {
        number.map_or_else(|| Self::new("–"), Self::new)
    }
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        let plain = variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|term| term == "dumb");
        Self { json, colour: stdout().is_terminal() && !plain }
    }

    /// Prints a line in text mode.
    pub(super) fn line(&self, text: impl Display) {
        if !self.json {
            put(&format!("{text}\n"));
        }
    }

    /// Prints a line to standard error in text mode.
    pub(super) fn warn(&self, text: impl Display) {
        if !self.json {
            let _ = writeln!(stderr(), "{text}");
        }
    }

    /// Prints the value in JSON mode.
    pub(super) fn value(&self, value: &Value) {
        if self.json {
            put(&format!("{value:#}\n"));
        }
    }

    /// Prints the result in text mode and returns its exit code.
    pub(super) fn verdict(&self, good: bool, text: impl Display) -> ExitCode {
        let (mark, tone) = if good { ("✅", Tone::Good) } else { ("❌", Tone::Bad) };
        self.line(format_args!("{mark} {}", self.paint(&text.to_string(), tone)));
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Prints an error: to standard error in text mode, to standard output in JSON mode.
    pub(super) fn error(&self, message: &str, json: &Value) {
        if self.json {
            put(&format!("{json:#}\n"));
        } else {
            let _ = writeln!(stderr(), "{}", message.trim_end());
        }
    }

    /// Prints a table in text mode.
    pub(super) fn table(&self, head: &[&str], rows: &[Vec<Cell>]) {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].0.chars().count());
            cells.chain([head[column].chars().count()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let row = |cells: &[(&str, Tone)]| {
            let padded = cells.iter().zip(&widths).map(|(&(text, tone), width)| {
                let space = " ".repeat(width - text.chars().count());
                format!("{}{space}", self.paint(text, tone))
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.line(row(&head.iter().map(|text| (*text, Tone::Plain)).collect::<Vec<_>>()));
        for cells in rows {
            self.line(row(&cells.iter().map(|Cell(text, tone)| (text.as_str(), *tone)).collect::<Vec<_>>()));
        }
    }

    /// Returns a progress bar on standard error, hidden unless that is a terminal.
    pub(super) fn progress(&self, steps: usize) -> ProgressBar {
        let is_visible = self.colour && !self.json && stderr().is_terminal();
        let target = if is_visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
        ProgressBar::with_draw_target(u64::try_from(steps).ok(), target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    fn paint(&self, text: &str, tone: Tone) -> String {
        match tone {
            tone if self.colour && tone != Tone::Plain => format!("\x1b[{}m{text}\x1b[0m", tone.code()),
            _ => text.to_owned(),
        }
    }
}

/// Prints to standard output, which may be closed.
fn put(text: &str) {
    let _ = stdout().write_all(text.as_bytes());
}
