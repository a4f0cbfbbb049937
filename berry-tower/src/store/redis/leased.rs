//! Units that a process takes in advance and spends by itself.

use std::sync::Arc;

use dashmap::mapref::one::RefMut;
use tokio::sync::Semaphore;

use super::{
    GroupLeases, Origin, Shared, refused,
    scripts::{Granted, Taken},
    used,
};
use crate::store::{
    Charge, CounterUsage, Receipt, Rule, TakeError,
    lease::{Drawn, LONGEST, Lease, Leases},
    protocol::{Level, Want, until_end},
};

impl Shared {
    /// Takes units of leases, and asks the store for more where they do not suffice.
    pub(super) async fn take_leased(
        &self,
        group: &str,
        charges: &[Charge],
        sizes: &[Option<u64>],
    ) -> Option<Result<Receipt, TakeError>> {
        let now = self.clock.now();
        let is_all_leased = sizes.iter().all(Option::is_some);
        let turn = {
            let mut held = self.leases(group);
            if is_all_leased && let Some(drawn) = draw_all(&mut held.leases, charges, now) {
                return Some(Ok(self.leased_receipt(group, charges, &drawn, &held.leases, now)));
            }
            held.turn.clone()
        };
        // It is never closed.
        let _turn = turn.acquire().await.ok();
        let now = self.clock.now();
        let (drawn, wants) = {
            let mut held = self.leases(group);
            if is_all_leased && let Some(drawn) = draw_all(&mut held.leases, charges, now) {
                return Some(Ok(self.leased_receipt(group, charges, &drawn, &held.leases, now)));
            }
            draw_some(&mut held.leases, charges, sizes, now)
        };
        // Puts back what was drawn, also when the request is dropped meanwhile.
        let mut undo = PutBack { shared: self, group, charges, drawn: Some(drawn) };
        let slot = self.slot();
        match self.ask(group, &wants, &slot).await? {
            Taken::Refused { index, level } => {
                let key = &wants.get(index)?.key;
                let index = charges.iter().position(|charge| charge.key == *key)?;
                Some(Err(refused(charges, index, &level)))
            }
            Taken::Granted(store_now, granted) => {
                let drawn = undo.drawn.take()?;
                self.hold(group, charges, &slot);
                Some(Ok(self.granted_receipt(
                    group,
                    charges,
                    sizes,
                    &drawn,
                    &wants,
                    &granted,
                    (now, store_now),
                    slot.clone(),
                )))
            }
        }
    }

    fn leases(&self, group: &str) -> RefMut<'_, Arc<str>, GroupLeases> {
        if let Some(held) = self.groups.get_mut(group) {
            return held;
        }
        let new = || GroupLeases { leases: Leases::default(), turn: Arc::new(Semaphore::new(1)) };
        self.groups.entry(group.into()).or_insert_with(new)
    }

    /// What is left of a counter as far as this process knows.
    fn known_usage(&self, charge: &Charge, held: u64, now: u64) -> CounterUsage {
        let left = self.left.get(&charge.key).map_or(charge.rule.limit(), |left| *left).saturating_add(held);
        Level { used: charge.rule.limit().saturating_sub(left), lag: 0, now }.usage(charge.rule)
    }

    fn leased_receipt(&self, group: &str, charges: &[Charge], drawn: &[Drawn], leases: &Leases, now: u64) -> Receipt {
        let usages =
            charges.iter().map(|charge| self.known_usage(charge, leases.units(&charge.key, now), now)).collect();
        let taken = charges.iter().zip(drawn).map(|(charge, drawn)| used(charge, drawn.position)).collect();
        let leased = vec![true; charges.len()];
        Receipt::new(usages, Origin::Store { group: group.into(), taken, leased, slot: "".into() })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one exchange with the store")]
    fn granted_receipt(
        &self,
        group: &str,
        charges: &[Charge],
        sizes: &[Option<u64>],
        drawn: &[Drawn],
        wants: &[Want],
        granted: &[Granted],
        (asked_at, store_now): (u64, u64),
        slot: Arc<str>,
    ) -> Receipt {
        let mut held = self.leases(group);
        let (mut usages, mut taken) = (Vec::with_capacity(charges.len()), Vec::with_capacity(charges.len()));
        for ((charge, size), drawn) in charges.iter().zip(sizes).zip(drawn) {
            let found = wants.iter().zip(granted).find(|(want, _)| want.key == charge.key);
            let Some((want, granted)) = found else {
                usages.push(self.known_usage(charge, held.leases.units(&charge.key, asked_at), asked_at));
                taken.push(used(charge, drawn.position));
                continue;
            };
            let position = if drawn.units > 0 { drawn.position.min(granted.position) } else { granted.position };
            if size.is_some() {
                // The window may end before the lease does, by the clock of the store.
                let longest = match charge.rule {
                    Rule::Calendar { window, .. } => {
                        LONGEST.min(u64::try_from(until_end(window, store_now).as_micros()).unwrap_or(LONGEST))
                    }
                    _ => LONGEST,
                };
                let until = asked_at.saturating_add(longest);
                let units = granted.units.saturating_sub(want.need);
                let lease = Lease { rule: charge.rule, units, position: granted.position, until };
                held.leases.add(&charge.key, lease, self.clock.now());
            }
            usages.push(granted.usage);
            taken.push(used(charge, position));
        }
        let leased = sizes.iter().map(Option::is_some).collect();
        Receipt::new(usages, Origin::Store { group: group.into(), taken, leased, slot })
    }
}

/// Draws all units of leases, or none.
fn draw_all(leases: &mut Leases, charges: &[Charge], now: u64) -> Option<Vec<Drawn>> {
    if is_peek(charges) || charges.iter().any(|charge| leases.units(&charge.key, now) < charge.amount) {
        return None;
    }
    Some(charges.iter().map(|charge| leases.draw(&charge.key, charge.amount, now)).collect())
}

/// Whether the charges take nothing, but ask what is left.
fn is_peek(charges: &[Charge]) -> bool {
    charges.iter().all(|charge| charge.amount == 0)
}

/// Draws what leases have, and returns what is wanted of the store.
fn draw_some(leases: &mut Leases, charges: &[Charge], sizes: &[Option<u64>], now: u64) -> (Vec<Drawn>, Vec<Want>) {
    let (mut drawn, mut wants) = (Vec::with_capacity(charges.len()), Vec::with_capacity(charges.len()));
    for (charge, size) in charges.iter().zip(sizes) {
        let here = if size.is_some() { leases.draw(&charge.key, charge.amount, now) } else { Drawn::default() };
        let need = charge.amount - here.units;
        // Nothing is needed of a counter whose lease suffices.
        if need > 0 || size.is_none() || is_peek(charges) {
            let wish = if need > 0 { need.max(size.unwrap_or(0)) } else { need };
            wants.push(Want { key: charge.key.clone(), rule: charge.rule, need, wish });
        }
        drawn.push(here);
    }
    (drawn, wants)
}

/// Puts drawn units back when it is dropped.
struct PutBack<'a> {
    shared: &'a Shared,
    group: &'a str,
    charges: &'a [Charge],
    drawn: Option<Vec<Drawn>>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        let Some(drawn) = self.drawn.take() else { return };
        let now = self.shared.clock.now();
        let Some(mut held) = self.shared.groups.get_mut(self.group) else { return };
        for (charge, drawn) in self.charges.iter().zip(drawn) {
            if drawn.units > 0 {
                // Units of a lease that has ended meanwhile are lost until they refill.
                held.leases.put_back(&charge.key, drawn, now);
            }
        }
    }
}
