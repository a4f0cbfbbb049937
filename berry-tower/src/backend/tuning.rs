//! Parameters of a backend's state.

use std::time::Duration;

use crate::{breaker::BreakerPolicy, classify::Class};

/// The parameters of a backend's state. They may change while the state stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// The time after its last failure from which an unhealthy backend may take a trial. A measured
    /// latency that is older counts as unknown. Zero allows a trial at once; [`Duration::MAX`] never
    /// allows one. Default: 120 s.
    pub recovery_interval: Duration,
    /// The policy of the circuit breaker.
    pub breaker: BreakerPolicy,
    /// The parameters of the confidence.
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

/// The parameters of the strategy `smart_ai`; all but the bonus are between 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub struct SmartAi {
    /// The confidence in a new backend. Default: 0.8.
    pub initial_confidence: f64,
    /// The lowest confidence. Default: 0.05.
    pub min_confidence: f64,
    /// Whether the confidence in an idle backend drifts to the neutral 0.5. Default: yes.
    pub time_decay: bool,
    /// The share of requests that go to other backends than the best. Default: 0.2.
    pub exploration_ratio: f64,
    /// The factor that favours a trusted backend without the tag `premium`, between 1 and 2. Default: 1.1.
    pub non_premium_stability_bonus: f64,
    /// The changes of the confidence by outcome.
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

/// The changes of the confidence by the class of an outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustments {
    /// The increase for a success. Default: 0.1.
    pub success_boost: f64,
    /// The decrease for [`Class::Network`]. Default: 0.3.
    pub network_error_penalty: f64,
    /// The decrease for [`Class::Auth`]. Default: 0.8.
    pub auth_error_penalty: f64,
    /// The decrease for [`Class::RateLimited`]. Default: 0.1.
    pub rate_limit_penalty: f64,
    /// The decrease for [`Class::Server`]. Default: 0.2.
    pub server_error_penalty: f64,
    /// The decrease for [`Class::Model`]. Default: 0.3.
    pub model_error_penalty: f64,
    /// The decrease for [`Class::Timeout`]. Default: 0.2.
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
    /// Returns the change for a class; `None` for a neutral one.
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
