//! What tokens cost.

use std::{collections::HashMap, sync::Arc};

use super::Money;
use crate::{attempt::BackendId, progress::Usage};

/// The rates of one model, each in dollars for a million tokens.
///
/// ```
/// use berry_tower::{progress::Usage, spend::{Price, Rates}};
///
/// let rates = Rates::new("2.50".parse().unwrap(), "10.00".parse().unwrap());
/// let long = Rates::new("5.00".parse().unwrap(), "15.00".parse().unwrap());
/// let price = Price::new(rates.with_cached_input("1.25".parse().unwrap())).above(200_000, long);
///
/// let usage = Usage { input: 1_000, output: 100, cached: 400, ..Usage::default() };
/// assert_eq!(price.of(&usage).to_string(), "0.003");
/// let usage = Usage { input: 200_001, ..Usage::default() };
/// assert_eq!(price.of(&usage).to_string(), "1.000005");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    input: Money,
    output: Money,
    cached_input: Option<Money>,
    cache_write: Option<Money>,
}

impl Rates {
    /// Creates rates at which tokens that a cache read or wrote cost as much as any input.
    #[must_use]
    pub const fn new(input: Money, output: Money) -> Self {
        Self { input, output, cached_input: None, cache_write: None }
    }

    /// Sets the rate of input tokens that were read from a cache.
    #[must_use]
    pub const fn with_cached_input(mut self, rate: Money) -> Self {
        self.cached_input = Some(rate);
        self
    }

    /// Sets the rate of input tokens that were written to a cache.
    #[must_use]
    pub const fn with_cache_write(mut self, rate: Money) -> Self {
        self.cache_write = Some(rate);
        self
    }

    /// Returns the rate of input tokens.
    #[must_use]
    pub const fn input(&self) -> Money {
        self.input
    }

    /// Returns the rate of output tokens, reasoning included.
    #[must_use]
    pub const fn output(&self) -> Money {
        self.output
    }

    /// Returns the rate of input tokens that were read from a cache.
    #[must_use]
    pub fn cached_input(&self) -> Money {
        self.cached_input.unwrap_or(self.input)
    }

    /// Returns the rate of input tokens that were written to a cache.
    #[must_use]
    pub fn cache_write(&self) -> Money {
        self.cache_write.unwrap_or(self.input)
    }

    /// A fraction of a nano-dollar counts as a whole one.
    fn of(&self, usage: &Usage) -> Money {
        let cached = usage.cached.min(usage.input);
        let written = usage.cache_write.min(usage.input - cached);
        let plain = usage.input - cached - written;
        let parts = [
            (plain, self.input),
            (cached, self.cached_input()),
            (written, self.cache_write()),
            (usage.output, self.output),
        ];
        let sum: u128 = parts.iter().map(|(tokens, rate)| u128::from(*tokens) * u128::from(rate.nanos())).sum();
        Money::from_nanos(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// The same as [`of`](Self::of) without what caches save, as an upper bound.
    fn at_most(&self, usage: &Usage) -> Money {
        let input = self.input.max(self.cached_input()).max(self.cache_write());
        Self::new(input, self.output).of(&Usage { cached: 0, cache_write: 0, ..*usage })
    }
}

/// The rates of one model, which may be others for long requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    rates: Rates,
    /// The tiers for requests with more input tokens, from the lowest number.
    above: Vec<(u64, Rates)>,
}

impl Price {
    /// Creates a price with the same rates for all requests.
    #[must_use]
    pub const fn new(rates: Rates) -> Self {
        Self { rates, above: Vec::new() }
    }

    /// Sets the rates of all tokens of a request with more than `tokens` input tokens.
    #[must_use]
    pub fn above(mut self, tokens: u64, rates: Rates) -> Self {
        self.above.push((tokens, rates));
        self.above.sort_by_key(|(tokens, _)| *tokens);
        self
    }

    /// Returns the rates of a request with so many input tokens.
    #[must_use]
    pub fn rates(&self, input: u64) -> &Rates {
        self.above.iter().rev().find(|(tokens, _)| input > *tokens).map_or(&self.rates, |(_, rates)| rates)
    }

    /// Returns what these tokens cost.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> Money {
        self.rates(usage.input).of(usage)
    }

    /// Returns the most that a request may cost that uses at most these tokens.
    #[must_use]
    pub fn at_most(&self, usage: &Usage) -> Money {
        let reached = self.above.iter().filter(|(tokens, _)| usage.input > *tokens).map(|(_, rates)| rates);
        let most = reached.chain([&self.rates]).map(|rates| rates.at_most(usage)).max();
        most.unwrap_or_default()
    }
}

/// What a request has used, and where.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Used<'a> {
    /// The model's public name.
    pub model: &'a str,
    /// The backend that was asked; `None` while none is chosen.
    pub backend: Option<&'a BackendId>,
    /// The numbers of tokens.
    pub usage: Usage,
}

impl<'a> Used<'a> {
    /// Creates the facts that a cost is computed from.
    #[must_use]
    pub const fn new(model: &'a str, backend: Option<&'a BackendId>, usage: Usage) -> Self {
        Self { model, backend, usage }
    }
}

