//! Units that a process holds of shared counters: pure, like [`protocol`](super::protocol).
//!
//! They are debited when they are granted, so that a process which dies loses them and cannot use
//! more. Times are in microseconds of the process's own clock, which need not agree with any other.

use std::{collections::HashMap, sync::Arc};

use super::Rule;

/// The longest time that units are held.
pub(crate) const LONGEST: u64 = 2_000_000;

/// The units held of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) rule: Rule,
    pub(crate) units: u64,
    /// The position of the first grant that some of them are from, so that never too many are given
    /// back.
    pub(crate) position: u64,
    /// When they must be given back.
    pub(crate) until: u64,
}

impl Lease {
    /// Whether units at a position may be spent with these. Units of another window of the calendar may not.
    const fn takes(&self, position: u64) -> bool {
        !matches!(self.rule, Rule::Calendar { .. }) || self.position == position
    }
}

/// Units that are taken out of a lease for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) units: u64,
    pub(crate) position: u64,
}

/// The leases of one group of counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    held: HashMap<Arc<str>, Lease>,
    /// Leases with units that had ended before a new one began.
    ended: Vec<(Arc<str>, Lease)>,
}

impl Leases {
    /// Takes up to so many units.
    pub(crate) fn draw(&mut self, key: &str, units: u64, now: u64) -> Drawn {
        match self.held.get_mut(key) {
            Some(lease) if now < lease.until => {
                let units = units.min(lease.units);
                lease.units -= units;
                Drawn { units, position: lease.position }
            }
            _ => Drawn::default(),
        }
    }

    /// Returns the units that are held now.
    pub(crate) fn units(&self, key: &str, now: u64) -> u64 {
        self.held.get(key).filter(|lease| now < lease.until).map_or(0, |lease| lease.units)
    }

    /// Adds units of a grant, which end at `until`. Units that are held already end no later than
    /// before.
    pub(crate) fn add(&mut self, key: &Arc<str>, grant: Lease, now: u64) {
        if grant.units == 0 {
            return;
        }
        let Some(lease) = self.held.get_mut(key) else {
            self.held.insert(key.clone(), grant);
            return;
        };
        if lease.units > 0 && now < lease.until && lease.takes(grant.position) {
            lease.units += grant.units;
            lease.position = lease.position.min(grant.position);
            lease.until = lease.until.min(grant.until);
            return;
        }
        let old = std::mem::replace(lease, grant);
        if old.units > 0 {
            self.ended.push((key.clone(), old));
        }
    }

    /// Puts units back that a request has drawn and not used; `false` if their lease has ended.
    pub(crate) fn put_back(&mut self, key: &str, drawn: Drawn, now: u64) -> bool {
        match self.held.get_mut(key) {
            Some(lease) if now < lease.until && lease.takes(drawn.position) => {
                lease.position = if lease.units == 0 { drawn.position } else { lease.position.min(drawn.position) };
                lease.units += drawn.units;
                true
            }
            _ => false,
        }
    }

    /// Removes the leases that have ended, and returns those that hold units.
    pub(crate) fn end(&mut self, now: u64) -> Vec<(Arc<str>, Lease)> {
        let mut ended = std::mem::take(&mut self.ended);
        self.held.retain(|key, lease| {
            let is_held = now < lease.until;
            if !is_held && lease.units > 0 {
                ended.push((key.clone(), *lease));
            }
            is_held
        });
        ended
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.ended.is_empty()
    }
}

/// Returns the units to hold of a limit at a time, in parts of a million of it; `None` if the limit is
/// too small to be shared out.
pub(crate) fn size(limit: u64, millionths: u32) -> Option<u64> {
    let size = u128::from(limit) * u128::from(millionths) / 1_000_000;
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    (size > 0 && limit / 20 >= size).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Calendar;

    #[test]
    fn small_limits_are_not_leased() {
        assert_eq!(size(100, 50_000), Some(5));
        assert_eq!(size(19, 50_000), None);
        assert_eq!(size(1_000_000, 10_000), Some(10_000));
    }

    #[test]
    fn units_of_an_ended_lease_do_not_mix_with_new_ones() {
        let (mut leases, key) = (Leases::default(), "k".into());
        let rule = Rule::Calendar { window: Calendar::Day, limit: 100 };
        leases.add(&key, Lease { rule, units: 5, position: 1, until: 100 }, 0);
        let late = leases.draw("k", 2, 99);
        leases.add(&key, Lease { rule, units: 7, position: 2, until: 300 }, 101);
        assert!(!leases.put_back("k", late, 102), "yesterday's units");
        assert_eq!(leases.units("k", 102), 7);
        let ended = leases.end(102);
        assert_eq!((ended.len(), ended[0].1.units, ended[0].1.position), (1, 3, 1));
    }

    #[test]
    fn a_lease_ends_in_time() {
        let (mut leases, key) = (Leases::default(), "k".into());
        let rule = Rule::Concurrent { limit: 100 };
        leases.add(&key, Lease { rule, units: 5, position: 7, until: 100 }, 0);
        leases.add(&key, Lease { rule, units: 5, position: 12, until: 300 }, 0);
        assert_eq!(leases.draw("k", 3, 99), Drawn { units: 3, position: 7 });
        assert_eq!(leases.draw("k", 3, 100), Drawn::default());
        assert!(!leases.put_back("k", Drawn { units: 3, position: 7 }, 100));
        let ended = leases.end(100);
        assert_eq!((ended.len(), ended[0].1.units, ended[0].1.position), (1, 7, 7));
        assert!(leases.is_empty());
    }
}
