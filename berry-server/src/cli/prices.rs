//! Turns public tables of prices into the configuration's.
//!
//! Two tables are known: `genai-prices` by Pydantic (a list of providers, each with its models, in dollars per million
//! tokens) and that of LiteLLM (an object by model, in dollars per token).

use std::{collections::BTreeSet, fs, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::output::{Fail, Output};

/// The commands under `prices`.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum PricesCommand {
    /// Print the prices of a public table (genai-prices or LiteLLM's) as `[prices]` for the configuration.
    Import(ImportArgs),
}

/// The options of `prices import`.
#[derive(Args, Clone, Debug)]
pub(super) struct ImportArgs {
    /// The table, as JSON.
    file: PathBuf,
    /// Only models of this provider, as the table names it; may be given several times.
    #[arg(long = "provider", value_name = "ID")]
    providers: Vec<String>,
    /// Only this model, as the table names it; may be given several times.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
}

/// The rates of a model, in dollars per million tokens, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rates {
    input: String,
    output: String,
    cached_input: Option<String>,
    cache_write: Option<String>,
}

/// The price of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Price {
    rates: Rates,
    /// The rates above a number of input tokens.
    above: Option<(u64, Rates)>,
}

type Prices = IndexMap<String, Price>;

/// `prices import`
pub(super) fn import(args: &ImportArgs, out: &Output) -> Result<ExitCode, Fail> {
    let name = args.file.display();
    let text = fs::read(&args.file).map_err(|error| Fail::new(format!("{name} cannot be read: {error}")))?;
    let table: Value =
        serde_json::from_slice(&text).map_err(|error| Fail::new(format!("{name} is no JSON: {error}")))?;
    let wanted = |provider: &str, model: &str| {
        (args.providers.is_empty() || args.providers.iter().any(|one| one == provider))
            && (args.models.is_empty() || args.models.iter().any(|one| one == model))
    };
    let today = Timestamp::now().to_string();
    let (prices, doubles) = match &table {
        Value::Array(providers) => of_genai_prices(providers, &today[..10], &wanted),
        Value::Object(models) => (of_litellm(models, &wanted), BTreeSet::new()),
        _ => return Err(Fail::new(format!("{name} is neither a table of genai-prices nor one of LiteLLM"))),
    };
    if prices.is_empty() {
        return Err(Fail::new(format!("{name} has no price of a model that was asked for")));
    }
    out.value(
        &json!({ "prices": prices.iter().map(|(name, price)| (name.clone(), json_of(price))).collect::<Map<_, _>>() }),
    );
    out.line(toml_of(&prices).trim_end());
    if !doubles.is_empty() {
        let some: Vec<_> = doubles.iter().take(5).map(String::as_str).collect();
        let count = doubles.len();
        out.warn(format_args!(
            "{count} models have several providers, among them {}; the first one counts, --provider selects another",
            some.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a table of genai-prices, and the models that several providers have.
fn of_genai_prices(
    providers: &[Value],
    today: &str,
    wanted: &dyn Fn(&str, &str) -> bool,
) -> (Prices, BTreeSet<String>) {
    let (mut prices, mut doubles) = (Prices::new(), BTreeSet::new());
    for provider in providers {
        let id = provider["id"].as_str().unwrap_or_default();
        for model in provider["models"].as_array().into_iter().flatten() {
            let Some(name) = model["id"].as_str().filter(|name| wanted(id, name)) else { continue };
            let Some(price) = in_force(&model["prices"], today).and_then(of_genai_price) else { continue };
            if prices.contains_key(name) {
                doubles.insert(name.to_owned());
            } else {
                prices.insert(name.to_owned(), price);
            }
        }
    }
    (prices, doubles)
}

/// Returns the prices of today: of a list, the last entry without a condition or with a first day that has come.
fn in_force<'a>(prices: &'a Value, today: &str) -> Option<&'a Value> {
    let Value::Array(list) = prices else { return prices.is_object().then_some(prices) };
    let holds = |entry: &&Value| match &entry["constraint"] {
        Value::Null => true,
        constraint => constraint["start_date"].as_str().is_some_and(|first| first <= today),
    };
    list.iter().rev().find(holds).map(|entry| &entry["prices"])
}

fn of_genai_price(prices: &Value) -> Option<Price> {
    const KEYS: [&str; 4] = ["input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"];
    // A rate is a number, or an object with tiers by input tokens.
    let base = |key: &str| match &prices[key] {
        Value::Object(tiers) => decimal(&tiers["base"], 0),
        rate => decimal(rate, 0),
    };
    let first_tier = |key: &str| prices[key]["tiers"].as_array().and_then(|tiers| tiers.first());
    let rates = rates(base)?;
    let start = KEYS.iter().filter_map(|key| first_tier(key)?["start"].as_u64()).min();
    let above = start.and_then(|tokens| {
        let rate = |key: &str| first_tier(key).and_then(|tier| decimal(&tier["price"], 0)).or_else(|| base(key));
        Some((tokens, self::rates(rate)?))
    });
    Some(Price { rates, above })
}

/// Makes rates of a function from genai-prices' keys. Models without output, such as embeddings, pay nothing for it.
fn rates(rate: impl Fn(&str) -> Option<String>) -> Option<Rates> {
    Some(Rates {
        input: rate("input_mtok")?,
        output: rate("output_mtok").unwrap_or_else(|| "0.00".to_owned()),
        cached_input: rate("cache_read_mtok"),
        cache_write: rate("cache_write_mtok"),
    })
}

/// Reads LiteLLM's table.
fn of_litellm(models: &Map<String, Value>, wanted: &dyn Fn(&str, &str) -> bool) -> Prices {
    let mut prices = Prices::new();
    for (name, model) in models {
        // The first entry explains the keys.
        if name == "sample_spec" || !wanted(model["litellm_provider"].as_str().unwrap_or_default(), name) {
            continue;
        }
        if let Some(price) = of_litellm_price(model) {
            prices.insert(name.clone(), price);
        }
    }
    prices
}

fn of_litellm_price(model: &Value) -> Option<Price> {
    let key_of = |key: &str| match key {
        "input_mtok" => "input_cost_per_token",
        "output_mtok" => "output_cost_per_token",
        "cache_read_mtok" => "cache_read_input_token_cost",
        _ => "cache_creation_input_token_cost",
    };
    let base = |key: &str| decimal(&model[key_of(key)], 6);
    let rates = rates(base)?;
    // `input_cost_per_token_above_200k_tokens`
    let tiers = model.as_object()?.keys().filter_map(|key| {
        let thousands = key.strip_prefix("input_cost_per_token_above_")?.strip_suffix("k_tokens")?;
        thousands.parse::<u64>().ok().filter(|thousands| *thousands > 0)
    });
    let above = tiers.min().and_then(|thousands| {
        let rate =
            |key: &str| decimal(&model[format!("{}_above_{thousands}k_tokens", key_of(key))], 6).or_else(|| base(key));
        Some((thousands * 1_000, self::rates(rate)?))
    });
    Some(Price { rates, above })
}

/// Writes a number as a decimal after a shift of its point, exact to nine places; `None` for what is no price.
fn decimal(value: &Value, shift: i32) -> Option<String> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    if !number.is_finite() || number < 0.0 {
        return None;
    }
    // The shortest digits that mean this number are those that the table has.
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = 1 + exponent.parse::<i32>().ok()?.checked_add(shift)?;
    if !(-9..=10).contains(&point) {
        return (number == 0.0).then(|| "0.00".to_owned());
    }
    let padded = format!("{}{digits}{}", "0".repeat(10), "0".repeat(20));
    let at = usize::try_from(10 + point).ok()?;
    let whole = padded[..at].trim_start_matches('0');
    let fraction = padded[at..at + 9].trim_end_matches('0');
    Some(format!("{}.{fraction:0<2}", if whole.is_empty() { "0" } else { whole }))
}

fn members(rates: &Rates) -> Vec<(&'static str, &str)> {
    let mut members = vec![("input", rates.input.as_str()), ("output", rates.output.as_str())];
    members.extend(rates.cached_input.as_deref().map(|rate| ("cached_input", rate)));
    members.extend(rates.cache_write.as_deref().map(|rate| ("cache_write", rate)));
    members
}

/// Returns the members of a JSON object.
fn object(rates: &Rates) -> Vec<(String, Value)> {
    members(rates).into_iter().map(|(name, rate)| (name.to_owned(), json!(rate))).collect()
}

fn json_of(price: &Price) -> Value {
    let mut all: Map<String, Value> = object(&price.rates).into_iter().collect();
    if let Some((tokens, rates)) = &price.above {
        let tier = [("tokens".to_owned(), json!(tokens))].into_iter().chain(object(rates));
        all.insert("above".to_owned(), Value::Object(tier.collect()));
    }
    Value::Object(all)
}

fn toml_of(prices: &Prices) -> String {
    let list = |rates: &Rates| {
        let rates = members(rates).into_iter().map(|(name, rate)| format!("{name} = \"{rate}\""));
        rates.collect::<Vec<_>>()
    };
    let mut text = String::from("# Dollars for a million tokens.\n");
    for (name, Price { rates, above }) in prices {
        text.push_str(&format!("\n[prices.{}]\n{}\n", json!(name), list(rates).join("\n")));
        if let Some((tokens, rates)) = above {
            text.push_str(&format!("above = {{ tokens = {tokens}, {} }}\n", list(rates).join(", ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &dyn Fn(&str, &str) -> bool = &|_, _| true;

    #[test]
    fn shifts_the_point_without_rounding() {
        let of = |number: f64, shift| decimal(&json!(number), shift).unwrap();
        assert_eq!(
            (of(2.5, 0), of(10.0, 0), of(0.0, 0), of(0.075, 0)),
            ("2.50".into(), "10.00".into(), "0.00".into(), "0.075".into())
        );
        assert_eq!((of(2.5e-6, 6), of(1.5e-7, 6), of(1.1e-9, 6)), ("2.50".into(), "0.15".into(), "0.0011".into()));
        assert_eq!(decimal(&json!("0.25"), 0).unwrap(), "0.25");
        assert_eq!((decimal(&json!(-1), 0), decimal(&json!(null), 0)), (None, None));
    }

    #[test]
    fn reads_genai_prices_with_tiers_and_dates() {
        let table = json!([
            { "id": "one", "models": [
                { "id": "plain", "prices": { "input_mtok": 3, "output_mtok": 15, "cache_read_mtok": 0.3 } },
                { "id": "tiered", "prices": { "input_mtok": { "base": 3, "tiers": [{ "start": 200000, "price": 6 }] },
                                              "output_mtok": { "base": 15, "tiers": [{ "start": 200000, "price": 22.5 }] } } },
                { "id": "dated", "prices": [
                    { "prices": { "input_mtok": 2, "output_mtok": 10 } },
                    { "constraint": { "start_date": "2026-09-01" }, "prices": { "input_mtok": 4, "output_mtok": 20 } },
                    { "constraint": { "start_time": "00:30:00Z" }, "prices": { "input_mtok": 1, "output_mtok": 1 } },
                ] },
            ] },
            { "id": "two", "models": [{ "id": "plain", "prices": { "input_mtok": 9, "output_mtok": 9 } }] },
        ]);
        let (before, doubles) = of_genai_prices(table.as_array().unwrap(), "2026-08-31", ALL);
        assert_eq!((doubles.len(), before["plain"].rates.input.as_str()), (1, "3.00"));
        let (tokens, rates) = before["tiered"].above.clone().unwrap();
        assert_eq!((tokens, rates.input.as_str(), rates.output.as_str()), (200_000, "6.00", "22.50"));
        let (after, _) = of_genai_prices(table.as_array().unwrap(), "2026-09-01", ALL);
        assert_eq!((before["dated"].rates.input.as_str(), after["dated"].rates.input.as_str()), ("2.00", "4.00"));
    }

    #[test]
    fn reads_litellm_and_writes_what_the_configuration_reads() {
        let table = json!({
            "sample_spec": { "input_cost_per_token": 0.0, "output_cost_per_token": 0.0 },
            "a/b": { "litellm_provider": "a", "input_cost_per_token": 1.25e-6, "output_cost_per_token": 1e-5,
                     "cache_creation_input_token_cost": 3.75e-6, "input_cost_per_token_above_200k_tokens": 2.5e-6 },
            "picture": { "litellm_provider": "a", "output_cost_per_image": 0.04 },
        });
        let prices = of_litellm(table.as_object().unwrap(), ALL);
        assert_eq!(prices.len(), 1);
        let text = toml_of(&prices);
        assert!(
            text.contains("[prices.\"a/b\"]\ninput = \"1.25\"\noutput = \"10.00\"\ncache_write = \"3.75\"\n"),
            "{text}"
        );
        assert!(
            text.contains("above = { tokens = 200000, input = \"2.50\", output = \"10.00\", cache_write = \"3.75\" }")
        );
        assert!(of_litellm(table.as_object().unwrap(), &|provider, _| provider == "b").is_empty());
    }
}
