//! The scripts that change counters in one step.

use std::sync::{Arc, LazyLock};

use redis::{Script, ScriptInvocation};

use crate::store::{
    Calendar, CounterUsage, Rule,
    protocol::{Level, Used, Want, micros},
};

const COUNTERS: &str = include_str!("counters.lua");

static TAKE: LazyLock<Script> = LazyLock::new(|| script(include_str!("take.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| script(include_str!("settle.lua")));
static BEAT: LazyLock<Script> = LazyLock::new(|| script(include_str!("beat.lua")));

fn script(body: &str) -> Script {
    Script::new(&format!("{COUNTERS}{body}"))
}

const fn kind(rule: Rule) -> &'static str {
    match rule {
        Rule::Rolling { .. } => "r",
        Rule::Calendar { window: Calendar::Day, .. } => "d",
        Rule::Calendar { window: Calendar::Month, .. } => "m",
        Rule::Calendar { window: Calendar::Total, .. } => "t",
        Rule::Concurrent { .. } => "s",
    }
}

fn period(rule: Rule) -> u64 {
    if let Rule::Rolling { period, .. } = rule { micros(period) } else { 1 }
}

/// Returns the key of a counter in the store. The part in braces keeps a group on one node of a
/// cluster.
pub(super) fn key(prefix: &str, group: &str, key: &str) -> String {
    let group = group.replace(['{', '}'], "_");
    format!("{{{prefix}:{group}}}:{key}")
}

/// What a counter has granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    pub(super) units: u64,
    pub(super) position: u64,
    pub(super) usage: CounterUsage,
}

/// The answer to [`take`].
#[derive(Debug)]
pub(super) enum Taken {
    /// The time of the store, and what each counter has granted.
    Granted(u64, Vec<Granted>),
    Refused {
        index: usize,
        level: Level,
    },
}

/// Returns the call that takes units; `slot` names the place in flight that they are for.
pub(super) fn take(prefix: &str, group: &str, wants: &[Want], slot: &str) -> ScriptInvocation<'static> {
    let mut call = TAKE.prepare_invoke();
    for want in wants {
        call.key(key(prefix, group, &want.key));
        call.arg(kind(want.rule)).arg(want.rule.limit()).arg(want.need).arg(want.wish);
        call.arg(period(want.rule)).arg(slot);
    }
    call
}

/// Reads the answer to [`take`]; `None` if it is none.
pub(super) fn taken(answer: &[i64], wants: &[Want]) -> Option<Taken> {
    let number = |at: usize| answer.get(at).and_then(|n| u64::try_from(*n).ok());
    let now = number(1)?;
    if number(0)? == 0 {
        let level = Level { used: number(3)?, lag: number(4)?, now };
        return Some(Taken::Refused { index: usize::try_from(number(2)?).ok()?, level });
    }
    let granted = wants.iter().enumerate().map(|(i, want)| {
        let at = 2 + 4 * i;
        let level = Level { used: number(at + 2)?, lag: number(at + 3)?, now };
        Some(Granted { units: number(at)?, position: number(at + 1)?, usage: level.usage(want.rule) })
    });
    granted.collect::<Option<Vec<_>>>().map(|granted| Taken::Granted(now, granted))
}

/// Returns the call that settles units.
pub(super) fn settle(prefix: &str, group: &str, settled: &[Used], slot: &str) -> ScriptInvocation<'static> {
    let mut call = SETTLE.prepare_invoke();
    for used in settled {
        call.key(key(prefix, group, &used.key));
        call.arg(kind(used.rule)).arg(used.rule.limit()).arg(period(used.rule));
        call.arg(used.position).arg(used.taken).arg(used.used).arg(slot);
    }
    call
}

/// Returns the call by which a process shows that it is alive.
pub(super) fn beat(prefix: &str, process: &str) -> ScriptInvocation<'static> {
    let mut call = BEAT.prepare_invoke();
    call.key(format!("{{{prefix}}}:replicas")).arg(process);
    call
}

/// Returns the call that holds slots of a counter.
pub(super) fn hold(key: &str, process: &str, slots: &[Arc<str>]) -> ScriptInvocation<'static> {
    let mut call = BEAT.prepare_invoke();
    call.key(key).arg(process);
    for slot in slots {
        call.arg(&**slot);
    }
    call
}
