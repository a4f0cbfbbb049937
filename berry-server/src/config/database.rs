//! Reads `[database]`.

use std::{fmt, path::PathBuf};

use super::reader::Table;

/// `[database]`
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// The location of the database.
    pub url: DatabaseUrl,
    /// How many days the ledger keeps single requests.
    pub retain_days: u32,
    /// Whether the ledger keeps a hash of the caller's `metadata.user_id` or `user`.
    pub record_user: bool,
}

/// The location of a database. `Debug` hides its password.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// `sqlite://PATH`
    Sqlite(PathBuf),
    /// `postgres://…`
    #[cfg(feature = "database")]
    Postgres(Box<tokio_postgres::Config>),
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(other)) => one == other,
            #[cfg(feature = "database")]
            (Self::Postgres(one), Self::Postgres(other)) => one == other,
            #[cfg(feature = "database")]
            _ => false,
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            #[cfg(feature = "database")]
            Self::Postgres(_) => f.write_str("postgres://[REDACTED]"),
        }
    }
}

/// The default of `retain_days`.
pub(super) const RETAIN_DAYS: u32 = 30;

pub(super) fn read(mut t: Table<'_>) -> Option<Database> {
    let is_present = t.entries.is_some();
    let url = if is_present { t.required("url", "\"sqlite:///var/lib/berry/berry.db\"") } else { String::new() };
    // Marks the key as known.
    let _ = t.has("url");
    let mut database =
        Database { url: DatabaseUrl::Sqlite(PathBuf::new()), retain_days: RETAIN_DAYS, record_user: false };
    t.whole("retain_days", 1..=3650, &mut database.retain_days);
    t.flag("record_user", &mut database.record_user);
    if !url.is_empty() {
        match parse(&url) {
            Ok(url) => database.url = url,
            // The message does not quote the URL, which may contain a password.
            Err(message) => t.error("url", message),
        }
    } else if t.has("url") {
        t.error("url", "must not be empty; without a database, remove the table");
    }
    t.finish();
    is_present.then_some(database)
}

fn parse(url: &str) -> Result<DatabaseUrl, String> {
    if !cfg!(feature = "database") {
        return Err(
            "this server is built without the feature `database`; build it with, or remove the table".to_owned()
        );
    }
    if let Some(path) = url.strip_prefix("sqlite://") {
        return match path {
            "" | "/" => Err("names no file; write it like `sqlite:///var/lib/berry/berry.db`".to_owned()),
            _ if path.contains('?') => Err("takes no parameters for SQLite; remove `?` and what follows".to_owned()),
            _ => Ok(DatabaseUrl::Sqlite(PathBuf::from(path))),
        };
    }
    #[cfg(feature = "database")]
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let config: tokio_postgres::Config =
            url.parse().map_err(|error: tokio_postgres::Error| match std::error::Error::source(&error) {
                Some(cause) => format!("is not a connection string of PostgreSQL: {cause}"),
                None => "is not a connection string of PostgreSQL".to_owned(),
            })?;
        if config.get_hosts().is_empty() {
            return Err("names no host; write it like `postgres://berry:${PASSWORD}@db:5432/berry`".to_owned());
        }
        if config.get_dbname().is_none() {
            return Err("names no database; write it like `postgres://berry:${PASSWORD}@db:5432/berry`".to_owned());
        }
        return Ok(DatabaseUrl::Postgres(Box::new(config)));
    }
    Err("must begin with `sqlite://` or `postgres://`".to_owned())
}

#[cfg(all(test, feature = "database"))]
mod tests {
    use super::*;

    #[test]
    fn reads_both_kinds_of_url_and_shows_no_password() {
        assert_eq!(parse("sqlite:///var/b.db").unwrap(), DatabaseUrl::Sqlite("/var/b.db".into()));
        assert_eq!(parse("sqlite://b.db").unwrap(), DatabaseUrl::Sqlite("b.db".into()));
        let url = parse("postgres://berry:secret-word@db:5432/berry?sslmode=require").unwrap();
        assert!(!format!("{url:?}").contains("secret"));
        assert_ne!(url, parse("postgres://berry:other-word@db:5432/berry?sslmode=require").unwrap());
        for (bad, why) in [
            ("sqlite://", "names no file"),
            ("sqlite:///a?mode=ro", "takes no parameters"),
            ("mysql://secret", "must begin with"),
            ("postgres://berry@/berry", "names no host"),
            ("postgres://u:secret@db", "names no database"),
            ("postgres://u:secret@db/b?nonsense=1", "is not a connection string"),
        ] {
            let told = parse(bad).unwrap_err();
            assert!(told.contains(why) && !told.contains("secret"), "{bad}: {told}");
        }
    }
}
