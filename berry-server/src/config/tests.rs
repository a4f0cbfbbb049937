//! Tests of parsing: accepted and rejected values, errors and warnings.

mod examples;
mod guide;
mod limits;
mod mangled;
mod presets;
mod readme;
mod rules;
mod secrets;
mod values;

use super::{Errors, Loaded, parse};

/// The smallest configuration without a warning.
pub(super) const SMALL: &str = r#"
[settings]

[users.admin]
token = "a-token-of-24-characters"
tags = ["admin"]

[providers.openai]
base_url = "https://api.openai.com/v1"
api_key = "sk-1234567890"
models = ["gpt-4o", "gpt-4o-mini"]

[models.gpt_4o]
name = "gpt-4o"
backends = [{ provider = "openai", model = "gpt-4o" }]
"#;

fn no_env(_: &str) -> Option<String> {
    None
}

fn load(text: &str) -> Result<Loaded, Errors> {
    parse(text, &no_env)
}

pub(super) fn good(text: &str) -> Loaded {
    load(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Returns the errors of a text, each as `path: message`.
pub(super) fn errors(text: &str) -> Vec<String> {
    let errors = load(text).expect_err("errors are expected");
    errors.findings.iter().map(one_line).collect()
}

fn warnings(text: &str) -> Vec<String> {
    good(text).warnings.iter().map(one_line).collect()
}

fn one_line(finding: &super::Finding) -> String {
    format!("{}: {}", finding.path, finding.message)
}

/// Returns `SMALL` with another line under a header.
fn with(header: &str, line: &str) -> String {
    assert!(SMALL.contains(header), "{header}");
    SMALL.replacen(header, &format!("{header}\n{line}"), 1)
}

/// Returns `SMALL` with one part replaced.
fn instead(old: &str, new: &str) -> String {
    assert!(SMALL.contains(old), "{old}");
    SMALL.replace(old, new)
}

const SETTINGS: &str = "[settings]";
const USER: &str = "[users.admin]";
const PROVIDER: &str = "[providers.openai]";
const MODEL: &str = "[models.gpt_4o]";
const BACKENDS: &str = r#"[{ provider = "openai", model = "gpt-4o" }]"#;

/// Asserts that the text has exactly one error, which contains `part`.
#[track_caller]
fn refused(text: &str, part: &str) {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains(part), "{errors:#?} lacks {part}");
}

#[track_caller]
fn warned(text: &str, part: &str) {
    let warnings = warnings(text);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains(part), "{warnings:#?} lacks {part}");
}

fn backend(keys: &str) -> String {
    instead(BACKENDS, &format!(r#"[{{ provider = "openai", model = "gpt-4o", {keys} }}]"#))
}

/// Returns `SMALL` with a second model of the given id, name and further lines.
fn second(id: &str, name: &str, lines: &str) -> String {
    format!("{SMALL}[models.{id}]\nname = \"{name}\"\nbackends = {BACKENDS}\n{lines}\n")
}
