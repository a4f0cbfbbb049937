//! Reads `[users.<id>]`.

use std::num::NonZeroU32;

use jiff::Timestamp;
use secrecy::SecretString;

use super::file::{Credential, RateLimit, User};
use super::reader::{Table, fields};

/// The minimum length of a token, so that it cannot be guessed.
const MIN_TOKEN_LENGTH: usize = 16;
/// The length below which a token causes a warning.
const RECOMMENDED_TOKEN_LENGTH: usize = 24;

pub(super) fn read(id: &str, mut t: Table<'_>) -> User {
    let mut user = User {
        name: t.string("name").unwrap_or_else(|| id.to_owned()),
        credential: credential(&mut t),
        allowed_models: t.strings("allowed_models", |_| None),
        enabled: true,
        tags: tags(&mut t),
        expires_at: expires_at(&mut t),
        rate_limit: rate_limit(t.table("rate_limit", "users.*.rate_limit")),
        team: t.string("team"),
        limits: super::limits::read(t.table("limits", "users.*.limits")),
    };
    fields!(t => user, flag: enabled);
    t.finish();
    user
}

/// Reads the `tags` of a user or a backend.
pub(super) fn tags(t: &mut Table<'_>) -> Vec<String> {
    t.strings("tags", |tag| {
        let bad = tag.is_empty() || tag.contains(char::is_whitespace);
        bad.then(|| "a tag must not be empty nor hold spaces".to_owned())
    })
}

fn credential(t: &mut Table<'_>) -> Credential {
    if t.has("token_sha256") {
        if t.has("token") {
            t.error("token_sha256", "stands instead of `token`; remove one of them");
        }
        return Credential::Sha256(digest(t));
    }
    let token = t.required("token", "\"${MY_TOKEN}\"");
    let length = token.chars().count();
    if token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        t.error("token", "must not hold white space or control characters");
    } else if length < MIN_TOKEN_LENGTH {
        let message = format!("has {length} characters; it must have {MIN_TOKEN_LENGTH} or more");
        t.error("token", message);
    } else if length < RECOMMENDED_TOKEN_LENGTH {
        let message = format!("has only {length} characters; {RECOMMENDED_TOKEN_LENGTH} or more are safer");
        t.warn("token", message);
    }
    Credential::Token(SecretString::from(token))
}

fn digest(t: &mut Table<'_>) -> [u8; 32] {
    let mut digest = [0; 32];
    let Some(text) = t.string("token_sha256") else {
        return digest;
    };
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        t.error("token_sha256", "must be 64 hex digits, as `printf %s TOKEN | sha256sum` prints them");
        return digest;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
    }
    digest
}

fn expires_at(t: &mut Table<'_>) -> Option<Timestamp> {
    let text = t.moment("expires_at")?;
    let parsed = text.parse::<Timestamp>();
    if parsed.is_err() {
        let message = "must be a time with its offset (RFC 3339), like `2027-01-31T00:00:00Z`";
        t.error("expires_at", message);
    }
    let expires_at: Option<Timestamp> = parsed.ok();
    if expires_at.is_some_and(|time| time <= Timestamp::now()) {
        t.warn("expires_at", "is in the past, so the user is refused; set a later time or remove it");
    }
    expires_at
}

fn rate_limit(mut t: Table<'_>) -> RateLimit {
    let limit = RateLimit {
        requests_per_minute: count(&mut t, "requests_per_minute"),
        requests_per_hour: count(&mut t, "requests_per_hour"),
        requests_per_day: count(&mut t, "requests_per_day"),
        max_concurrent_requests: count(&mut t, "max_concurrent_requests"),
    };
    let windows = [
        ("requests_per_minute", limit.requests_per_minute),
        ("requests_per_hour", limit.requests_per_hour),
        ("requests_per_day", limit.requests_per_day),
    ];
    let given: Vec<_> = windows.into_iter().filter_map(|(key, limit)| Some((key, limit?))).collect();
    for pair in given.windows(2) {
        let [(shorter, few), (longer, many)] = [pair[0], pair[1]];
        if few > many {
            let message = format!("{many} is less than `{shorter}` ({few}), which could never be used up");
            t.error(longer, message);
        }
    }
    t.finish();
    limit
}

fn count(t: &mut Table<'_>, key: &'static str) -> Option<NonZeroU32> {
    let mut count = 0;
    t.whole(key, 1..=u64::from(u32::MAX), &mut count);
    NonZeroU32::new(count)
}
