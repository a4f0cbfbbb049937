//! What a counter allows.

use std::{borrow::Cow, time::Duration};

/// A window of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Calendar {
    /// A day.
    Day,
    /// A month.
    Month,
    /// All time.
    Total,
}

const DAY: u64 = 86_400;

impl Calendar {
    /// Returns the number of the window that holds a time, in seconds since 1970.
    #[must_use]
    pub const fn number(self, seconds: u64) -> u64 {
        match self {
            Self::Day => seconds / DAY,
            Self::Month => {
                let (year, month, _) = civil(seconds / DAY);
                year * 12 + month - 1
            }
            Self::Total => 0,
        }
    }

    /// Returns the end of the window that holds a time, both in seconds since 1970; `None` if it
    /// never ends.
    #[must_use]
    pub const fn end(self, seconds: u64) -> Option<u64> {
        match self {
            Self::Day => Some((seconds / DAY + 1) * DAY),
            Self::Month => {
                let (year, month, day) = civil(seconds / DAY);
                Some((seconds / DAY + 1 + days_of(year, month) - day) * DAY)
            }
            Self::Total => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Day => "utc_day",
            Self::Month => "utc_month",
            Self::Total => "total",
        }
    }
}

/// Returns the year, the month from 1 and the day from 1 of a number of days since 1970, in the
/// Gregorian calendar. Years are counted from March in between, so that leap days come last.
pub(crate) const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

const fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What a counter allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A bucket that holds `limit` units and refills evenly over `period` (GCRA): at most `limit` at
    /// any moment, and fewer than twice as many in any period.
    Rolling {
        /// The time in which an empty bucket fills.
        period: Duration,
        /// The units that it holds.
        limit: u64,
    },
    /// At most `limit` units in each window of the calendar.
    Calendar {
        /// The kind of window.
        window: Calendar,
        /// The units of each window.
        limit: u64,
    },
    /// At most `limit` units held at once.
    Concurrent {
        /// The units.
        limit: u64,
    },
}

impl Rule {
    /// Returns the limit.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        match self {
            Self::Rolling { limit, .. } | Self::Calendar { limit, .. } | Self::Concurrent { limit } => *limit,
        }
    }

    /// Returns the same rule with another limit.
    #[must_use]
    pub const fn with_limit(self, limit: u64) -> Self {
        match self {
            Self::Rolling { period, .. } => Self::Rolling { period, limit },
            Self::Calendar { window, .. } => Self::Calendar { window, limit },
            Self::Concurrent { .. } => Self::Concurrent { limit },
        }
    }

    /// Returns the name of the window: `minute`, `hour`, `day`, `utc_day`, `utc_month`, `total`,
    /// `concurrency`, or the period in milliseconds.
    #[must_use]
    pub fn window_name(&self) -> Cow<'static, str> {
        match self {
            Self::Rolling { period, .. } => match (period.as_secs(), period.subsec_nanos()) {
                (60, 0) => "minute".into(),
                (3_600, 0) => "hour".into(),
                (DAY, 0) => "day".into(),
                _ => format!("{}ms", period.as_millis()).into(),
            },
            Self::Calendar { window, .. } => window.name().into(),
            Self::Concurrent { .. } => "concurrency".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_days_of_months() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_787, (2026, 11, 30)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
        let mut day = 0;
        while day < 60_000 {
            let end = Calendar::Month.end(day * DAY).unwrap() / DAY;
            assert_eq!(civil(end).2, 1, "{day}");
            assert_eq!(Calendar::Month.number((end - 1) * DAY), Calendar::Month.number(day * DAY));
            assert_eq!(Calendar::Month.number(end * DAY), Calendar::Month.number(day * DAY) + 1);
            day = end;
        }
    }

    #[test]
    fn windows_begin_where_the_last_one_ends() {
        assert_eq!(Calendar::Day.number(DAY - 1), 0);
        assert_eq!(Calendar::Day.end(DAY - 1), Some(DAY));
        assert_eq!(Calendar::Day.number(DAY), 1);
        assert_eq!(Calendar::Total.end(5), None);
    }
}