/// Computes what a request costs. A closure `Fn(&Used<'_>) -> Option<Money>` will do.
pub trait Cost: Send + Sync {
    /// Returns what these tokens cost; `None` if there is no price.
    fn cost(&self, used: &Used<'_>) -> Option<Money>;

    /// Returns the most that a request may cost that uses at most these tokens. Without a backend it
    /// is the most over all backends that the model has.
    fn at_most(&self, used: &Used<'_>) -> Option<Money> {
        self.cost(used)
    }
}

impl<F> Cost for F
where
    F: Fn(&Used<'_>) -> Option<Money> + Send + Sync,
{
    fn cost(&self, used: &Used<'_>) -> Option<Money> {
        self(used)
    }
}

/// A table of prices by model, with prices of single backends.
///
/// A backend's own price wins, then the price of the backend's name of the model, then the price of
/// the public name.
///
/// ```
/// use berry_tower::{progress::Usage, spend::{Cost, Price, Prices, Rates, Used}};
///
/// let price = Price::new(Rates::new("1".parse().unwrap(), "4".parse().unwrap()));
/// let prices = Prices::new().with("gpt", price);
/// let usage = Usage { input: 1_000_000, output: 500_000, ..Usage::default() };
/// assert_eq!(prices.cost(&Used::new("gpt", None, usage)).unwrap().to_string(), "3.00");
/// assert_eq!(prices.cost(&Used::new("llama", None, usage)), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    by_name: HashMap<Arc<str>, Price>,
    by_backend: HashMap<BackendId, Price>,
    /// The backends of each model.
    backends: HashMap<Arc<str>, Vec<BackendId>>,
}

impl Prices {
    /// Creates an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the price of a model by its public name, or by the name that backends give it.
    #[must_use]
    pub fn with(mut self, name: impl Into<Arc<str>>, price: Price) -> Self {
        self.by_name.insert(name.into(), price);
        self
    }

    /// Adds a backend of a model, so that it counts in the most that a request may cost. `price` is
    /// the backend's own.
    #[must_use]
    pub fn with_backend(mut self, model: impl Into<Arc<str>>, backend: BackendId, price: Option<Price>) -> Self {
        if let Some(price) = price {
            self.by_backend.insert(backend.clone(), price);
        }
        self.backends.entry(model.into()).or_default().push(backend);
        self
    }

    /// Returns the price of a model at a backend.
    #[must_use]
    pub fn find(&self, model: &str, backend: Option<&BackendId>) -> Option<&Price> {
        let own =
            backend.and_then(|backend| self.by_backend.get(backend).or_else(|| self.by_name.get(&*backend.model)));
        own.or_else(|| self.by_name.get(model))
    }
}

impl Cost for Prices {
    fn cost(&self, used: &Used<'_>) -> Option<Money> {
        Some(self.find(used.model, used.backend)?.of(&used.usage))
    }

    fn at_most(&self, used: &Used<'_>) -> Option<Money> {
        let at = |backend| Some(self.find(used.model, backend)?.at_most(&used.usage));
        if used.backend.is_some() {
            return at(used.backend);
        }
        let backends = self.backends.get(used.model).into_iter().flatten();
        backends.filter_map(|backend| at(Some(backend))).max().or_else(|| at(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(input: &str, output: &str) -> Price {
        Price::new(Rates::new(input.parse().unwrap(), output.parse().unwrap()))
    }

    fn backend(model: &str) -> BackendId {
        BackendId { provider: "p".into(), model: model.into() }
    }

    #[test]
    fn counts_cached_and_written_tokens_at_their_own_rates() {
        let rates = Rates::new("2".parse().unwrap(), "10".parse().unwrap())
            .with_cached_input("0.2".parse().unwrap())
            .with_cache_write("2.5".parse().unwrap());
        let usage = Usage { input: 100, output: 10, cached: 40, cache_write: 20, reasoning: 5 };
        // 40 × 2 + 40 × 0.2 + 20 × 2.5 + 10 × 10 = 238 millionths.
        assert_eq!(Price::new(rates).of(&usage).to_string(), "0.000238");
        let bound = Price::new(rates).at_most(&usage);
        assert_eq!(bound.to_string(), "0.00035", "as if all input was written to a cache");
    }

    #[test]
    fn a_fraction_of_a_nano_dollar_counts_as_one() {
        let usage = Usage { input: 1, ..Usage::default() };
        assert_eq!(price("0.0005", "0").of(&usage).nanos(), 1);
    }

    #[test]
    fn a_backends_own_price_wins() {
        let (own, plain) = (backend("a"), backend("b"));
        let prices = Prices::new()
            .with("m", price("1", "1"))
            .with("b", price("2", "2"))
            .with_backend("m", own.clone(), Some(price("3", "3")))
            .with_backend("m", plain.clone(), None);
        let usage = Usage { input: 1_000_000, ..Usage::default() };
        let cost = |backend| prices.cost(&Used::new("m", backend, usage)).unwrap().to_string();
        assert_eq!(cost(Some(&own)), "3.00");
        assert_eq!(cost(Some(&plain)), "2.00");
        assert_eq!(cost(Some(&backend("c"))), "1.00");
        assert_eq!(prices.at_most(&Used::new("m", None, usage)).unwrap().to_string(), "3.00");
    }

    #[test]
    fn the_most_a_request_may_cost_holds_for_every_tier_that_it_may_reach() {
        let price = price("5", "5").above(100, Rates::new("1".parse().unwrap(), "1".parse().unwrap()));
        let most = Usage { input: 101, ..Usage::default() };
        assert_eq!(price.at_most(&most), Money::from_nanos(505_000), "fewer tokens would cost more each");
    }
}
