//! The confidence of the strategy `smart_ai` in a backend: pure functions.

use super::tuning::SmartAi;
use crate::classify::Class;

/// The value to which the confidence in an idle backend drifts.
pub(super) const NEUTRAL: f64 = 0.5;

/// The lowest confidence of a trusted backend.
pub(super) const TRUSTED: f64 = 0.6;

const HOUR: u64 = 3_600_000;

/// Returns the confidence after an outcome; neutral classes leave it as it is.
pub(super) fn after(confidence: f64, class: Class, tuning: &SmartAi) -> f64 {
    match tuning.adjustments.of(class) {
        None => confidence,
        Some(change) if change < 0.0 => tidy(confidence + change).max(tuning.min_confidence),
        Some(change) => tidy(confidence + change).min(1.0),
    }
}

/// Rounds to nine decimals. Tenths do not add up in binary: 0.7 + 0.1 would miss the step at 0.8.
fn tidy(confidence: f64) -> f64 {
    (confidence * 1e9).round() / 1e9
}

/// Returns the confidence after a failed connectivity check.
pub(super) const fn halved(confidence: f64, tuning: &SmartAi) -> f64 {
    (confidence / 2.0).max(tuning.min_confidence)
}

/// Returns the confidence after a successful chat probe: at least that of a new backend. Otherwise a
/// backend at the floor would get too few requests to regain its share.
pub(super) const fn proven(confidence: f64, tuning: &SmartAi) -> f64 {
    confidence.max(tuning.initial_confidence)
}

/// Returns the confidence as it is read `idle` milliseconds after the last request.
pub(super) const fn read(confidence: f64, idle: u64, tuning: &SmartAi) -> f64 {
    if !tuning.time_decay || idle <= HOUR {
        return confidence;
    }
    let kept = if idle <= 6 * HOUR {
        0.95
    } else if idle <= 24 * HOUR {
        0.9
    } else if idle <= 72 * HOUR {
        0.8
    } else {
        0.7
    };
    NEUTRAL + (confidence - NEUTRAL) * kept
}

/// Returns the share of its weight that a backend of this confidence keeps.
pub(super) const fn trust(confidence: f64) -> f64 {
    if confidence >= 0.8 {
        confidence
    } else if confidence >= TRUSTED {
        0.8 * confidence
    } else if confidence >= 0.3 {
        0.5 * confidence
    } else {
        0.05
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_hours_pull_to_the_middle_from_both_sides() {
        let tuning = SmartAi::default();
        for (hours, kept) in [(0, 1.0), (1, 1.0), (2, 0.95), (6, 0.95), (24, 0.9), (72, 0.8), (73, 0.7)] {
            for c in [0.05, 0.5, 1.0] {
                assert_eq!(read(c, hours * HOUR, &tuning), if kept == 1.0 { c } else { 0.5 + (c - 0.5) * kept });
            }
        }
        assert_eq!(read(1.0, 99 * HOUR, &SmartAi { time_decay: false, ..tuning }), 1.0);
    }

    #[test]
    fn less_confidence_leaves_less_of_the_weight() {
        assert_eq!([0.9, 0.7, 0.5, 0.1].map(trust), [0.9, 0.8 * 0.7, 0.25, 0.05]);
    }

    #[test]
    fn every_class_has_its_own_step() {
        let tuning = SmartAi::default();
        for (class, after_it) in [
            (Class::Success, 1.0),
            (Class::ClientError, 0.95),
            (Class::Cancelled, 0.95),
            (Class::Auth, 0.15),
            (Class::RateLimited { retry_after: None }, 0.85),
            (Class::Model, 0.65),
            (Class::Server, 0.75),
            (Class::Timeout, 0.75),
            (Class::Network, 0.65),
        ] {
            assert_eq!(after(0.95, class, &tuning), after_it, "{class:?}");
        }
        assert_eq!(after(0.7, Class::Success, &tuning), 0.8);
        assert_eq!(halved(0.06, &tuning), tuning.min_confidence);
        assert_eq!(after(1.0, Class::Network, &tuning), 0.7);
        assert_eq!(after(0.1, Class::Auth, &tuning), tuning.min_confidence);
    }
}
