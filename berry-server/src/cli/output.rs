//! What is printed: words and tables for people, or one JSON value for scripts.

use std::{
    fmt::Display,
    io::{IsTerminal, Write, stderr, stdout},
    process::ExitCode,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

/// Why a command has nothing to show for itself.
#[derive(Debug)]
pub(super) struct Fail {
    pub(super) message: String,
    /// What `--json` prints in the place of the message in an object.
    pub(super) json: Option<Value>,
    pub(super) code: u8,
}

impl Fail {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), json: None, code: 1 }
    }
}

/// Where output goes, and in which form.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    /// Colours and a moving bar are for people who look on.
    colour: bool,
}

/// How a cell or a line is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Bad,
    Doubtful,
    Plain,
}

impl Mood {
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
pub(super) struct Cell(String, Mood);

impl Cell {
    pub(super) fn new(text: impl Display) -> Self {
        Self(text.to_string(), Mood::Plain)
    }

    pub(super) fn mood(text: impl Display, mood: Mood) -> Self {
        Self(text.to_string(), mood)
    }

    /// A number of something, or a dash.
    pub(super) fn maybe(number: Option<impl Display>) -> Self {
        number.map_or_else(|| Self::new("–"), Self::new)
    }
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        let plain = super::variable("NO_COLOR").is_some() || super::variable("TERM").is_some_and(|term| term == "dumb");
        Self { json, colour: stdout().is_terminal() && !plain }
    }

    /// A line for people.
    pub(super) fn line(&self, text: impl Display) {
        if !self.json {
            put(&format!("{text}\n"));
        }
    }

    /// A line for people about something beside the point, to standard error.
    pub(super) fn warn(&self, text: impl Display) {
        if !self.json {
            let _ = writeln!(stderr(), "{text}");
        }
    }

    /// The value for scripts.
    pub(super) fn value(&self, value: &Value) {
        if self.json {
            put(&format!("{value:#}\n"));
        }
    }

    /// The last word, for people; the exit code says the same.
    pub(super) fn verdict(&self, good: bool, text: impl Display) -> ExitCode {
        let (mark, mood) = if good { ("✅", Mood::Good) } else { ("❌", Mood::Bad) };
        self.line(format_args!("{mark} {}", self.paint(&text.to_string(), mood)));
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// What went wrong: to standard error for people, to standard output for scripts.
    pub(super) fn complain(&self, message: &str, json: &Value) {
        if self.json {
            put(&format!("{json:#}\n"));
        } else {
            let _ = writeln!(stderr(), "{}", message.trim_end());
        }
    }

    /// A table for people.
    pub(super) fn table(&self, head: &[&str], rows: &[Vec<Cell>]) {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].0.chars().count());
            cells.chain([head[column].chars().count()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let row = |cells: &[(&str, Mood)]| {
            let padded = cells.iter().zip(&widths).map(|(&(text, mood), width)| {
                let space = " ".repeat(width - text.chars().count());
                format!("{}{space}", self.paint(text, mood))
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.line(row(&head.iter().map(|text| (*text, Mood::Plain)).collect::<Vec<_>>()));
        for cells in rows {
            self.line(row(&cells.iter().map(|Cell(text, mood)| (text.as_str(), *mood)).collect::<Vec<_>>()));
        }
    }

    /// A bar on standard error that is gone when it is done; on a terminal only.
    pub(super) fn progress(&self, steps: usize) -> ProgressBar {
        let seen = self.colour && !self.json && stderr().is_terminal();
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
        ProgressBar::with_draw_target(u64::try_from(steps).ok(), target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    fn paint(&self, text: &str, mood: Mood) -> String {
        match mood {
            mood if self.colour && mood != Mood::Plain => format!("\x1b[{}m{text}\x1b[0m", mood.code()),
            _ => text.to_owned(),
        }
    }
}

/// To standard output, which may be closed.
fn put(text: &str) {
    let _ = stdout().write_all(text.as_bytes());
}
