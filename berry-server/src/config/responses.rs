//! Reads `[responses]`.

use super::database::DatabaseUrl;
use super::file::{Config, Responses};
use super::options::ResponseStore;
use super::reader::{Reader, Table, fields};

pub(super) fn read(mut t: Table<'_>) -> Responses {
    let mut responses = Responses::default();
    fields!(t => responses, flag: done_event);
    fields!(t => responses, word: store);
    t.whole("max_stored_bytes", 1 << 20..=1 << 40, &mut responses.max_stored_bytes);
    t.finish();
    responses
}

/// Checks that there is a database of the kind that stores responses.
pub(super) fn check(config: &Config, reader: &Reader<'_>) {
    let is_there = match (config.responses.store, config.database.as_ref().map(|database| &database.url)) {
        (ResponseStore::Off, _) | (ResponseStore::Sqlite, Some(DatabaseUrl::Sqlite(_))) => true,
        #[cfg(feature = "database")]
        (ResponseStore::Postgres, Some(DatabaseUrl::Postgres(_))) => true,
        _ => false,
    };
    if !is_there {
        let url = match config.responses.store {
            ResponseStore::Postgres => "postgres://user:password@host:5432/berry",
            _ => "sqlite:///var/lib/berry/berry.db",
        };
        reader.error("responses.store", format!("needs a `[database]` of that kind, such as `url = \"{url}\"`"));
    }
}
