//! Draws by weight, and the probabilities of the same draws: one rule for both.

/// More than this no weight counts for, so that sums stay finite.
const MOST: f64 = 1e12;

/// A weight that can be added up: what is not a number over 0 counts as 0.
fn sane(weight: f64) -> f64 {
    if weight > 0.0 { weight.min(MOST) } else { 0.0 }
}

/// A number in `0.0..1.0`, whatever the caller's source of randomness returns.
pub(super) fn unit(random: &mut dyn FnMut() -> f64) -> f64 {
    let number = random();
    if (0.0..1.0).contains(&number) { number } else { 0.0 }
}

/// Draws one of `0..n` in proportion to `weight`; `None` is never drawn. If all weights are 0,
/// all that have one are alike.
pub(super) fn draw(n: usize, weight: impl Fn(usize) -> Option<f64>, random: &mut dyn FnMut() -> f64) -> usize {
    let (count, total) = sum(n, &weight);
    if count == 0 {
        return 0;
    }
    let weight = |i| weight(i).map(|w| if total > 0.0 { sane(w) } else { 1.0 });
    let mut left = unit(random) * if total > 0.0 { total } else { count as f64 };
    // Rounding may leave a hair after the last one: then it is the last that can be drawn.
    let mut last = 0;
    for i in 0..n {
        let Some(w) = weight(i).filter(|&w| w > 0.0) else { continue };
        if left < w {
            return i;
        }
        left -= w;
        last = i;
    }
    last
}

/// The probabilities with which [`draw`] draws, times `share`, added to `into`.
pub(super) fn add_shares(into: &mut [f64], share: f64, weight: impl Fn(usize) -> Option<f64>) {
    let (count, total) = sum(into.len(), &weight);
    for (i, p) in into.iter_mut().enumerate() {
        match weight(i) {
            Some(w) if total > 0.0 => *p += share * sane(w) / total,
            Some(_) => *p += share / count as f64,
            None => {}
        }
    }
}

/// The probabilities with which [`draw`] draws.
pub(super) fn shares(n: usize, weight: impl Fn(usize) -> Option<f64>) -> Vec<f64> {
    let mut shares = vec![0.0; n];
    add_shares(&mut shares, 1.0, weight);
    shares
}

fn sum(n: usize, weight: impl Fn(usize) -> Option<f64>) -> (usize, f64) {
    (0..n).filter_map(weight).fold((0, 0.0), |(count, total), w| (count + 1, total + sane(w)))
}
