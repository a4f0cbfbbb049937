//! Encodes how the model thinks.

use crate::dialect::{
    effort::Effort,
    hub,
    messages::{OutputConfig, Thinking},
    target::{ClaudeThinking, Target},
    unsupported::UnsupportedField,
};

/// The least thinking budget.
const LEAST: u64 = 1024;

/// The tokens reserved for adaptive thinking.
const ADAPTIVE: u64 = 16384;

/// Returns the thinking that the request asks for: by `thinking`, or else by `reasoning_effort`.
pub(super) fn wanted(chat: &hub::Request, limit: Option<u64>) -> Result<Option<Thinking>, UnsupportedField> {
    match chat.other.get("thinking").filter(|value| !value.is_null()) {
        // Other vendors' switch, which has no budget.
        Some(value)
            if value.get("type").is_some_and(|kind| *kind == "enabled") && value.get("budget_tokens").is_none() =>
        {
            by_effort(chat.reasoning_effort.as_deref().unwrap_or("medium"), chat, limit)
        }
        Some(value) => {
            let thinking = value.read::<Thinking>().filter(|thinking| !matches!(thinking, Thinking::Other(_)));
            let thinking =
                thinking.ok_or_else(|| UnsupportedField::new("thinking", "it is no thinking of Anthropic's"))?;
            check(&thinking, chat, limit)?;
            Ok(Some(thinking))
        }
        None => chat.reasoning_effort.as_deref().map_or(Ok(None), |effort| by_effort(effort, chat, limit)),
    }
}

/// Returns the name of the field by which the request asks for thinking.
pub(super) fn field(chat: &hub::Request) -> &'static str {
    if chat.other.get("thinking").is_some_and(|value| !value.is_null()) { "thinking" } else { "reasoning_effort" }
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

/// Returns thinking by effort; `None` where the token limit leaves no room for it.
fn by_effort(effort: &str, chat: &hub::Request, limit: Option<u64>) -> Result<Option<Thinking>, UnsupportedField> {
    let budget: u64 = match effort {
        "none" | "minimal" => return Ok(None),
        "low" => 1024,
        "medium" => 4096,
        "high" => 16384,
        "xhigh" => 24576,
        // With the default limit of output tokens this is what every model can write.
        "max" => 27904,
        _ => {
            let why = "it is none, minimal, low, medium, high, xhigh or max";
            return Err(UnsupportedField::new("reasoning_effort", why));
        }
    };
    let budget = limit.map_or(budget, |limit| budget.min(limit - 1));
    let room = budget >= LEAST && chat.top_k.is_none();
    Ok(room.then(|| Thinking::Enabled { budget_tokens: budget, other: hub::Other::default() }))
}

/// Whether thinking is on.
pub(super) fn is_on(thinking: &Thinking) -> bool {
    matches!(thinking, Thinking::Enabled { .. } | Thinking::Adaptive { .. })
}

/// Returns the tokens that thinking may take.
pub(super) fn budget(thinking: &Thinking) -> u64 {
    match thinking {
        Thinking::Enabled { budget_tokens, .. } => *budget_tokens,
        Thinking::Adaptive { .. } => ADAPTIVE,
        Thinking::Disabled | Thinking::Other(_) => 0,
    }
}

/// The thinking of a request, before the backend's model is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thought {
    thinking: Option<Thinking>,
    /// The effort that the request names.
    effort: Option<&'static str>,
}

impl Thought {
    pub(super) fn new(thinking: Option<Thinking>, effort: Option<&str>) -> Self {
        let effort = ["low", "medium", "high", "xhigh", "max"].into_iter().find(|known| Some(*known) == effort);
        Self { thinking, effort }
    }

    /// Returns the members for a backend.
    pub(super) fn for_backend(
        &self,
        target: &Target<'_>,
        config: Option<OutputConfig>,
    ) -> (Option<Thinking>, Option<OutputConfig>) {
        let takes_budget = match target.thinking {
            ClaudeThinking::Off => return (None, config),
            ClaudeThinking::Budget => true,
            ClaudeThinking::Adaptive => false,
            ClaudeThinking::Auto => !takes_adaptive_only(target.model),
        };
        match &self.thinking {
            Some(Thinking::Enabled { budget_tokens, other }) if !takes_budget => {
                let effort = self.effort.unwrap_or(match budget_tokens {
                    ..4096 => "low",
                    4096..16384 => "medium",
                    _ => "high",
                });
                let accepted = Effort::from_name(effort).and_then(|effort| target.efforts.nearest(effort));
                let effort = Some(accepted.map_or(effort, Effort::name).to_owned());
                let config = OutputConfig { effort, ..config.unwrap_or_default() };
                (Some(Thinking::Adaptive { other: other.clone() }), Some(config))
            }
            Some(Thinking::Adaptive { other }) if target.thinking == ClaudeThinking::Budget => {
                (Some(Thinking::Enabled { budget_tokens: ADAPTIVE, other: other.clone() }), config)
            }
            thinking => (thinking.clone(), config),
        }
    }
}

/// The first version of each family of Claude models that refuses a thinking budget and takes only adaptive
/// thinking (Anthropic, "Adaptive thinking", as of Claude Opus 4.7).
const ADAPTIVE_ONLY: [(&str, (u32, u32)); 5] =
    [("opus", (4, 7)), ("sonnet", (4, 7)), ("haiku", (4, 7)), ("fable", (0, 0)), ("mythos", (0, 0))];

/// Whether a model takes only adaptive thinking, by its name: `claude-opus-4-7`, with a provider's prefix and a
/// date behind it or not.
fn takes_adaptive_only(model: &str) -> bool {
    let Some((_, name)) = model.split_once("claude-") else { return false };
    let mut parts = name.split(['-', '.', '@', ':']);
    let family = parts.next().unwrap_or_default();
    let Some((_, first)) = ADAPTIVE_ONLY.into_iter().find(|(known, _)| *known == family) else { return false };
    // What has more digits is a date.
    let mut number = || parts.next().filter(|part| part.len() <= 2).and_then(|part| part.parse().ok()).unwrap_or(0);
    (number(), number()) >= first
}

#[cfg(test)]
mod tests {
    use super::takes_adaptive_only;

    #[test]
    fn knows_the_families_that_take_no_budget() {
        for model in [
            "claude-fable-5-1",
            "claude-opus-4-7",
            "anthropic/claude-opus-4.8",
            "eu.anthropic.claude-sonnet-5-v1:0",
            "claude-opus-5",
        ] {
            assert!(takes_adaptive_only(model), "{model}");
        }
        for model in
            ["claude-opus-4-20250514", "claude-opus-4-6", "claude-3-7-sonnet-latest", "claude-sonnet-4@20250514", "m"]
        {
            assert!(!takes_adaptive_only(model), "{model}");
        }
    }
}
