//! How one backend wants its requests of OpenAI's format.

use crate::backend::{Backend, Efforts, OptionalField, ReasoningHistory};

/// The fields that requests to a backend may have to go without.
const OMITTABLE: [OptionalField; 12] = [
    OptionalField::StreamOptions,
    OptionalField::MaxCompletionTokens,
    OptionalField::MaxTokens,
    OptionalField::ParallelToolCalls,
    OptionalField::ReasoningEffort,
    OptionalField::User,
    OptionalField::Strict,
    OptionalField::DeveloperRole,
    OptionalField::TextParts,
    OptionalField::SystemMessages,
    OptionalField::RequiredToolChoice,
    OptionalField::MessageNames,
];

/// How requests to one backend are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// A bit for each field that a request goes without.
    omitted: u32,
    pub(super) efforts: Efforts,
    history: ReasoningHistory,
}

impl Rules {
    /// The rules for a backend. Only chat completions know the newer name of the token limit.
    pub(super) fn new(backend: &Backend, is_chat: bool) -> Self {
        let mut rules = Self {
            omitted: 0,
            efforts: backend.efforts(),
            history: match is_chat {
                true => backend.reasoning_history(),
                false => ReasoningHistory::default(),
            },
        };
        for field in OMITTABLE {
            if !backend.accepts(field) && (is_chat || field != OptionalField::MaxTokens) {
                rules.omit(field);
            }
        }
        rules
    }

    pub(super) const fn omits(&self, field: OptionalField) -> bool {
        self.omitted & (1 << field as u32) != 0
    }

    pub(super) const fn omit(&mut self, field: OptionalField) {
        self.omitted |= 1 << field as u32;
    }

    pub(super) const fn limit_efforts(&mut self, efforts: Efforts) {
        self.efforts = efforts;
    }

    pub(super) const fn set_history(&mut self, history: ReasoningHistory) {
        self.history = history;
    }

    pub(super) const fn history(&self) -> ReasoningHistory {
        self.history
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The rules that omit these fields.
    pub(in super::super) fn omitting(fields: &[OptionalField]) -> Rules {
        let mut rules = Rules::default();
        fields.iter().for_each(|field| rules.omit(*field));
        rules
    }

    pub(in super::super) fn with_history(history: ReasoningHistory) -> Rules {
        Rules { history, ..Rules::default() }
    }
}
