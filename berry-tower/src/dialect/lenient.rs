//! Reading what imitators of a format write: a member of no weight that is `null` or of another type is
//! as one that is absent. What an answer says is never read so, for a hole in it is worse than an error.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::codec::{Malformed, StreamItem, WireError};

#[derive(Deserialize)]
#[serde(untagged)]
enum Any<T> {
    Fine(T),
    Other(IgnoredAny),
}

/// A value, or the default for anything else.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(match Any::deserialize(from)? {
        Any::Fine(value) => value,
        Any::Other(_) => T::default(),
    })
}

/// A value, or the default for `null`; anything else is an error.
pub(super) fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A count or a time; a fraction is cut off, and 0 stands for anything else.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Broken(f64),
    }
    Ok(match Any::deserialize(from)? {
        Any::Fine(Number::Whole(number)) => number,
        // Saturates; below 0 it is 0.
        Any::Fine(Number::Broken(number)) => number as u64,
        Any::Other(_) => 0,
    })
}

/// What becomes of an event that cannot be read: one that is JSON may have held a piece of the answer, so
/// the stream fails; anything else is noise.
pub(super) fn unreadable(data: &str, what: Malformed, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
    serde_json::from_str::<IgnoredAny>(data).map_err(|_| what)?;
    out.push(broken(what));
    Ok(())
}

/// The end of a stream that says what cannot be understood.
pub(super) fn broken(Malformed(what): Malformed) -> StreamItem {
    StreamItem::Error(WireError { kind: None, code: None, message: format!("the provider sent {what}") })
}
