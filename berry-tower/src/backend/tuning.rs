//! The numbers that a backend's state goes by.

use std::time::Duration;

use crate::{breaker::BreakerPolicy, classify::Class};

/// The numbers that a backend's state goes by; they may change while the state stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// After its last failure an unhealthy backend may take a trial; and a latency older than
    /// this is not believed any more.
    pub recovery_interval: Duration,
    /// When the circuit breaker opens, and for how long.
    pub breaker: BreakerPolicy,
    /// What the confidence goes by.
    pub smart_ai: SmartAi,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            recovery_interval: Duration::from_secs(120),
            breaker: BreakerPolicy::default(),
            smart_ai: SmartAi::default(),
        }
    }
}

/// The numbers of the strategy `smart_ai`; all but the bonus are in 0 ..= 1.
#[derive(Clone, Debug, PartialEq)]
pub struct SmartAi {
    /// A new backend's confidence.
    pub initial_confidence: f64,
    /// No failure takes it below this.
    pub min_confidence: f64,
    /// Whether an idle backend's confidence drifts to the neutral 0.5.
    pub time_decay: bool,
    /// The share of requests that try others than the best.
    pub exploration_ratio: f64,
    /// What a trusted backend that is not premium is favoured by: 1 ..= 2.
    pub non_premium_stability_bonus: f64,
    /// How much an outcome changes the confidence.
    pub adjustments: Adjustments,
}

impl Default for SmartAi {
    fn default() -> Self {
        Self {
            initial_confidence: 0.8,
            min_confidence: 0.05,
            time_decay: true,
            exploration_ratio: 0.2,
            non_premium_stability_bonus: 1.1,
            adjustments: Adjustments::default(),
        }
    }
}

/// How much an outcome changes the confidence, by its class.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustments {
    /// Up, for a success.
    pub success_boost: f64,
    /// Down, for [`Class::Network`].
    pub network_error_penalty: f64,
    /// Down, for [`Class::Auth`].
    pub auth_error_penalty: f64,
    /// Down, for [`Class::RateLimited`].
    pub rate_limit_penalty: f64,
    /// Down, for [`Class::Server`].
    pub server_error_penalty: f64,
    /// Down, for [`Class::Model`].
    pub model_error_penalty: f64,
    /// Down, for [`Class::Timeout`].
    pub timeout_penalty: f64,
}

impl Default for Adjustments {
    fn default() -> Self {
        Self {
            success_boost: 0.1,
            network_error_penalty: 0.3,
            auth_error_penalty: 0.8,
            rate_limit_penalty: 0.1,
            server_error_penalty: 0.2,
            model_error_penalty: 0.3,
            timeout_penalty: 0.2,
        }
    }
}

impl Adjustments {
    /// The change for a class; `None` for the neutral ones.
    #[must_use]
    pub const fn of(&self, class: Class) -> Option<f64> {
        match class {
            Class::Success => Some(self.success_boost),
            Class::Auth => Some(-self.auth_error_penalty),
            Class::RateLimited { .. } => Some(-self.rate_limit_penalty),
            Class::Model => Some(-self.model_error_penalty),
            Class::Server => Some(-self.server_error_penalty),
            Class::Timeout => Some(-self.timeout_penalty),
            Class::Network => Some(-self.network_error_penalty),
            Class::ClientError
            | Class::TooLong
            | Class::EndpointNotServed
            | Class::Cancelled
            | Class::LocalResource => None,
        }
    }
}
