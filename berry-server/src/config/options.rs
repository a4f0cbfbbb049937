//! The types of keys with a fixed list of values, such as the strategy and the backend type.

use std::fmt;

use berry_tower::{
    backend::{
        AnswerModel, Billing, ClaudeThinking, FallbackPermission, OnUnsupported, OpenAiApi, Probe, ReasoningHistory,
        Sampling, StreamRecovery, TokenLimit, strategy::NAMES,
    },
    select::TagPolicy,
};
use serde::{Serialize, Serializer};

/// A type with a fixed list of names.
pub(super) trait Word: Copy + 'static {
    /// Returns every accepted name. The first name of each value is canonical, and the others are aliases.
    fn words() -> impl Iterator<Item = (&'static str, Self)>;
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal $(| $old:literal)*,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name { $($(#[$about])* $variant,)+ }

        impl $name {
            /// Returns the canonical name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl Word for $name {
            fn words() -> impl Iterator<Item = (&'static str, Self)> {
                [$(($word, Self::$variant), $(($old, Self::$variant),)*)+].into_iter()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

/// The name of a selection strategy of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Strategy(&'static str);

impl Strategy {
    /// Returns the name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self("smart_ai")
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl Word for Strategy {
    fn words() -> impl Iterator<Item = (&'static str, Self)> {
        NAMES.into_iter().map(|name| (name, Self(name)))
    }
}

words! {
    /// The API of a provider: its wire format and, for `azure`, the form of its URLs. The library represents these
    /// separately.
    BackendType {
        /// OpenAI's API and compatible ones.
        #[default]
        OpenAi = "openai" | "open_a_i",
        /// Anthropic's Messages API.
        Claude = "claude",
        /// Google's `generateContent`.
        Gemini = "gemini",
        /// Azure OpenAI with deployment URLs; requires `api_version`.
        Azure = "azure",
    }
}

words! {
    /// How often the shared store is used.
    StoreMode {
        /// Once per request.
        #[default]
        Strict = "strict",
        /// Once per reserved part of a limit.
        Leased = "leased",
    }
}

words! {
    /// The limit that applies while the shared store is unavailable.
    StoreOnError {
        /// The share of this replica in the rest of the limit.
        #[default]
        Share = "share",
        /// The whole limit.
        Local = "local",
        /// No requests.
        Deny = "deny",
    }
}

words! {
    /// How the usage of a request is estimated before it is sent.
    EstimateBy {
        /// By its upper bound.
        #[default]
        Bound = "bound",
        /// By its likely value.
        Likely = "likely",
    }
}

words! {
    /// Where finished responses are stored.
    ResponseStore {
        /// Nowhere.
        #[default]
        Off = "off",
        /// In the SQLite file of `[database]`.
        Sqlite = "sqlite",
        /// In the PostgreSQL database of `[database]`.
        Postgres = "postgres",
    }
}

/// Implements [`Word`] for enums of the library with the names that they have there.
macro_rules! library_words {
    ($($type:ty),+) => {
        $(impl Word for $type {
            fn words() -> impl Iterator<Item = (&'static str, Self)> {
                Self::ALL.iter().map(|value| (value.name(), *value))
            }
        })+
    };
}

library_words!(
    AnswerModel,
    Billing,
    ClaudeThinking,
    FallbackPermission,
    OnUnsupported,
    OpenAiApi,
    Probe,
    ReasoningHistory,
    Sampling,
    StreamRecovery,
    TagPolicy,
    TokenLimit
);
