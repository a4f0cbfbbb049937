//! Reading what providers really send: a member may be missing, null, empty or of a neighbouring type
//! wherever it is clear what is meant. What a response says is never guessed, since a gap in it is worse than
//! an error.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    codec::{Malformed, StreamItem, WireError},
    value::Value,
};

#[derive(Deserialize)]
#[serde(untagged)]
enum Any<T> {
    Expected(T),
    Other(IgnoredAny),
}

/// Reads a value, or the default for a value of any other type.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(match Any::deserialize(from)? {
        Any::Expected(value) => value,
        Any::Other(_) => T::default(),
    })
}

/// Reads a value, or the default for `null`; anything else is an error.
pub(super) fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads a text; a number is given in digits, an empty list or object and null are the empty text.
///
/// # Errors
/// The value is of another type and not empty, so that something would be lost.
pub(super) fn text_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let value = Value::deserialize(from)?;
    if is_blank(Some(&value)) {
        return Ok(String::new());
    }
    text(Some(&value)).ok_or_else(|| serde::de::Error::custom("expected a text"))
}

/// Reads a value; `null` and empty values are none.
///
/// # Errors
/// The value is of another type and not empty, so that something would be lost.
pub(super) fn filled<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(from)?;
    if is_blank(Some(&value)) {
        return Ok(None);
    }
    value.read().map(Some).ok_or_else(|| serde::de::Error::custom("a value of another type"))
}

/// Reads a number of a position; a text is read as a number, anything else is 0.
pub(super) fn position<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(whole(Some(&value)).and_then(|number| u32::try_from(number).ok()).unwrap_or_default())
}

/// Reads a count or a time; a fraction is cut off, a text is read as a number, and anything else is 0.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(whole(Some(&value)).unwrap_or_default())
}

/// Reads a flag that may be missing; a text or a number is read as a flag, anything else counts as missing.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Bool(flag) => Some(flag),
        value => match text(Some(&value)).as_deref() {
            Some("true" | "True" | "1") => Some(true),
            Some("false" | "False" | "0") => Some(false),
            _ => None,
        },
    })
}

/// Reads a count that may be missing; anything that is no number counts as missing.
pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(whole(Some(&value)))
}

/// Whether a value says no more than its absence: null, an empty text, list or object.
pub(super) fn is_blank(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(elements)) => elements.is_empty(),
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    }
}

/// Returns a text that is not empty; a number is given in digits.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns a whole number, also one that is written as a text or with a fraction.
pub(super) fn whole(value: Option<&Value>) -> Option<u64> {
    let of_float = |float: f64| (float >= 0.0 && float.is_finite()).then_some(float as u64);
    match value? {
        Value::Number(number) => number.as_u64().or_else(|| of_float(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok().or_else(|| of_float(text.trim().parse().ok()?)),
        _ => None,
    }
}

/// Returns the elements of a list; an object stands for a list of one.
///
/// # Errors
/// The value is neither, and not empty.
pub(super) fn list(value: Option<&Value>, what: Malformed) -> Result<&[Value], Malformed> {
    match value {
        Some(Value::Array(elements)) => Ok(elements),
        Some(object @ Value::Object(members)) if !members.is_empty() => Ok(std::slice::from_ref(object)),
        value if is_blank(value) => Ok(&[]),
        _ => Err(what),
    }
}

/// Handles an event that cannot be decoded: one that is JSON may have held a piece of the response, so the
/// stream fails; anything else is noise.
///
/// # Errors
/// The data is not JSON.
pub(super) fn unreadable(data: &str, what: Malformed, out: &mut Vec<StreamItem>) -> Result<(), Malformed> {
    serde_json::from_str::<IgnoredAny>(data).map_err(|_| what)?;
    out.push(broken(what));
    Ok(())
}

/// Returns the end of a stream that sent what cannot be understood.
pub(super) fn broken(Malformed(what): Malformed) -> StreamItem {
    StreamItem::Error(WireError { kind: None, code: None, message: format!("the provider sent {what}") })
}
