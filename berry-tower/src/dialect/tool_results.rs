//! The order of tool results, which clients with tools that run side by side do not keep.

use super::hub::{Message, Role};

/// Returns the messages with their positions, each tool result behind the turn that calls it: Anthropic's and
/// Google's formats want all results of a turn in the turn that follows it.
pub(super) fn in_order(messages: &[Message]) -> Vec<(usize, &Message)> {
    let mut ordered: Vec<(usize, &Message)> = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let place = if message.role == Role::Tool { place_of(message, &ordered) } else { None };
        ordered.insert(place.unwrap_or(ordered.len()), (at, message));
    }
    ordered
}

/// Where a result belongs: behind the last turn that has its call, and the results of that turn. `None` where it
/// stands right already.
fn place_of(result: &Message, ordered: &[(usize, &Message)]) -> Option<usize> {
    let is_assistant = |(_, message): &(usize, &Message)| message.role == Role::Assistant;
    let last = ordered.iter().rposition(is_assistant)?;
    let calls = |(_, message): &(usize, &Message)| {
        let id = result.tool_call_id.as_deref();
        message.tool_calls.iter().flatten().any(|call| Some(&*call.id) == id)
    };
    let caller = ordered.iter().rposition(calls)?;
    // Turns of the assistant without anything between them become one.
    if ordered[caller..=last].iter().all(is_assistant) {
        return None;
    }
    let behind = &ordered[caller + 1..];
    Some(caller + 1 + behind.iter().take_while(|(_, message)| message.role == Role::Tool).count())
}
