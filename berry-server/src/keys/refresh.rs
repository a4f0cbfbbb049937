//! Reading what has changed in the database.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use berry_tower::auth::ApiKey;

use super::{
    Directory, Own, RuntimeKey,
    directory::Inner,
    people::People,
    records::{KEY, TEAM, TeamRecord, USER, UserRecord},
};
use crate::{
    config::build::Caller,
    database::{DatabaseError, Row},
};

/// How many keys are read at once.
const PAGE: i64 = 2_000;

impl Directory {
    /// Reads what has changed since the last time. After it a change that was committed before it began is in force.
    ///
    /// # Errors
    /// The database does not answer; then what is known stays in force.
    pub(crate) async fn refresh(&self) -> Result<(), DatabaseError> {
        let inner = self.inner();
        // The semaphore is never closed.
        let _turn = inner.turn.acquire().await;
        let known = inner.version.load(Relaxed);
        let rows = inner.database.query("SELECT value FROM berry_state WHERE name = 'version'", Vec::new()).await?;
        let newest = rows.first().map_or(0, |row| row.integer(0));
        if newest < known {
            // Another database was put in place of the one before.
            inner.keys.replace([]);
            inner.people.rcu(|people| people.without_stored());
            inner.read_since(-1).await?;
        } else if newest > known {
            inner.read_since(known).await?;
        }
        inner.version.store(newest, Relaxed);
        self.set_loaded();
        Ok(())
    }
}

impl Inner {
    /// Reads the changes after a version. What is read beyond the newest version that was seen is read again later.
    async fn read_since(&self, known: i64) -> Result<(), DatabaseError> {
        let teams = format!("SELECT {TEAM} FROM berry_teams WHERE version > $1");
        let teams: Vec<_> = self.database.query(teams, vec![known.into()]).await?.iter().map(TeamRecord::of).collect();
        let users = format!("SELECT {USER} FROM berry_users WHERE version > $1");
        let users: Vec<_> = self.database.query(users, vec![known.into()]).await?.iter().map(UserRecord::of).collect();
        if !teams.is_empty() || !users.is_empty() {
            self.people.rcu(|people| people.with_changes(&users, &teams));
            self.update_callers();
        }
        let page = format!(
            "SELECT {KEY}, t.digest, t.expires_at FROM berry_keys k JOIN berry_tokens t ON t.key_id = k.id \
             WHERE k.version > $1 OR (k.version = $1 AND t.digest > $2) ORDER BY k.version, t.digest LIMIT $3"
        );
        // Greater than every digest: no key has this version yet, or all of it has been read.
        let (mut version, mut digest) = (known, vec![0xff; 33]);
        loop {
            let params = vec![version.into(), digest.as_slice().into(), PAGE.into()];
            let rows = self.database.query(page.clone(), params).await?;
            self.apply(&rows);
            let Some(last) = rows.last().filter(|_| i64::try_from(rows.len()) == Ok(PAGE)) else { return Ok(()) };
            (version, digest) = (last.integer(12), last.bytes(13).to_vec());
        }
    }

    /// Puts keys into force, or out of it.
    fn apply(&self, rows: &[Row]) {
        let people = self.people.load_full();
        let (mut insert, mut remove) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            let Ok(digest) = <[u8; 32]>::try_from(row.bytes(13)) else { continue };
            if row.maybe_integer(11).is_some() {
                remove.push(digest);
            } else {
                insert.push(key_of(&people, row, digest));
            }
        }
        self.keys.update(&insert, &remove);
        if !Arc::ptr_eq(&people, &self.people.load()) {
            self.update_callers();
        }
    }
}

/// Reads a key with the columns of [`KEY`], its digest, and the time at which the digest expires.
fn key_of(people: &People, row: &Row, digest: [u8; 32]) -> ApiKey<Arc<Caller>> {
    let (tags, models, limits) = (row.text(5), row.text(6), row.text(7));
    let list = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap_or_default();
    let own = (tags != "[]" || models != "[]" || limits != "{}")
        .then(|| Box::new(Own { tags: list(tags), models: list(models), limits: limits.to_owned() }));
    let key = Arc::new(RuntimeKey {
        id: row.text(0).into(),
        user: row.maybe_text(3).map(|id| people.user_id(id)),
        team: row.maybe_text(4).map(|id| people.team_id(id)),
        own,
        is_enabled: row.integer(8) != 0,
    });
    let expiries = [row.maybe_integer(10), row.maybe_integer(14)];
    let (caller, is_accepted) = people.caller(&key);
    ApiKey::from_digest(digest, caller)
        .enabled(is_accepted)
        .expires_at(expiries.into_iter().flatten().min().map(moment))
}

fn moment(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
