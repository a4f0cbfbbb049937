//! Reads `[prices.<name>]` and the `price` of a backend.

use berry_tower::spend::{Money, Price, Rates};

use super::{limits::money, reader::Table};

pub(super) fn read(mut t: Table<'_>) -> Option<Price> {
    let rates = rates(&mut t, true);
    let mut above = t.table("above", "prices.*.above");
    let tier = above.entries.is_some().then(|| {
        let mut tokens = 0_u64;
        above.whole("tokens", 1..=u64::from(u32::MAX), &mut tokens);
        if !above.has("tokens") {
            above.error("tokens", "missing; add the number of input tokens, for example `tokens = 200000`");
        }
        (tokens, self::rates(&mut above, true))
    });
    if tier.is_none() {
        // Makes the keys known ones.
        let _ = (above.has("tokens"), self::rates(&mut above, false));
    }
    above.finish();
    t.finish();
    let price = Price::new(rates?);
    match tier {
        Some((tokens, rates)) => Some(price.above(tokens, rates?)),
        None => Some(price),
    }
}

fn rates(t: &mut Table<'_>, is_required: bool) -> Option<Rates> {
    let mut required = |key: &'static str| {
        if is_required && !t.has(key) {
            t.error(key, format_args!("missing; add it in dollars per million tokens, for example `{key} = \"2.50\"`"));
        }
        money(t, key)
    };
    let (input, output) = (required("input"), required("output"));
    let (cached, written): (Option<Money>, Option<Money>) = (money(t, "cached_input"), money(t, "cache_write"));
    let rates = Rates::new(input?, output?);
    let rates = cached.map_or(rates, |rate| rates.with_cached_input(rate));
    Some(written.map_or(rates, |rate| rates.with_cache_write(rate)))
}
