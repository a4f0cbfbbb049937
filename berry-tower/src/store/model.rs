//! A model of several processes that share a store: whatever messages are late or lost, and whoever
//! dies, the units that are admitted stay within the limit.
//!
//! `step(world, event, now)` is pure. The store's part is [`protocol`](super::protocol), the part of each process is
//! [`lease`](super::lease); what is modelled here is the network between them.

use std::{sync::Arc, time::Duration};

use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

use super::{
    Calendar, Rule,
    lease::{Drawn, LONGEST, Lease, Leases},
    protocol::{Effect, Event, Grant, Group, Used, Want, until_end},
};

const KEY: &str = "k";
/// A Monday in 2026, ten seconds before midnight.
const START: u64 = 1_780_271_990_000_000;

#[derive(Clone, Debug)]
enum Message {
    /// A process wants units for a request, of which it has drawn a part itself.
    Take {
        from: usize,
        life: u32,
        amount: u64,
        drawn: Drawn,
        need: u64,
        wish: u64,
        asked_at: u64,
    },
    Granted {
        to: usize,
        life: u32,
        amount: u64,
        drawn: Drawn,
        need: u64,
        grant: Grant,
        asked_at: u64,
        store_now: u64,
    },
    Refused {
        to: usize,
        life: u32,
        drawn: Drawn,
    },
    Settle(Used),
}

#[derive(Clone, Debug)]
enum Happening {
    Request {
        process: usize,
        amount: u64,
    },
    /// A message arrives, in any order.
    Arrive(usize),
    Lose(usize),
    /// The oldest request in flight that was admitted ends, having used a part.
    Finish {
        process: usize,
        percent: u64,
    },
    Crash(usize),
    EndLeases(usize),
    Pass(u64),
}

#[derive(Default)]
struct Process {
    leases: Leases,
    /// The difference of its clock from the store's.
    skew: u64,
    life: u32,
    /// Whether it waits for an answer.
    is_asking: bool,
    admitted: Vec<Used>,
}

struct World {
    rule: Rule,
    /// The units that are leased at a time; `None` is the strict mode.
    size: Option<u64>,
    store: Group,
    processes: Vec<Process>,
    messages: Vec<Message>,
    /// The units admitted by window and not given back.
    used: std::collections::BTreeMap<u64, u64>,
}

impl World {
    fn new(rule: Rule, size: Option<u64>, skews: &[u64]) -> Self {
        let processes = skews.iter().map(|skew| Process { skew: *skew, ..Process::default() }).collect();
        let (store, messages) = (Group::default(), Vec::new());
        Self { rule, size, store, processes, messages, used: Default::default() }
    }

    fn window(&self, position: u64) -> u64 {
        if matches!(self.rule, Rule::Calendar { .. }) { position } else { 0 }
    }

    fn admit(&mut self, process: usize, amount: u64, position: u64) {
        *self.used.entry(self.window(position)).or_default() += amount;
        let used = Used { key: KEY.into(), rule: self.rule, position, taken: amount, used: amount };
        self.processes[process].admitted.push(used);
    }
}

fn step(world: &mut World, happening: &Happening, now: u64) {
    match *happening {
        Happening::Request { process, amount } => {
            let process = process % world.processes.len();
            let clock = now + world.processes[process].skew;
            if world.processes[process].is_asking {
                return;
            }
            let drawn = world.processes[process].leases.draw(KEY, amount, clock);
            if drawn.units == amount {
                return world.admit(process, amount, drawn.position);
            }
            let need = amount - drawn.units;
            let wish = need.max(world.size.unwrap_or(0));
            let life = world.processes[process].life;
            world.processes[process].is_asking = true;
            world.messages.push(Message::Take { from: process, life, amount, drawn, need, wish, asked_at: clock });
        }
        Happening::Arrive(at) => {
            if !world.messages.is_empty() {
                let at = at % world.messages.len();
                let message = world.messages.remove(at);
                arrive(world, message, now);
            }
        }
        Happening::Lose(at) => {
            if world.messages.is_empty() {
                return;
            }
            let at = at % world.messages.len();
            // Whoever waits for an answer gives up and puts back what it has drawn.
            match world.messages.remove(at) {
                Message::Take { from: to, life, drawn, .. }
                | Message::Granted { to, life, drawn, .. }
                | Message::Refused { to, life, drawn } => {
                    put_back(world, to, life, drawn, now);
                }
                Message::Settle(_) => {}
            }
        }
        Happening::Finish { process, percent } => {
            let process = process % world.processes.len();
            if world.processes[process].admitted.is_empty() {
                return;
            }
            let mut used = world.processes[process].admitted.remove(0);
            used.used = used.taken * percent.min(100) / 100;
            let back = used.taken - used.used;
            let window = world.window(used.position);
            *world.used.entry(window).or_default() -= back;
            let clock = now + world.processes[process].skew;
            let drawn = Drawn { units: back, position: used.position };
            let is_back =
                world.size.is_some() && back > 0 && world.processes[process].leases.put_back(KEY, drawn, clock);
            if !is_back {
                world.messages.push(Message::Settle(used));
            }
        }
        Happening::Crash(process) => {
            let process = process % world.processes.len();
            let Process { skew, life, .. } = world.processes[process];
            world.processes[process] = Process { skew, life: life + 1, ..Process::default() };
        }
        Happening::EndLeases(process) => {
            let process = process % world.processes.len();
            let clock = now + world.processes[process].skew;
            for (key, lease) in world.processes[process].leases.end(clock) {
                let used = Used { key, rule: world.rule, position: lease.position, taken: lease.units, used: 0 };
                world.messages.push(Message::Settle(used));
            }
        }
        Happening::Pass(_) => {}
    }
}

