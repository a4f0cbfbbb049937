//! The keys that take one word out of a fixed list: strategy, backend type, billing and the like.

use std::fmt;

use serde::{Serialize, Serializer};

/// A word out of a fixed list, as the reader sees it.
pub(super) trait Word: Copy + 'static {
    /// Every accepted spelling. The first one of each value is its own name, the others are old ones.
    const WORDS: &'static [(&'static str, Self)];
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
            const WORDS: &'static [(&'static str, Self)] =
                &[$(($word, Self::$variant), $(($old, Self::$variant),)*)+];
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

words! {
    /// How a model picks one of its backends.
    Strategy {
        /// By weight, confidence, recovery and cost.
        #[default]
        SmartAi = "smart_ai",
        /// Uniformly.
        Random = "random",
        /// In proportion to the weights.
        WeightedRandom = "weighted_random",
        /// The next in turn.
        RoundRobin = "round_robin",
        /// The one with the shortest time to the first byte.
        LeastLatency = "least_latency",
        /// The one with the lowest priority number.
        Failover = "failover",
        /// By weight among the healthy ones.
        WeightedFailover = "weighted_failover",
        /// By weight times the stage of recovery.
        SmartWeightedFailover = "smart_weighted_failover",
    }
}

words! {
    /// The protocol that a provider speaks.
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
    /// What a provider charges for.
    BillingMode {
        /// By the token: a probe costs next to nothing.
        #[default]
        PerToken = "per_token",
        /// By the request: a probe costs as much as a request.
        PerRequest = "per_request",
    }
}

words! {
    /// How far the gateway goes to find out whether a backend is well.
    Probe {
        /// Asks for the models list and, when unhealthy, for a chat of one token.
        #[default]
        Chat = "chat",
        /// Asks for the models list alone.
        Models = "models",
        /// Never asks.
        None = "none",
    }
}

words! {
    /// What users without tags may use.
    TagPolicy {
        /// Backends without tags (the tag `premium` aside) only.
        #[default]
        Strict = "strict",
        /// All backends.
        Open = "open",
    }
}

words! {
    /// What becomes of a stream that is cut after its head went out.
    StreamRecovery {
        /// It ends with an error event.
        #[default]
        Off = "off",
        /// Another backend starts anew and what the client has already is skipped.
        Replay = "replay",
        /// Another backend continues from the text so far.
        Prefill = "prefill",
    }
}

words! {
    /// What happens to optional fields of a request that a backend's format cannot express.
    OnUnsupported {
        /// The backend answers without them, and `x-berry-dropped` names them.
        #[default]
        Drop = "drop",
        /// The backend is passed over.
        Refuse = "refuse",
    }
}

words! {
    /// How a translated request tells a Claude model to think.
    Thinking {
        /// By the model's family.
        #[default]
        Auto = "auto",
        /// With a budget of tokens.
        Budget = "budget",
        /// Adaptively, with an effort.
        Adaptive = "adaptive",
        /// Not at all.
        Off = "off",
    }
}

words! {
    /// Which sampling parameters a translated request may carry to a backend.
    Sampling {
        /// `temperature` and `top_p`.
        #[default]
        All = "all",
        /// `temperature` alone.
        Temperature = "temperature",
        /// Neither.
        None = "none",
    }
}
