//! The ids in a request that only the account knows which made them, and the preference for its backends.

use std::sync::Arc;

use memchr::memmem;

use crate::{
    backend::{Backend, IdHash, Model, strategy::Candidate},
    endpoint::Endpoint,
};

/// The members that hold such ids, the most binding first.
const NAMES: [&[u8]; 6] = [
    b"\"previous_response_id\"",
    b"\"conversation\"",
    b"\"container\"",
    b"\"container_id\"",
    b"\"encrypted_content\"",
    b"\"file_id\"",
];

/// The most ids of one member that are looked up, from the end.
const MOST: usize = 8;

/// Keeps the candidates of the account that made an id in the request, if there are any. Another account would refuse the
/// id, or the reasoning would be lost.
pub(super) fn prefer_maker(list: &mut Vec<Candidate<'_>>, model: &Model, endpoint: Option<Endpoint>, body: &[u8]) {
    let is_bound = matches!(endpoint, Some(Endpoint::Responses | Endpoint::Messages));
    let made = |backend: &Arc<Backend>| !backend.state().made_ids().is_empty();
    if !is_bound || list.len() < 2 || !model.backends().iter().any(made) {
        return;
    }
    for id in ids(body) {
        let maker = model.backends().iter().find(|backend| backend.state().made_ids().contains(id));
        let Some(account) = maker.map(|backend| &backend.id().provider) else { continue };
        if list.iter().any(|it| it.backend.id().provider == *account) {
            list.retain(|it| it.backend.id().provider == *account);
            return;
        }
    }
}

/// Returns the hashes of the ids.
fn ids(body: &[u8]) -> impl Iterator<Item = u64> {
    let reference = memmem::find(body, b"\"item_reference\"").map(|_| &b"\"id\""[..]);
    // A search from the end is slow where there is nothing to find.
    let is_there = |name: &&[u8]| memmem::find(body, name).is_some();
    NAMES.into_iter().chain(reference).filter(is_there).flat_map(move |name| {
        let mut end = body.len();
        let next = move || {
            let at = memmem::rfind(&body[..end], name)?;
            end = at;
            Some(value(&body[at + name.len()..]))
        };
        std::iter::from_fn(next).take(MOST).flatten()
    })
}

/// Returns the hash of the text that follows a name, or of the `id` in the object that follows it.
fn value(after: &[u8]) -> Option<u64> {
    let after = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let text = match after.strip_prefix(b"{") {
        Some(object) => object.trim_ascii_start().strip_prefix(b"\"id\"")?.trim_ascii_start().strip_prefix(b":")?,
        None => after,
    };
    let text = text.trim_ascii_start().strip_prefix(b"\"")?;
    let mut hash = IdHash::default();
    hash.add(&text[..memchr::memchr(b'"', text)?]);
    Some(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_ids_of_a_request() {
        let hash = |id: &str| {
            let mut hash = IdHash::default();
            hash.add(id.as_bytes());
            hash.finish()
        };
        let body = br#"{"input":[{"type":"reasoning","encrypted_content":"one"},{"encrypted_content": "two"},
            {"type":"item_reference","id":"rs_1"},{"encrypted_content":null}],"conversation":{"id":"conv_1"},
            "previous_response_id" : "resp_1","container":7}"#;
        let found: Vec<_> = ids(body).collect();
        assert_eq!(found, ["resp_1", "conv_1", "two", "one", "conv_1", "rs_1"].map(hash));
    }
}