fn put_back(world: &mut World, to: usize, life: u32, drawn: Drawn, now: u64) {
    let process = &mut world.processes[to];
    if process.life == life {
        process.is_asking = false;
        if drawn.units > 0 {
            process.leases.put_back(KEY, drawn, now + process.skew);
        }
    }
}

fn arrive(world: &mut World, message: Message, now: u64) {
    match message {
        Message::Take { from, life, amount, drawn, need, wish, asked_at } => {
            let want = Want { key: KEY.into(), rule: world.rule, need, wish };
            let answer = match super::protocol::step(&mut world.store, Event::Take(&[want]), now) {
                Effect::Granted(grants) => {
                    Message::Granted { to: from, life, amount, drawn, need, grant: grants[0], asked_at, store_now: now }
                }
                _ => Message::Refused { to: from, life, drawn },
            };
            world.messages.push(answer);
        }
        Message::Granted { to, life, amount, drawn, need, grant, asked_at, store_now } => {
            if world.processes[to].life != life {
                return;
            }
            world.processes[to].is_asking = false;
            if world.size.is_some() {
                let longest = match world.rule {
                    Rule::Calendar { window, .. } => LONGEST.min(until_end(window, store_now).as_micros() as u64),
                    _ => LONGEST,
                };
                let key: Arc<str> = KEY.into();
                let (units, position, until) = (grant.units - need, grant.position, asked_at + longest);
                let clock = now + world.processes[to].skew;
                world.processes[to].leases.add(&key, Lease { rule: world.rule, units, position, until }, clock);
            }
            if drawn.units == 0 {
                world.admit(to, amount, grant.position);
            } else if world.window(drawn.position) == world.window(grant.position) {
                world.admit(to, amount, drawn.position.min(grant.position));
            } else {
                // The day has changed between the two parts of the request.
                world.admit(to, drawn.units, drawn.position);
                world.admit(to, need, grant.position);
            }
        }
        Message::Refused { to, life, drawn } => put_back(world, to, life, drawn, now),
        Message::Settle(used) => {
            super::protocol::step(&mut world.store, Event::Settle(&[used]), now);
        }
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (any::<usize>(), 1_u64..30).prop_map(|(process, amount)| Happening::Request { process, amount }),
        8 => any::<usize>().prop_map(Happening::Arrive),
        1 => any::<usize>().prop_map(Happening::Lose),
        3 => (any::<usize>(), 0_u64..=100).prop_map(|(process, percent)| Happening::Finish { process, percent }),
        1 => any::<usize>().prop_map(Happening::Crash),
        2 => any::<usize>().prop_map(Happening::EndLeases),
        3 => prop_oneof![0_u64..2_000, 0_u64..3_000_000].prop_map(Happening::Pass),
    ]
}

fn check(rule: Rule, size: Option<u64>, skews: &[u64], happenings: &[Happening]) {
    let mut world = World::new(rule, size, skews);
    let mut now = START;
    for happening in happenings {
        if let Happening::Pass(micros) = happening {
            now += micros;
        }
        step(&mut world, happening, now);
        let refilled = match rule {
            Rule::Rolling { period, limit } => u128::from(now - START) * u128::from(limit) / period.as_micros(),
            _ => 0,
        };
        for (window, used) in &world.used {
            let most = u128::from(rule.limit()) + refilled;
            assert!(u128::from(*used) <= most, "{used} of {most} in window {window} after {happening:?}");
        }
    }
}

proptest! {
    #[test]
    fn admitted_units_stay_within_a_rolling_limit(
        limit in 1_u64..400,
        seconds in 1_u64..100,
        size in prop::option::of(1_u64..20),
        // Up to a second before and after the store's clock.
        skews in prop::collection::vec(0_u64..=2_000_000, 1..5),
        happenings in prop::collection::vec(happening(), 0..300),
    ) {
        let rule = Rule::Rolling { period: Duration::from_secs(seconds), limit };
        check(rule, size, &skews, &happenings);
    }

    #[test]
    fn admitted_units_stay_within_each_day(
        limit in 1_u64..400,
        size in prop::option::of(1_u64..20),
        skews in prop::collection::vec(0_u64..=2_000_000, 1..5),
        happenings in prop::collection::vec(happening(), 0..300),
    ) {
        check(Rule::Calendar { window: Calendar::Day, limit }, size, &skews, &happenings);
    }
}
