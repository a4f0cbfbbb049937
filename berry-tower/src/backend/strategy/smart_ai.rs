//! `smart_ai`: mostly the backend that has earned the most confidence, sparing the premium ones.

use super::{
    Candidate, Strategy,
    draw::{add_shares, draw, unit},
};
use crate::backend::SmartAi;

/// Over this confidence a backend that is not premium has the bonus.
const STABLE: f64 = 0.9;

/// Mostly the backend with the highest effective weight among the trusted ones that are not
/// premium, or among all where there is none of these; now and then one of the others.
///
/// The effective weight is weight × trust × bonus × the factor of the recovery's stage. Several
/// that are highest together share what is due to the highest.
#[derive(Clone, Debug)]
pub struct SmartAiStrategy {
    exploration: f64,
    bonus: f64,
}

impl SmartAiStrategy {
    /// One that explores and favours as `tuning` says.
    #[must_use]
    pub fn new(tuning: &SmartAi) -> Self {
        let exploration = if tuning.exploration_ratio > 0.0 { tuning.exploration_ratio.min(1.0) } else { 0.0 };
        Self { exploration, bonus: tuning.non_premium_stability_bonus }
    }

    /// Tells which candidates are the best.
    fn best<'a>(&'a self, candidates: &'a [Candidate<'a>]) -> impl Fn(usize) -> Option<f64> + 'a {
        let spare = |c: &Candidate<'_>| !c.backend.is_premium() && c.view.is_trusted();
        let any = candidates.iter().any(spare);
        let among = move |c: &Candidate<'_>| !any || spare(c);
        let highest = candidates.iter().filter(|c| among(c)).map(|c| self.effective_weight(c)).max_by(f64::total_cmp);
        move |i| {
            let c = &candidates[i];
            let is_best = among(c) && highest.is_some_and(|h| h.total_cmp(&self.effective_weight(c)).is_eq());
            is_best.then_some(1.0)
        }
    }

    /// The weights of all but one.
    fn others<'a>(&'a self, candidates: &'a [Candidate<'a>], best: usize) -> impl Fn(usize) -> Option<f64> + 'a {
        move |i| (i != best).then(|| self.effective_weight(&candidates[i]))
    }
}

impl Strategy for SmartAiStrategy {
    fn name(&self) -> &'static str {
        "smart_ai"
    }

    fn pick(&self, candidates: &[Candidate<'_>], random: &mut dyn FnMut() -> f64) -> usize {
        let n = candidates.len();
        let best = draw(n, self.best(candidates), random);
        if n < 2 || unit(random) >= self.exploration {
            return best;
        }
        draw(n, self.others(candidates, best), random)
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        let n = candidates.len();
        let mut shares = vec![0.0; n];
        let exploration = if n < 2 { 0.0 } else { self.exploration };
        let is_best = self.best(candidates);
        add_shares(&mut shares, 1.0 - exploration, &is_best);
        let best: Vec<usize> = (0..n).filter(|&i| is_best(i).is_some()).collect();
        for &i in &best {
            add_shares(&mut shares, exploration / best.len() as f64, self.others(candidates, i));
        }
        shares
    }

    fn effective_weight(&self, candidate: &Candidate<'_>) -> f64 {
        let view = &candidate.view;
        let bonus = if !candidate.backend.is_premium() && view.confidence > STABLE { self.bonus } else { 1.0 };
        candidate.backend.weight() * view.trust() * bonus * view.stage.factor()
    }

    fn weighs_health(&self) -> bool {
        true
    }
}
