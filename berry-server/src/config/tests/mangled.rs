//! Parsing of arbitrary text ends, reports the place of each error, and reveals no secret.

use proptest::prelude::*;

use super::super::{Errors, FULL_EXAMPLE, parse};

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn env(_: &str) -> Option<String> {
    Some(SECRET.to_owned())
}

fn check_errors(text: &str, errors: &Errors) -> Result<(), TestCaseError> {
    prop_assert!(!errors.findings.is_empty());
    for finding in &errors.findings {
        prop_assert!(!finding.path.is_empty(), "{finding:?}");
        prop_assert!(!finding.message.is_empty());
        let lines = text.split('\n').count();
        prop_assert!(finding.line.is_none_or(|line| (1..=lines).contains(&line)), "{finding:?}");
    }
    let shown = errors.to_string();
    prop_assert_eq!(shown.lines().count(), errors.findings.len(), "{}", shown);
    prop_assert!(!shown.contains(SECRET));
    Ok(())
}

fn lines() -> Vec<String> {
    FULL_EXAMPLE.lines().map(str::to_owned).collect()
}

/// Returns valid and invalid values of every type.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("[[1], {}]".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("2027-01-31".to_owned()),
        Just("nan".to_owned()),
        Just("0xffff_ffff_ffff_ffff_ffff".to_owned()),
        Just("\"${\"".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        Just(r#""a\n\u0007b""#.to_owned()),
        "\\PC{0,12}",
    ]
}

proptest! {
    #[test]
    fn parses_arbitrary_text(text in "(\\[{1,2}[a-z.\"]{0,9}\\]{1,2}\n|[a-z.]{1,5} ?= ?[\\PC]{0,9}\n|\\PC|\n){0,12}") {
        if let Err(errors) = parse(&text, &env) {
            check_errors(&text, &errors)?;
        }
    }

    #[test]
    fn parses_files_with_lost_and_swapped_lines(lost in 0usize..260, from in 0usize..260, to in 0usize..260) {
        let mut lines = lines();
        let count = lines.len();
        lines.swap(from % count, to % count);
        lines.remove(lost % count);
        let text = lines.join("\n");
        if let Err(errors) = parse(&text, &env) {
            check_errors(&text, &errors)?;
        }
    }

    #[test]
    fn parses_files_with_replaced_values(changes in prop::collection::vec((0usize..260, value()), 1..6)) {
        let mut lines = lines();
        let count = lines.len();
        for (at, value) in changes {
            let line = &mut lines[at % count];
            if let Some((key, _)) = line.split_once('=') {
                *line = format!("{key}= {value}");
            }
        }
        let text = lines.join("\n");
        match parse(&text, &env) {
            Ok(loaded) => prop_assert!(loaded.config.models.values().all(|m| !m.backends.is_empty())),
            Err(errors) => check_errors(&text, &errors)?,
        }
    }
}

#[test]
fn parses_deep_and_large_files() {
    let deep = format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("{}x = 1", "a.".repeat(20_000));
    let long = format!("[settings]\n{} = 1", "k".repeat(100_000));
    let dollars = format!("[users.a]\ntoken = \"{}\"", "$${".repeat(50_000));
    for text in [deep, dotted, long, dollars] {
        assert!(parse(&text, &env).is_err());
    }
}
