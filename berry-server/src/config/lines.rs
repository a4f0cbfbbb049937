//! Table paths and their lines in the file.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The maximum depth of indexed paths, which exceeds that of any known key.
const MAX_DEPTH: usize = 8;

/// Returns the line of every path in the file.
pub(super) fn of_paths(text: &str, root: &DeTable<'_>) -> HashMap<String, usize> {
    let mut lines = HashMap::new();
    index_table(root, "", 0, &line_starts(text), &mut lines);
    lines
}

/// Returns `parent.key`, with the key in quotes where TOML requires them.
pub(super) fn join(parent: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let dot = if parent.is_empty() { "" } else { "." };
    if !key.is_empty() && key.chars().all(bare) {
        format!("{parent}{dot}{key}")
    } else {
        format!("{parent}{dot}{key:?}")
    }
}

/// Returns the offset of the start of each line.
fn line_starts(text: &str) -> Vec<usize> {
    let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(after_newlines).collect()
}

fn index_table(table: &DeTable<'_>, path: &str, depth: usize, starts: &[usize], lines: &mut HashMap<String, usize>) {
    if depth >= MAX_DEPTH {
        return;
    }
    for (key, value) in table {
        let path = join(path, key.get_ref());
        lines.insert(path.clone(), line_of(starts, key.span().start));
        index_value(value, &path, depth + 1, starts, lines);
    }
}

fn index_value(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    depth: usize,
    starts: &[usize],
    lines: &mut HashMap<String, usize>,
) {
    match value.get_ref() {
        DeValue::Table(table) => index_table(table, path, depth, starts, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                lines.insert(path.clone(), line_of(starts, item.span().start));
                index_value(item, &path, depth + 1, starts, lines);
            }
        }
        _ => {}
    }
}

/// Returns the line, counted from 1, of an offset.
fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset).max(1)
}

/// Returns the line, counted from 1, of an offset into `text`.
pub(super) fn at_offset(text: &str, offset: usize) -> usize {
    line_of(&line_starts(text), offset)
}
