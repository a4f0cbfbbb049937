//! What a load has to say about a file: errors that stop it and warnings that do not.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The path of a finding that is about the file as a whole.
pub(super) const WHOLE_FILE: &str = "(file)";

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// Where, as a table path: `models.gpt_4.backends[1].provider`; `(file)` for the file itself.
    pub path: String,
    /// The line, counted from 1; of the enclosing table when the key itself is missing.
    pub line: Option<usize>,
    /// What is wrong, and what would be right. Never holds a secret.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Why a file was refused: every error that was found in it. Prints one finding per line.
#[derive(Debug, Clone)]
pub struct Errors {
    /// The file, when there is one.
    pub source: Option<PathBuf>,
    /// At least one, in the order of the file.
    pub findings: Vec<Finding>,
    /// What was worth a warning on the way.
    pub warnings: Vec<Finding>,
}

impl Errors {
    /// One error about the file as a whole.
    pub(super) fn whole_file(source: &Path, line: Option<usize>, message: String) -> Self {
        let path = WHOLE_FILE.to_owned();
        Self { source: Some(source.to_owned()), findings: vec![Finding { path, line, message }], warnings: Vec::new() }
    }
}

impl Errors {
    /// There is no file to read again.
    pub(crate) fn no_file() -> Self {
        let message = "the configuration in force came from no file".to_owned();
        let finding = Finding { path: WHOLE_FILE.to_owned(), line: None, message };
        Self { source: None, findings: vec![finding], warnings: Vec::new() }
    }

    /// What could not be built though the file is good; `message` begins with the path.
    pub(crate) fn unbuildable(message: &str, warnings: Vec<Finding>) -> Self {
        let (path, message) = message.split_once(": ").unwrap_or((WHOLE_FILE, message));
        let finding = Finding { path: path.to_owned(), line: None, message: message.to_owned() };
        Self { source: None, findings: vec![finding], warnings }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let Some(source) = &self.source {
                write!(f, "{}: ", source.display())?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Values shorter than this are not worth hiding: they would garble messages.
const HIDE_FROM: usize = 6;

/// Collects findings and knows the line of each path.
#[derive(Default)]
pub(super) struct Log {
    /// The line of each path in the file.
    pub(super) lines: HashMap<String, usize>,
    /// Values that came from the environment, with the variable's name.
    pub(super) from_env: HashMap<String, String>,
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl Log {
    /// Records an error, unless this path has one: the first tells the cause, others are its echo.
    pub(super) fn error(&mut self, path: &str, message: &str) {
        if !self.has_error(path) {
            let finding = self.finding(path, message);
            self.errors.push(finding);
        }
    }

    pub(super) fn warn(&mut self, path: &str, message: &str) {
        let finding = self.finding(path, message);
        self.warnings.push(finding);
    }

    pub(super) fn has_error(&self, path: &str) -> bool {
        self.errors.iter().any(|error| error.path == path)
    }

    /// Sorts by line, so that a reader can go through the file from top to bottom.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by_key(|finding| finding.line);
        self.warnings.sort_by_key(|finding| finding.line);
    }

    fn finding(&self, path: &str, message: &str) -> Finding {
        let mut message = message.to_owned();
        for (value, name) in &self.from_env {
            if value.len() >= HIDE_FROM && message.contains(value) {
                message = message.replace(value, &format!("${{{name}}}"));
            }
        }
        // One finding is one line, and a terminal gets no commands from a quoted value.
        if message.contains(char::is_control) {
            let plain = |c: char| {
                if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
            };
            message = message.chars().map(plain).collect();
        }
        Finding { path: path.to_owned(), line: self.line(path), message }
    }

    /// The line of a path, or else of the nearest table around it.
    fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}
