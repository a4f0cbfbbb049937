//! Faults in a model's name: `sim-cut40-crlf` is the model `sim` with those two faults.

use super::fault::{AFTER_FINISH, Behavior, Fault};
use std::time::Duration;

/// The maximum size of an event, in KiB.
const MAX_HUGE_KIB: u64 = 4096;
/// The maximum number of tokens.
const MAX_TOKENS: u64 = 100_000;
/// The maximum number of tool calls.
const MAX_CALLS: u64 = 16;
/// The lowest status of an error.
const FIRST_ERROR: u64 = 400;

impl Behavior {
    /// Parses the tokens after the base name, joined by `-`; `None` if one of them is unknown. The crate's page lists
    /// them.
    ///
    /// ```
    /// use berry_simulated::{Behavior, Fault};
    ///
    /// let behavior = Behavior::from_tokens("e429-ra2-p50").unwrap();
    /// assert_eq!(behavior, Fault::Status(429).retry_after(2).percent(50));
    /// assert_eq!(Behavior::from_tokens("mini"), None);
    /// ```
    pub fn from_tokens(tokens: &str) -> Option<Self> {
        tokens.split('-').try_fold(Self::healthy(), Self::apply)
    }

    /// Returns the model name for this behaviour; `None` if no name expresses it, as for [`Fault::Refuse`], `times` and
    /// `scope`.
    pub fn model_name(&self, base: &str) -> Option<String> {
        let mut name = base.to_owned();
        let mut add = |token: &str| {
            name.push('-');
            name.push_str(token);
        };
        for fault in &self.faults {
            add(&fault.token()?);
        }
        for (word, number) in [
            ("ra", self.retry_after),
            ("t", self.tokens.map(|n| n as u64)),
            ("d", self.per_token.map(millis)),
            ("p", (self.percent != 100).then_some(self.percent.into())),
            ("tools", (self.tools > 0).then_some(self.tools as u64)),
            ("cached", (self.cached > 0).then_some(self.cached as u64)),
        ] {
            if let Some(number) = number {
                add(&format!("{word}{number}"));
            }
        }
        for (word, on) in [("talk", self.talks), ("think", self.reasoning)] {
            if on {
                add(word);
            }
        }
        // A behaviour that tokens cannot express does not equal the parsed one.
        let said = match name.get(base.len() + 1..) {
            Some(tokens) => Self::from_tokens(tokens)?,
            None => Self::healthy(),
        };
        (said == *self).then_some(name)
    }

    fn apply(mut self, token: &str) -> Option<Self> {
        let digits = token.find(|c: char| c.is_ascii_digit());
        let (word, number) = token.split_at(digits.unwrap_or(token.len()));
        let number: Option<u64> = match number {
            "" => None,
            digits => Some(digits.parse().ok()?),
        };
        match (word, number) {
            ("ra", Some(seconds)) => self.retry_after = Some(seconds),
            ("p", Some(percent @ 0..=100)) => self.percent = percent as u8,
            ("t", Some(tokens @ 0..=MAX_TOKENS)) => self.tokens = Some(tokens as usize),
            ("d", Some(wait)) => self.per_token = Some(Duration::from_millis(wait)),
            ("tools", None) => self.tools = 1,
            ("tools", Some(calls @ 1..=MAX_CALLS)) => self.tools = calls as usize,
            ("talk", None) => self.talks = true,
            ("cached", Some(tokens @ 1..=MAX_TOKENS)) => self.cached = tokens as usize,
            ("think", None) => self.reasoning = true,
            _ => {
                let fault = Fault::bare(word).filter(|_| number.is_none()).or_else(|| Fault::counted(word, number))?;
                self.faults.push(fault);
            }
        }
        Some(self)
    }
}

/// The faults whose token has no number.
const BARE: [(&str, Fault); 29] = [
    ("ctx", Fault::ContextLength),
    ("policy", Fault::ContentPolicy),
    ("key", Fault::BadKey),
    ("quota", Fault::Quota),
    ("busy", Fault::Overloaded),
    ("noopts", Fault::RefuseStreamOptions),
    ("nomax", Fault::RefuseMaxTokens),
    ("noboth", Fault::RefuseBothSamplings),
    ("nosampling", Fault::RefuseSampling),
    ("chatonly", Fault::ChatOnly),
    ("toolsresp", Fault::ToolsNeedResponses),
    ("nousage", Fault::NoUsage),
    ("refuse", Fault::Declined),
    ("filter", Fault::Filtered),
    ("pings", Fault::Pings),
    ("reset", Fault::Reset),
    ("silent", Fault::Silent),
    ("html", Fault::Html),
    ("empty", Fault::Empty),
    ("swap", Fault::Swap),
    ("cutfin", Fault::CutAfter(AFTER_FINISH)),
    ("rstfin", Fault::ResetAfter(AFTER_FINISH)),
    ("stallfin", Fault::StallAfter(AFTER_FINISH)),
    ("nodone", Fault::NoDone),
    ("nofinish", Fault::NoFinish),
    ("err", Fault::ErrorFirst),
    ("crlf", Fault::Crlf),
    ("short", Fault::Short),
    ("chop", Fault::Chopped),
];

impl Fault {
    /// Returns the token of this fault, if there is one.
    fn token(&self) -> Option<String> {
        if let Some((word, _)) = BARE.iter().find(|(_, fault)| fault == self) {
            return Some((*word).to_owned());
        }
        let (word, number) = match self {
            Self::Status(status) => ("e", u64::from(*status)),
            Self::LateHead(wait) => ("head", millis(*wait)),
            Self::LateFirstToken(wait) => ("late", millis(*wait)),
            Self::Drip(wait) => ("drip", millis(*wait)),
            Self::CutAfter(k) => ("cut", *k as u64),
            Self::ResetAfter(k) => ("rst", *k as u64),
            Self::StallAfter(k) => ("stall", *k as u64),
            Self::Malformed(k) => ("bad", *k as u64),
            Self::ErrorAfter(k) => ("err", *k as u64),
            Self::Unknown(k) => ("odd", *k as u64),
            Self::Split(n) => ("split", *n as u64),
            Self::Huge(bytes) => ("huge", (*bytes / 1024) as u64),
            _ => return None,
        };
        Some(format!("{word}{number}"))
    }

    fn bare(word: &str) -> Option<Self> {
        let found = BARE.iter().find(|(name, _)| *name == word);
        found.map(|(_, fault)| fault.clone())
    }

    /// Parses a fault with a number, for which a few have a default.
    fn counted(word: &str, number: Option<u64>) -> Option<Self> {
        let wait = |default| Duration::from_millis(number.unwrap_or(default));
        let count = || number.map(|n| n as usize);
        Some(match word {
            "e" => Self::Status(number.filter(|n| (FIRST_ERROR..600).contains(n))? as u16),
            "head" => Self::LateHead(wait(1000)),
            "late" => Self::LateFirstToken(wait(1000)),
            "drip" => Self::Drip(wait(1000)),
            "cut" => Self::CutAfter(count()?),
            "rst" => Self::ResetAfter(count()?),
            "stall" => Self::StallAfter(count()?),
            "bad" => Self::Malformed(count().unwrap_or(5)),
            "err" => Self::ErrorAfter(count()?),
            "odd" => Self::Unknown(count().unwrap_or(5)),
            "split" => Self::Split(count().unwrap_or(7).max(1)),
            "huge" => Self::Huge(number.unwrap_or(64).clamp(1, MAX_HUGE_KIB) as usize * 1024),
            _ => return None,
        })
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}
