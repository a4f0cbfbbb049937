//! Reads typed values from a TOML tree and records every error instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use super::env::{bare_reference, expand};
use super::finding::Log;
use super::lines::{self, join};
use super::options::Word;
use super::suggest;

/// The state shared by all tables while a file is read.
pub(super) struct Reader<'a> {
    pub(super) log: RefCell<Log>,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Every key that was read, by kind of table, and whether it was present.
    known: RefCell<BTreeMap<(&'static str, &'static str), bool>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &str, root: &DeTable<'_>, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let log = Log { lines: lines::of_paths(text, root), ..Log::default() };
        Self { log: RefCell::new(log), env, known: RefCell::default() }
    }

    pub(super) fn error(&self, path: &str, message: impl Display) {
        self.log.borrow_mut().error(path, &message.to_string());
    }

    pub(super) fn warn(&self, path: &str, message: impl Display) {
        self.log.borrow_mut().warn(path, &message.to_string());
    }

    /// Returns every key that was read, as (kind of table, key), and whether any table contained it.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeMap<(&'static str, &'static str), bool> {
        self.known.borrow().clone()
    }

    pub(super) fn text(&self, path: &str, raw: &str) -> Option<String> {
        if let Some(name) = bare_reference(raw) {
            self.warn(path, format_args!("`${name}` is taken as it is; write `${{{name}}}` for the variable's value"));
        }
        let lookup = |name: &str| {
            let value = (self.env)(name)?;
            let mut log = self.log.borrow_mut();
            log.from_env.insert(value.clone(), name.to_owned());
            Some(value)
        };
        let file = |path: &std::path::Path| {
            let value = super::source::read_secret(path)?;
            self.log.borrow_mut().from_env.insert(value.clone(), format!("file:{}", path.display()));
            Ok(value)
        };
        let expanded = expand(raw, lookup, file);
        expanded.map_err(|error| self.error(path, error)).ok()
    }
}

/// A table of the file. An absent table reads as an empty one.
///
/// Methods that take a `slot` leave its default value when the key is absent or invalid.
pub(super) struct Table<'r> {
    pub(super) reader: &'r Reader<'r>,
    /// The path, such as `users.alice`.
    pub(super) path: String,
    /// The kind of table, with `*` for ids, such as `users.*`.
    kind: &'static str,
    pub(super) entries: Option<&'r DeTable<'r>>,
    asked: Vec<&'static str>,
}

impl<'r> Table<'r> {
    pub(super) fn root(reader: &'r Reader<'r>, entries: &'r DeTable<'r>) -> Self {
        Self::new(reader, String::new(), "", Some(entries))
    }

    pub(super) fn new(
        reader: &'r Reader<'r>,
        path: String,
        kind: &'static str,
        entries: Option<&'r DeTable<'r>>,
    ) -> Self {
        Self { reader, path, kind, entries, asked: Vec::new() }
    }

    /// Returns the path of a key.
    pub(super) fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    pub(super) fn error(&self, key: &str, message: impl Display) {
        self.reader.error(&self.at(key), message);
    }

    pub(super) fn warn(&self, key: &str, message: impl Display) {
        self.reader.warn(&self.at(key), message);
    }

    /// Returns whether the file contains the key, and marks the key as known.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.take(key).is_some()
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<&'r DeValue<'r>> {
        let value = self.entries.and_then(|entries| entries.get(key));
        if !self.asked.contains(&key) {
            self.asked.push(key);
            let mut known = self.reader.known.borrow_mut();
            *known.entry((self.kind, key)).or_default() |= value.is_some();
        }
        value.map(toml::Spanned::get_ref)
    }

    pub(super) fn wrong_type(&self, key: &str, wanted: &str, found: &DeValue<'_>) {
        // Only the type is reported, because the value may be a misplaced secret.
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

    pub(super) fn whole<T: TryFrom<u64>>(&mut self, key: &'static str, range: RangeInclusive<u64>, slot: &mut T) {
        let Some(value) = self.take(key) else { return };
        let DeValue::Integer(number) = value else {
            return self.wrong_type(key, "a whole number", value);
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
        match parsed.filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok()) {
            Some(fits) => *slot = fits,
            None => {
                let (low, high) = (range.start(), range.end());
                self.error(key, format_args!("must be from {low} to {high}, not {number}"));
            }
        }
    }

    /// Reads an integer or a float. `fits` must reject NaN.
    pub(super) fn real(&mut self, key: &'static str, fits: impl Fn(f64) -> bool, rule: &str, slot: &mut f64) {
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

    /// Reads a number in 0..=1.
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

    /// Reads a required string. `example` is part of the error message. Returns an empty string after an error.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> String {
        if !self.has(key) {
            self.error(key, format_args!("missing; add it, for example `{key} = {example}`"));
        }
        self.string(key).unwrap_or_default()
    }

    /// Reads a point in time as text, from a string or a TOML date-time.
    pub(super) fn moment(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            DeValue::Datetime(moment) => Some(moment.to_string()),
            _ => self.string(key),
        }
    }

    pub(super) fn word<T: Word>(&mut self, key: &'static str, slot: &mut T) {
        let Some(text) = self.string(key) else { return };
        match T::words().find(|(word, _)| *word == text) {
            Some((_, value)) => *slot = value,
            None => {
                let instead = suggest::instead(&text, T::words().map(|(word, _)| word).collect::<Vec<_>>());
                self.error(key, format_args!("unknown value `{text}`{instead}"));
            }
        }
    }

    /// Accepts a deprecated key and ignores its value.
    pub(super) fn deprecated(&mut self, key: &'static str) {
        if self.entries.is_some_and(|entries| entries.contains_key(key)) {
            self.warn(key, "has no meaning any more and is ignored; remove it");
        }
        self.asked.push(key);
    }

    /// Reports unknown keys.
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
        if self.path.is_empty() && known.contains_key(&("settings", key)) {
            return "; it belongs under `[settings]`".to_owned();
        }
        suggest::instead(key, self.asked.iter().copied())
    }
}

/// Reads several keys into the fields of the same names.
macro_rules! fields {
    ($table:ident => $into:expr, $read:ident: $($field:ident),+ $(,)?) => {
        $($table.$read(stringify!($field), &mut $into.$field);)+
    };
    ($table:ident => $into:expr, $read:ident($range:expr): $($field:ident),+ $(,)?) => {
        $($table.$read(stringify!($field), $range, &mut $into.$field);)+
    };
}
pub(super) use fields;

pub(super) fn article(type_name: &str) -> String {
    let an = type_name.starts_with(['a', 'i']);
    format!("{} {type_name}", if an { "an" } else { "a" })
}
