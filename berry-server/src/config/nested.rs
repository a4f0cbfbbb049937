//! Reads lists and tables within a table.

use toml::de::{DeTable, DeValue};

use super::lines::join;
use super::reader::{Table, article};

impl<'r> Table<'r> {
    /// Reads a list of strings. `rule` checks each string and returns an error message.
    pub(super) fn strings(&mut self, key: &'static str, rule: impl Fn(&str) -> Option<String>) -> Vec<String> {
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
                self.reader.error(&path, format_args!("must be a string, not {found}"));
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

    /// Reads a table of strings, each with its key and its path.
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
                other => self.reader.error(&path, format_args!("must be a string, not {}", article(other.type_str()))),
            }
        }
        found
    }

    /// Reads the table `key`, which is empty if absent.
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

    /// Reads the tables `[key.<id>]` in the order of the file.
    pub(super) fn tables_by_id(&mut self, key: &'static str, kind: &'static str) -> Vec<(&'r str, Table<'r>)> {
        let mut tables = Vec::new();
        for (id, value) in self.entries_of(key) {
            let path = join(&self.at(key), id);
            match value {
                DeValue::Table(entries) => {
                    tables.push((id, Self::new(self.reader, path, kind, Some(entries))));
                }
                other => self
                    .reader
                    .error(&path, format_args!("must be a table `[{path}]`, not {}", article(other.type_str()))),
            }
        }
        tables
    }

    /// Reads the tables `[[key]]`.
    pub(super) fn list_of_tables(&mut self, key: &'static str, kind: &'static str) -> Vec<Table<'r>> {
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
                other => self.reader.error(&path, format_args!("must be a table, not {}", article(other.type_str()))),
            }
        }
        tables
    }

    fn entries_of(&mut self, key: &'static str) -> impl Iterator<Item = (&'r str, &'r DeValue<'r>)> + use<'r> {
        let table = self.table(key, "");
        let entries = table.entries.into_iter().flat_map(DeTable::iter);
        entries.map(|(name, value)| (&**name.get_ref(), value.get_ref()))
    }
}
