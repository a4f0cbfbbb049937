//! The errors and warnings of a configuration file.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The path of a finding that is about the file as a whole.
pub(super) const WHOLE_FILE: &str = "(file)";

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// The table path, such as `models.gpt_4.backends[1].provider`; `(file)` for the file itself.
    pub path: String,
    /// The line, counted from 1. For a missing key it is the line of the enclosing table.
    pub line: Option<usize>,
    /// The problem and its remedy, without secrets.
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

/// All errors of a rejected configuration. `Display` prints one finding per line.
#[derive(Debug, Clone)]
pub struct Errors {
    /// The file, if the configuration came from one.
    pub source: Option<PathBuf>,
    /// The errors in the order of the file, at least one.
    pub findings: Vec<Finding>,
    /// The warnings of the configuration.
    pub warnings: Vec<Finding>,
}

impl Errors {
    /// Returns one error about the file as a whole.
    pub(super) fn whole_file(source: &Path, line: Option<usize>, message: String) -> Self {
        let path = WHOLE_FILE.to_owned();
        Self { source: Some(source.to_owned()), findings: vec![Finding { path, line, message }], warnings: Vec::new() }
    }

    /// Returns all findings, one in each line, the warnings last.
    #[must_use]
    pub fn report(&self) -> String {
        let warnings = self.warnings.iter().map(|warning| format!("\nwarning: {warning}"));
        std::iter::once(self.to_string()).chain(warnings).collect()
    }

    /// Returns the error of a reload without a file.
    pub(crate) fn no_file() -> Self {
        let message = "the configuration in force came from no file".to_owned();
        let finding = Finding { path: WHOLE_FILE.to_owned(), line: None, message };
        Self { source: None, findings: vec![finding], warnings: Vec::new() }
    }

    /// Returns the error of a valid file whose configuration cannot be built. `message` begins with the path.
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

/// The minimum length of a value to mask. Masking shorter values would garble messages.
const MIN_MASKED_LENGTH: usize = 6;

/// Collects findings and knows the line of each path.
#[derive(Default)]
pub(super) struct Log {
    /// The line of each path in the file.
    pub(super) lines: HashMap<String, usize>,
    /// Values from the environment, with the names of their variables.
    pub(super) from_env: HashMap<String, String>,
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl Log {
    /// Records an error unless the path already has one, because later errors only follow from the first.
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

    /// Sorts the findings by line.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by_key(|finding| finding.line);
        self.warnings.sort_by_key(|finding| finding.line);
    }

    fn finding(&self, path: &str, message: &str) -> Finding {
        let mut message = message.to_owned();
        for (value, name) in &self.from_env {
            if value.len() >= MIN_MASKED_LENGTH && message.contains(value) {
                message = message.replace(value, &format!("${{{name}}}"));
            }
        }
        // A finding is one line, and a quoted value must not send control characters to a terminal.
        if message.contains(char::is_control) {
            let plain = |c: char| {
                if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
            };
            message = message.chars().map(plain).collect();
        }
        Finding { path: path.to_owned(), line: self.line(path), message }
    }

    /// Returns the line of a path, or of the nearest enclosing table.
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
