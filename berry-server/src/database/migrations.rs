//! The schema, as a list of steps that are applied once each, in order.
//!
//! Steps only add: a replica of the version before goes on with the schema of the next one while a fleet is upgraded.
//! Times are milliseconds since 1970, flags are 0 and 1, lists and limits are JSON.

/// Creates the table that records the applied steps.
pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS berry_migrations (number BIGINT PRIMARY KEY)";

/// Reads the number of the last step.
pub(super) const VERSION: &str = "SELECT CAST(COALESCE(MAX(number), 0) AS BIGINT) FROM berry_migrations";

/// Returns the statement that records a step.
pub(super) fn record(number: i64) -> String {
    format!("INSERT INTO berry_migrations (number) VALUES ({number})")
}

/// Returns the steps after the last applied one, with their numbers from 1.
pub(super) fn after(version: i64) -> impl Iterator<Item = (i64, &'static str)> {
    (1..).zip(STEPS).filter(move |(number, _)| *number > version)
}

/// The steps. One that was released is never changed.
const STEPS: [&str; 3] = [
    // Keys, users and teams. A key has the digest of its token, and for a while those before. Each change takes the next `version`, so that replicas ask for what is newer than what they
    // know. What is gone stays as a row, for the same reason.
    "CREATE TABLE berry_state (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
     INSERT INTO berry_state (name, value) VALUES ('version', 0);
     CREATE TABLE berry_teams (
         id TEXT PRIMARY KEY, name TEXT NOT NULL, parent TEXT, models TEXT NOT NULL, limits TEXT NOT NULL,
         enabled BIGINT NOT NULL, created_at BIGINT NOT NULL, deleted BIGINT NOT NULL, version BIGINT NOT NULL
     );
     CREATE INDEX berry_teams_version ON berry_teams (version);
     CREATE TABLE berry_users (
         id TEXT PRIMARY KEY, name TEXT NOT NULL, team TEXT, tags TEXT NOT NULL, models TEXT NOT NULL,
         limits TEXT NOT NULL, enabled BIGINT NOT NULL, created_at BIGINT NOT NULL, deleted BIGINT NOT NULL,
         version BIGINT NOT NULL
     );
     CREATE INDEX berry_users_version ON berry_users (version);
     CREATE TABLE berry_keys (
         id TEXT PRIMARY KEY, hint TEXT NOT NULL, name TEXT NOT NULL, user_id TEXT, team_id TEXT, tags TEXT NOT NULL,
         models TEXT NOT NULL, limits TEXT NOT NULL, enabled BIGINT NOT NULL, created_at BIGINT NOT NULL,
         expires_at BIGINT, revoked_at BIGINT, version BIGINT NOT NULL
     );
     CREATE INDEX berry_keys_version ON berry_keys (version);
     CREATE INDEX berry_keys_user ON berry_keys (user_id);
     CREATE INDEX berry_keys_team ON berry_keys (team_id);
     CREATE TABLE berry_tokens (digest BYTEA PRIMARY KEY, key_id TEXT NOT NULL, expires_at BIGINT);
     CREATE INDEX berry_tokens_key ON berry_tokens (key_id);",
    // The ledger. A batch is recorded with its rows, so that a batch that is written again after a lost reply counts once.
    "CREATE TABLE berry_batches (id TEXT PRIMARY KEY, written_at BIGINT NOT NULL);
     CREATE TABLE berry_ledger (
         id TEXT PRIMARY KEY, finished_at BIGINT NOT NULL, key_id TEXT, user_id TEXT, team_id TEXT, endpoint TEXT NOT NULL,
         model TEXT, served_model TEXT, provider TEXT, backend_model TEXT, input_tokens BIGINT NOT NULL,
         cached_tokens BIGINT NOT NULL, cache_write_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL,
         reasoning_tokens BIGINT NOT NULL, cost_nanos BIGINT NOT NULL, wasted_nanos BIGINT NOT NULL, status BIGINT NOT NULL,
         outcome TEXT NOT NULL, attempts BIGINT NOT NULL, latency_ms BIGINT NOT NULL, first_token_ms BIGINT,
         end_user TEXT
     );
     CREATE INDEX berry_ledger_finished ON berry_ledger (finished_at);
     CREATE TABLE berry_usage_hours (
         hour BIGINT NOT NULL, key_id TEXT NOT NULL, user_id TEXT NOT NULL, team_id TEXT NOT NULL, model TEXT NOT NULL,
         backend TEXT NOT NULL, requests BIGINT NOT NULL, failed BIGINT NOT NULL, input_tokens BIGINT NOT NULL,
         cached_tokens BIGINT NOT NULL, cache_write_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL,
         reasoning_tokens BIGINT NOT NULL, cost_nanos BIGINT NOT NULL, wasted_nanos BIGINT NOT NULL,
         PRIMARY KEY (hour, key_id, user_id, team_id, model, backend)
     );",
    // Stored responses with the conversations that they end, both as JSON.
    "CREATE TABLE berry_responses (
         caller TEXT NOT NULL, id TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,
         bytes BIGINT NOT NULL, response TEXT NOT NULL, items TEXT NOT NULL, PRIMARY KEY (caller, id)
     );
     CREATE INDEX berry_responses_created ON berry_responses (created_at);",
];
