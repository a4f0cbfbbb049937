//! Members that Anthropic's format lacks: most are refused, one is kept.

use crate::dialect::{hub, messages, unsupported::Rejector, value::Value};

/// Rejects members that this format lacks.
pub(super) const UNKNOWN: Rejector = Rejector::new("Anthropic's format");

/// Returns the mark `cache_control`. Other unrecognised members of turns and parts are echoed by clients and ignored.
pub(super) fn mark(other: &hub::Other) -> Option<&Value> {
    other.get("cache_control").filter(|mark| !mark.is_null())
}

/// Returns the members of a block with this `cache_control`.
pub(super) fn marked(mark: Option<&Value>) -> messages::Other {
    mark.map(|mark| ("cache_control".to_owned(), mark.clone())).into_iter().collect()
}
