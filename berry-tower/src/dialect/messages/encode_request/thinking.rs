//! Whether the model thinks before it speaks.

use crate::dialect::{hub, messages::Thinking, unsupported::UnsupportedField};

/// The fewest tokens that Anthropic's models think with.
const LEAST: u64 = 1024;

/// What is reserved for thoughts whose number the model is free to choose.
const ADAPTIVE: u64 = 16384;

/// What the request asks for: by Anthropic's own field, else by `reasoning_effort`.
pub(super) fn wanted(chat: &hub::Request, limit: Option<u64>) -> Result<Option<Thinking>, UnsupportedField> {
    match chat.other.get("thinking").filter(|value| !value.is_null()) {
        Some(value) => {
            let thinking = value.read::<Thinking>().filter(|thinking| !matches!(thinking, Thinking::Other(_)));
            let thinking =
                thinking.ok_or_else(|| UnsupportedField::new("thinking", "it is no thinking of Anthropic's"))?;
            check(&thinking, chat, limit)?;
            Ok(Some(thinking))
        }
        None => by_effort(chat, limit),
    }
}

fn check(thinking: &Thinking, chat: &hub::Request, limit: Option<u64>) -> Result<(), UnsupportedField> {
    if let Thinking::Enabled { budget_tokens, .. } = thinking {
        let wrong = |why| Err(UnsupportedField::new("thinking.budget_tokens", why));
        if *budget_tokens < LEAST {
            return wrong("it must be at least 1024");
        }
        if limit.is_some_and(|limit| *budget_tokens >= limit) {
            return wrong("it must be below the most tokens of the answer");
        }
    }
    if is_on(thinking) && chat.top_k.is_some() {
        return Err(UnsupportedField::new("top_k", "Anthropic's models do not take it while they think"));
    }
    Ok(())
}

/// An effort is a wish: where something else leaves no room for thoughts there are none.
fn by_effort(chat: &hub::Request, limit: Option<u64>) -> Result<Option<Thinking>, UnsupportedField> {
    let budget: u64 = match chat.reasoning_effort.as_deref() {
        None | Some("none" | "minimal") => return Ok(None),
        Some("low") => 1024,
        Some("medium") => 4096,
        Some("high") => 16384,
        Some(_) => return Err(UnsupportedField::new("reasoning_effort", "it is none, minimal, low, medium or high")),
    };
    let budget = limit.map_or(budget, |limit| budget.min(limit - 1));
    let room = budget >= LEAST && chat.top_k.is_none();
    Ok(room.then(|| Thinking::Enabled { budget_tokens: budget, other: hub::Other::new() }))
}

/// Whether the model does think.
pub(super) fn is_on(thinking: &Thinking) -> bool {
    matches!(thinking, Thinking::Enabled { .. } | Thinking::Adaptive { .. })
}

/// What thoughts may take of the answer's tokens.
pub(super) fn budget(thinking: &Thinking) -> u64 {
    match thinking {
        Thinking::Enabled { budget_tokens, .. } => *budget_tokens,
        Thinking::Adaptive { .. } => ADAPTIVE,
        Thinking::Disabled | Thinking::Other(_) => 0,
    }
}
