//! Keys, users and teams that are made at run time.
//!
//! The database holds them ([`records`]), with the digests of the keys alone. Every replica has all keys in memory
//! ([`Directory`]), so that a request waits for no database, and asks once a second whether anything has changed. What the
//! configuration names wins: a user or team of the file cannot be changed here, and one of the database with the same id is
//! not in force.

mod changes;
mod directory;
mod file_people;
mod limits;
mod people;
mod records;
mod refresh;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use self::{
    changes::{ChangeError, KeyChange, KeyFilter, NewKey, NewTeam, NewUser, TeamChange, UserChange},
    directory::{Directory, Refreshing},
    file_people::FilePeople,
    limits::Limits,
    records::{KeyRecord, TeamRecord, UserRecord},
    token::is_well_formed,
};

use std::sync::Arc;

/// The facts of a key that are needed to say anew what it may do, when its owner has changed.
#[derive(Debug)]
pub(crate) struct RuntimeKey {
    pub(crate) id: Box<str>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) team: Option<Arc<str>>,
    /// Absent for most keys, which have just what their owner has.
    own: Option<Box<Own>>,
    is_enabled: bool,
}

/// What a key has of its own.
#[derive(Debug)]
struct Own {
    tags: Vec<String>,
    models: Vec<String>,
    /// JSON, as the database has it.
    limits: String,
}
