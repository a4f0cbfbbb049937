//! Reads typed values out of a parsed TOML tree, and records every error instead of stopping at the first.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::expand;
use super::finding::Log;
use super::options::Word;
use super::suggest;

/// The deepest path of any known key, with a little room; deeper ones need no line of their own.
const DEEPEST: usize = 8;

/// What all tables of one load share.
pub(super) struct Reader<'a> {
    pub(super) log: RefCell<Log>,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Every key asked for, by kind of table: what the program knows.
    known: RefCell<Vec<(&'static str, &'static str)>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &str,
        root: &DeTable<'_>,
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let mut lines = HashMap::new();
        let starts = line_starts(text);
        index_table(root, "", 0, &starts, &mut lines);
        let log = Log {
            lines,
            ..Log::default()
        };
        Self {
            log: RefCell::new(log),
            env,
            known: RefCell::default(),
        }
    }

    pub(super) fn error(&self, path: &str, message: impl Display) {
        self.log.borrow_mut().error(path, &message.to_string());
    }

    pub(super) fn warn(&self, path: &str, message: impl Display) {
        self.log.borrow_mut().warn(path, &message.to_string());
    }

    /// Every key that was asked for, as (kind of table, key).
    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<(&'static str, &'static str)> {
        let mut known = self.known.borrow().clone();
        known.sort_unstable();
        known.dedup();
        known
    }

    fn text(&self, path: &str, raw: &str) -> Option<String> {
        let lookup = |name: &str| {
            let value = (self.env)(name)?;
            let mut log = self.log.borrow_mut();
            log.from_env.insert(value.clone(), name.to_owned());
            Some(value)
        };
        let expanded = expand(raw, lookup);
        expanded.map_err(|error| self.error(path, error)).ok()
    }
}

/// One table of the file. A table that is not in the file reads as an empty one.
///
/// The readers that take a `slot` leave it alone, and so at its default, when the key is absent or wrong.
pub(super) struct Table<'r> {
    pub(super) reader: &'r Reader<'r>,
    /// Where it stands: `users.alice`.
    pub(super) path: String,
    /// What it is, with `*` for ids: `users.*`.
    kind: &'static str,
    entries: Option<&'r DeTable<'r>>,
    asked: Vec<&'static str>,
}

impl<'r> Table<'r> {
    pub(super) fn root(reader: &'r Reader<'r>, entries: &'r DeTable<'r>) -> Self {
        Self::new(reader, String::new(), "", Some(entries))
    }

    fn new(
        reader: &'r Reader<'r>,
        path: String,
        kind: &'static str,
        entries: Option<&'r DeTable<'r>>,
    ) -> Self {
        Self {
            reader,
            path,
            kind,
            entries,
            asked: Vec::new(),
        }
    }

    /// The path of one of its keys.
    pub(super) fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    pub(super) fn error(&self, key: &str, message: impl Display) {
        self.reader.error(&self.at(key), message);
    }

    pub(super) fn warn(&self, key: &str, message: impl Display) {
        self.reader.warn(&self.at(key), message);
    }

