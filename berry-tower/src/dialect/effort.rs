//! The values of `reasoning_effort`, and sets of them.

use crate::named::named_enum;

named_enum! {
    /// A value of `reasoning_effort`, from the least to the most.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    #[non_exhaustive]
    pub enum Effort {
        /// No reasoning.
        None = "none",
        /// Hardly any reasoning.
        Minimal = "minimal",
        /// Little reasoning.
        Low = "low",
        /// Some reasoning.
        Medium = "medium",
        /// Much reasoning.
        High = "high",
        /// Very much reasoning.
        Xhigh = "xhigh",
        /// As much reasoning as possible.
        Max = "max",
    }
}

/// A set of values of `reasoning_effort`.
///
/// ```
/// use berry_tower::dialect::{Effort, Efforts};
///
/// let efforts = Efforts::of(&[Effort::Low, Effort::Medium, Effort::High]);
/// assert_eq!(efforts.nearest(Effort::None), Some(Effort::Low));
/// assert_eq!(efforts.nearest(Effort::Medium), Some(Effort::Medium));
/// assert_eq!(efforts.nearest(Effort::Max), Some(Effort::High));
/// assert_eq!(Efforts::of(&[]).nearest(Effort::Max), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Efforts(u8);

impl Default for Efforts {
    fn default() -> Self {
        Self::ALL
    }
}

impl Efforts {
    /// Every value.
    pub const ALL: Self = Self::of(Effort::ALL);

    /// The set of these values.
    #[must_use]
    pub const fn of(efforts: &[Effort]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < efforts.len() {
            set |= 1 << efforts[at] as u8;
            at += 1;
        }
        Self(set)
    }

    /// Whether the set has this value.
    #[must_use]
    pub const fn contains(self, effort: Effort) -> bool {
        self.0 & (1 << effort as u8) != 0
    }

    /// Whether the set has no value.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as bits.
    #[cfg(feature = "backend")]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// The set of these bits.
    #[cfg(feature = "backend")]
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// Returns the values of the set, the least first.
    pub fn iter(self) -> impl Iterator<Item = Effort> {
        Effort::ALL.iter().copied().filter(move |effort| self.contains(*effort))
    }

    /// Returns the value of the set that is nearest to this one, and of two the lesser; `None` if the set is
    /// empty.
    #[must_use]
    pub fn nearest(self, effort: Effort) -> Option<Effort> {
        self.iter().min_by_key(|known| (*known as u8).abs_diff(effort as u8))
    }
}
