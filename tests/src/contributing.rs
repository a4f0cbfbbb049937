//! The documents for contributors name files and items that exist.

use std::{fs, path::Path};

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the pieces of code in a text.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_path(code: &str) -> bool {
    let is_plain = code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let ends = [".rs", ".md", ".toml", ".json", "/"].iter().any(|end| code.ends_with(end));
    is_plain && ends && !code.starts_with('/') && code.contains(|c: char| c.is_ascii_alphabetic())
}

/// Checks the paths of a text, and that a file has the items which stand in parentheses behind it. Returns the
/// number of paths.
fn check(text: &str, root: &Path) -> usize {
    let mut known = 0;
    let text = text.lines().map(|line| line.trim_start_matches("//!").trim()).collect::<Vec<_>>().join(" ");
    for path in code(&text).filter(|code| is_path(code)) {
        assert!(root.join(path).exists(), "{path} does not exist");
        known += 1;
    }
    for (at, _) in text.match_indices("` (`") {
        let path = text[..at].rsplit('`').next().unwrap_or_default();
        if !path.ends_with(".rs") || !is_path(path) {
            continue;
        }
        let source = fs::read_to_string(root.join(path)).unwrap();
        let items = text[at + 2..].split(')').next().unwrap_or_default();
        for item in code(items) {
            assert!(source.contains(item), "{path} has no `{item}`");
        }
    }
    known
}

#[test]
fn contributing_names_what_exists() {
    let text = fs::read_to_string(root().join(".github/CONTRIBUTING.md")).unwrap();
    assert!(check(&text, root()) > 60);
}

#[test]
fn map_of_the_library_names_what_exists() {
    let source = root().join("berry-tower/src");
    let text = fs::read_to_string(source.join("lib.rs")).unwrap();
    let map = text.split("# Where things happen").nth(1).unwrap().split("//! # ").next().unwrap();
    assert!(check(map, &source) > 25);
}
