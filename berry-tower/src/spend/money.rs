//! Amounts of money, exact to a billionth of a dollar.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
    str::FromStr,
};

/// The nano-dollars of a dollar.
const NANOS: u64 = 1_000_000_000;

/// An amount of US dollars in whole nano-dollars, never negative.
///
/// It is read from text and kept as an integer, so that no amount is rounded. Sums saturate.
///
/// ```
/// use berry_tower::spend::Money;
///
/// let price: Money = "2.50".parse().unwrap();
/// assert_eq!(price.nanos(), 2_500_000_000);
/// assert_eq!((price + Money::from_nanos(1)).to_string(), "2.500000001");
/// assert!("-1".parse::<Money>().is_err() && "1e3".parse::<Money>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// The highest amount that a limit may have: about nine million dollars. A shared store counts
    /// in floating-point numbers, which are exact up to here.
    pub const MAX_LIMIT: Self = Self(1 << 53);

    /// Creates an amount from nano-dollars.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the amount in nano-dollars.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Returns the difference, or zero if `other` is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Dollars with at least two decimals, without a currency sign.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, nanos) = (self.0 / NANOS, self.0 % NANOS);
        let decimals = format!("{nanos:09}");
        let kept = decimals.trim_end_matches('0').len().max(2);
        f.pad(&format!("{dollars}.{}", &decimals[..kept]))
    }
}

/// Returned when a text is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMoney(());

impl fmt::Display for InvalidMoney {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an amount of US dollars like `2.50`, with at most 9 decimals")
    }
}

impl std::error::Error for InvalidMoney {}

impl FromStr for Money {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 9 {
            return Err(InvalidMoney(()));
        }
        let whole: u64 = whole.parse().map_err(|_| InvalidMoney(()))?;
        let nanos: u64 = format!("{decimals:0<9}").parse().map_err(|_| InvalidMoney(()))?;
        whole.checked_mul(NANOS).and_then(|whole| whole.checked_add(nanos)).map(Self).ok_or(InvalidMoney(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_text_exactly() {
        for (text, nanos) in
            [("0", 0), ("5", 5_000_000_000), ("0.1", 100_000_000), ("0.000000001", 1), ("00.30", 300_000_000)]
        {
            assert_eq!(text.parse::<Money>().unwrap().nanos(), nanos, "{text}");
        }
        for text in
            ["", ".", "1.", ".5", "+1", "-1", "1e3", " 1", "1,5", "0.0000000001", "99999999999999999999", "$1", "1_000"]
        {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0.00", "5.00", "0.10", "0.000000001", "18446744073.709551615"] {
            assert_eq!(text.parse::<Money>().unwrap().to_string(), text);
        }
    }
}