    /// Whether the file has the key. Asking makes it a known one.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.take(key).is_some()
    }

    fn take(&mut self, key: &'static str) -> Option<&'r DeValue<'r>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
            self.reader.known.borrow_mut().push((self.kind, key));
        }
        Some(self.entries?.get(key)?.get_ref())
    }

    fn wrong_type(&self, key: &str, wanted: &str, found: &DeValue<'_>) {
        // The type alone: the value may be a secret in the wrong place.
        let found = found.type_str();
        self.error(key, format_args!("must be {wanted}, not {}", article(found)));
    }

    pub(super) fn flag(&mut self, key: &'static str, slot: &mut bool) {
        match self.take(key) {
            Some(DeValue::Boolean(value)) => *slot = *value,
            Some(other) => self.wrong_type(key, "true or false", other),
            None => {}
        }
    }

    pub(super) fn whole<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        slot: &mut T,
    ) {
        let Some(value) = self.take(key) else { return };
        let DeValue::Integer(number) = value else {
            return self.wrong_type(key, "a whole number", value);
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
        match parsed
            .filter(|n| range.contains(n))
            .and_then(|n| T::try_from(n).ok())
        {
            Some(fits) => *slot = fits,
            None => {
                let (low, high) = (range.start(), range.end());
                self.error(
                    key,
                    format_args!("must be from {low} to {high}, not {number}"),
                );
            }
        }
    }

    /// A number with a fraction or without; `fits` must refuse NaN.
    pub(super) fn real(
        &mut self,
        key: &'static str,
        fits: impl Fn(f64) -> bool,
        rule: &str,
        slot: &mut f64,
    ) {
        let Some(value) = self.take(key) else { return };
        let parsed = match value {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Integer(_) => None,
            other => return self.wrong_type(key, "a number", other),
        };
        match parsed.filter(|number| fits(*number)) {
            Some(number) => *slot = number,
            None => self.error(key, format_args!("must be {rule}")),
        }
    }

    /// A number in 0..=1.
    pub(super) fn share(&mut self, key: &'static str, slot: &mut f64) {
        self.real(key, |x| (0.0..=1.0).contains(&x), "from 0 to 1", slot);
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            DeValue::String(raw) => self.reader.text(&self.at(key), raw),
            other => {
                self.wrong_type(key, "a string", other);
                None
            }
        }
    }

    /// A string that has to be there; `example` shows what to write. Empty after an error.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> String {
        if !self.has(key) {
            self.error(
                key,
                format_args!("missing; add it, for example `{key} = {example}`"),
            );
        }
        self.string(key).unwrap_or_default()
    }

    /// A point in time: a string, or TOML's own date-time, as text.
    pub(super) fn moment(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            DeValue::Datetime(moment) => Some(moment.to_string()),
            _ => self.string(key),
        }
    }

    pub(super) fn word<T: Word>(&mut self, key: &'static str, slot: &mut T) {
        let Some(text) = self.string(key) else { return };
        match T::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => *slot = *value,
            None => {
                let instead = suggest::instead(&text, T::WORDS.iter().map(|(word, _)| *word));
                self.error(key, format_args!("unknown value `{text}`{instead}"));
            }
        }
    }

    /// A list of strings; each one is checked by `rule`, which says what is wrong with it.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        rule: impl Fn(&str) -> Option<String>,
    ) -> Vec<String> {
        let items = match self.take(key) {
            Some(DeValue::Array(items)) => items,
            Some(other) => {
                self.wrong_type(key, "a list of strings", other);
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut strings = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.at(key));
            let DeValue::String(raw) = item.get_ref() else {
                let found = article(item.get_ref().type_str());
                self.reader
                    .error(&path, format_args!("must be a string, not {found}"));
                continue;
            };
            let Some(text) = self.reader.text(&path, raw) else {
                continue;
            };
            if let Some(wrong) = rule(&text) {
                self.reader.error(&path, wrong);
            }
            strings.push(text);
        }
        strings
    }

    /// A table of strings, each with its key and its path.
    pub(super) fn string_entries(&mut self, key: &'static str) -> Vec<(&'r str, String, String)> {
        let mut found = Vec::new();
        for (name, value) in self.entries_of(key) {
            let path = join(&self.at(key), name);
            match value {
                DeValue::String(raw) => {
                    if let Some(text) = self.reader.text(&path, raw) {
                        found.push((name, text, path));
                    }
                }
                other => self.reader.error(
                    &path,
                    format_args!("must be a string, not {}", article(other.type_str())),
                ),
            }
        }
        found
    }

    /// The table under `key`, empty when the file has none.
    pub(super) fn table(&mut self, key: &'static str, kind: &'static str) -> Table<'r> {
        let entries = match self.take(key) {
            Some(DeValue::Table(entries)) => Some(entries),
            Some(other) => {
                self.wrong_type(key, "a table", other);
                None
            }
            None => None,
        };
        Self::new(self.reader, self.at(key), kind, entries)
    }

    /// The tables `[key.<id>]`, in the order of the file.
    pub(super) fn tables_by_id(
        &mut self,
        key: &'static str,
        kind: &'static str,
    ) -> Vec<(&'r str, Table<'r>)> {
        let mut tables = Vec::new();
        for (id, value) in self.entries_of(key) {
            let path = join(&self.at(key), id);
            match value {
                DeValue::Table(entries) => {
                    tables.push((id, Self::new(self.reader, path, kind, Some(entries))));
                }
                other => self.reader.error(
                    &path,
                    format_args!(
                        "must be a table `[{path}]`, not {}",
                        article(other.type_str())
                    ),
                ),
            }
        }
        tables
    }

    /// The tables `[[key]]`.
    pub(super) fn list_of_tables(
        &mut self,
        key: &'static str,
        kind: &'static str,
    ) -> Vec<Table<'r>> {
        let header = format!("a list of tables, each under `[[{}]]`", self.at(key));
        let items = match self.take(key) {
            Some(DeValue::Array(items)) => items,
            Some(other) => {
                self.wrong_type(key, &header, other);
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut tables = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.at(key));
            match item.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(Self::new(self.reader, path, kind, Some(entries)));
                }
                other => self.reader.error(
                    &path,
                    format_args!("must be a table, not {}", article(other.type_str())),
                ),
            }
        }
        tables
    }

    fn entries_of(
        &mut self,
        key: &'static str,
    ) -> impl Iterator<Item = (&'r str, &'r DeValue<'r>)> + use<'r> {
        let table = self.table(key, "");
        let entries = table.entries.into_iter().flat_map(DeTable::iter);
        entries.map(|(name, value)| (&**name.get_ref(), value.get_ref()))
    }

    /// Makes a key of old files known that means nothing any more.
    pub(super) fn leftover(&mut self, key: &'static str) {
        if self.entries.is_some_and(|entries| entries.contains_key(key)) {
            self.warn(key, "has no meaning any more and is ignored; remove it");
        }
        self.asked.push(key);
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for key in self.entries.into_iter().flat_map(DeTable::keys) {
            let key: &str = key.get_ref();
            if !self.asked.contains(&key) {
                let instead = self.instead_of(key);
                self.error(key, format_args!("unknown key `{key}`{instead}"));
            }
        }
    }

    fn instead_of(&self, key: &str) -> String {
        let known = self.reader.known.borrow();
        let setting = known
            .iter()
            .find(|(kind, known)| *kind == "settings" && *known == key);
        if self.path.is_empty() && setting.is_some() {
            return "; it belongs under `[settings]`".to_owned();
        }
        suggest::instead(key, self.asked.iter().copied())
    }
}

