//! The keys that take one word out of a fixed list: strategy, backend type, billing and the like.

use std::fmt;

use berry_tower::{
    backend::{
        Billing, ClaudeThinking, FallbackPermission, OnUnsupported, OpenAiApi, Probe, Sampling, StreamRecovery, strategy::NAMES,
    },
    select::TagPolicy,
};
use serde::{Serialize, Serializer};

/// A word out of a fixed list, as the reader sees it.
pub(super) trait Word: Copy + 'static {
    /// Every accepted spelling. The first one of each value is its own name, the others are old ones.
    fn words() -> impl Iterator<Item = (&'static str, Self)>;
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal $(| $old:literal)*,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name { $($(#[$about])* $variant,)+ }

        impl $name {
            /// The word as it stands in the file.
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

/// How a model picks one of its backends: the name of one of the library's strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Strategy(&'static str);

impl Strategy {
    /// The name.
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
    /// The wire format that a provider speaks, and for `azure` its addresses too. The library has these
    /// apart: a dialect, and Azure's deployments.
    BackendType {
        /// OpenAI's API, and all that copy it.
        #[default]
        OpenAi = "openai" | "open_a_i",
        /// Anthropic's Messages API.
        Claude = "claude",
        /// Google's `generateContent`.
        Gemini = "gemini",
        /// Azure OpenAI by deployment URLs; needs `api_version`.
        Azure = "azure",
    }
}

words! {
    /// How much the shared store is asked.
    StoreMode {
        /// Once for each request.
        #[default]
        Strict = "strict",
        /// For a part of a limit at a time.
        Leased = "leased",
    }
}

words! {
    /// What is allowed while the shared store is away.
    StoreOnError {
        /// This replica's share of what was left.
        #[default]
        Share = "share",
        /// The whole limit.
        Local = "local",
        /// Nothing.
        Deny = "deny",
    }
}

words! {
    /// How the use of a request is estimated before it is sent.
    EstimateBy {
        /// The most that it can be.
        #[default]
        Bound = "bound",
        /// What it probably is.
        Likely = "likely",
    }
}

/// Reads the library's enums by the names that they have there.
macro_rules! library_words {
    ($($type:ty),+) => {
        $(impl Word for $type {
            fn words() -> impl Iterator<Item = (&'static str, Self)> {
                Self::ALL.iter().map(|value| (value.name(), *value))
            }
        })+
    };
}

library_words!(Billing, ClaudeThinking, FallbackPermission, OnUnsupported, OpenAiApi, Probe, Sampling, StreamRecovery, TagPolicy);
