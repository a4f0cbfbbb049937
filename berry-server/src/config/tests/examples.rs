//! The example files load without warnings, and the full example is complete.

use toml::de::DeTable;

use super::super::options::Word;
use super::super::reader::Reader;
use super::super::{BASIC_EXAMPLE, Config, FULL_EXAMPLE, Loaded, SMART_AI_EXAMPLE, Settings, Strategy, parse, read};

fn env(name: &str) -> Option<String> {
    Some(match name {
        "BERRY_APP_TOKEN_SHA256" => "0123456789abcdef".repeat(4),
        _ => format!("{}-0123456789-abcdef", name.to_lowercase()),
    })
}

fn example(text: &str) -> Loaded {
    let loaded = parse(text, &env).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded
}

#[test]
fn examples_load_without_warnings() {
    for text in [FULL_EXAMPLE, SMART_AI_EXAMPLE, BASIC_EXAMPLE] {
        example(text);
    }
}

#[test]
fn examples_contain_no_secret() {
    for text in [FULL_EXAMPLE, SMART_AI_EXAMPLE, BASIC_EXAMPLE] {
        for line in text.lines() {
            let secret = ["token = ", "token_sha256 = ", "api_key = "];
            if secret.iter().any(|key| line.starts_with(key)) {
                assert!(line.contains("\"${") || line.contains("\"\""), "{line}");
            }
        }
    }
}

#[test]
fn full_example_shows_every_strategy_and_the_defaults() {
    let Config { models, settings, .. } = example(FULL_EXAMPLE).config;
    for (word, strategy) in Strategy::words() {
        let shown = models.values().any(|model| model.strategy == strategy);
        assert!(shown, "{word}");
    }
    // One default depends on the address that the server listens on, the other on the limits.
    let estimate = Some(super::super::EstimateBy::Bound);
    assert_eq!(settings, Settings { public_status: Some(true), estimate, ..Settings::default() });
}

#[test]
fn full_example_shows_every_key() {
    let root = DeTable::parse(FULL_EXAMPLE).unwrap();
    let reader = Reader::new(FULL_EXAMPLE, root.get_ref(), &env);
    read(&reader, root.get_ref());
    let known = reader.known();
    assert!(known.len() > 80, "{}", known.len());
    for ((table, key), shown) in known {
        assert!(shown, "`{key}` of `[{table}]`");
    }
}

#[test]
fn keeps_the_order_of_the_file() {
    let config = example(FULL_EXAMPLE).config;
    let models: Vec<&String> = config.models.keys().collect();
    assert_eq!(models[..3], ["chat", "steady", "fast"]);
    let providers: Vec<&String> = config.providers.keys().collect();
    assert_eq!(providers, ["openai", "azure", "anthropic", "google", "local", "mistral", "vertex", "house"]);
}