/// Reads several keys, each into the field of the same name.
macro_rules! fields {
    ($table:ident => $into:expr, $read:ident: $($field:ident),+ $(,)?) => {
        $($table.$read(stringify!($field), &mut $into.$field);)+
    };
    ($table:ident => $into:expr, $read:ident($range:expr): $($field:ident),+ $(,)?) => {
        $($table.$read(stringify!($field), $range, &mut $into.$field);)+
    };
}
pub(super) use fields;

/// `parent.key`, with the key in quotes where TOML wants them.
pub(super) fn join(parent: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let dot = if parent.is_empty() { "" } else { "." };
    if !key.is_empty() && key.chars().all(bare) {
        format!("{parent}{dot}{key}")
    } else {
        format!("{parent}{dot}{key:?}")
    }
}

fn article(type_name: &str) -> String {
    let an = type_name.starts_with(['a', 'i']);
    format!("{} {type_name}", if an { "an" } else { "a" })
}

/// The offset at which each line begins.
fn line_starts(text: &str) -> Vec<usize> {
    let after_newlines = memchr_newlines(text).map(|at| at + 1);
    std::iter::once(0).chain(after_newlines).collect()
}

fn memchr_newlines(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.match_indices('\n').map(|(at, _)| at)
}

fn index_table(
    table: &DeTable<'_>,
    path: &str,
    depth: usize,
    starts: &[usize],
    lines: &mut HashMap<String, usize>,
) {
    if depth >= DEEPEST {
        return;
    }
    for (key, value) in table {
        let path = join(path, key.get_ref());
        // The key's own place, save for tables: an id may first be named by an inner table's header.
        let at = key.span().start;
        lines.insert(path.clone(), line_of(starts, at));
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

/// The line, counted from 1, of an offset.
pub(super) fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset).max(1)
}

/// The line, counted from 1, of an offset into `text`.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    line_of(&line_starts(text), offset)
}
