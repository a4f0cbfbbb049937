//! Presets, keys that are not in the file, and placeholders in addresses.

use berry_tower::backend::{Effort, Efforts, OptionalField, TokenLimit};

use super::super::{KeyOrigin, parse, presets::PRESETS};

/// A file whose provider has these lines.
fn file(lines: &str) -> String {
    format!(
        "[users.me]\ntoken = \"token-of-me-0123456789abcdef\"\ntags = [\"admin\"]\n\
         [providers.p]\nmodels = [\"m\"]\n{lines}\n\
         [models.m]\nname = \"m\"\n[[models.m.backends]]\nprovider = \"p\"\nmodel = \"m\"\n"
    )
}

fn provider(lines: &str) -> super::super::Provider {
    let loaded = parse(&file(lines), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.config.providers["p"].clone()
}

fn refused(lines: &str) -> String {
    parse(&file(lines), &|_| None).unwrap_err().to_string()
}

#[test]
fn every_preset_needs_no_more_than_a_key_and_its_place() {
    for preset in &PRESETS {
        let mut lines = format!("preset = \"{}\"\nregion = \"eu-1\"\nproject = \"p-1\"\n", preset.name);
        if preset.needs_key {
            lines.push_str("api_key = \"sk-a-key\"\n");
        }
        if preset.base_url.is_empty() {
            lines.push_str("base_url = \"https://mine.openai.azure.com\"\n");
        }
        let provider = provider(&lines);
        assert_eq!((provider.preset, provider.backend_type), (Some(preset.name), preset.backend_type));
        assert!(!provider.base_url.contains('{'), "{}", provider.base_url);
    }
}

#[test]
fn every_value_of_a_preset_can_be_overridden() {
    let own = provider(
        "preset = \"mistral\"\napi_key = \"\"\nbase_url = \"https://mistral.example.com/v1\"\nbackend_type = \"claude\"\n\
         key_header = \"X-Key\"\nstream_usage = true\ntoken_limit = \"unchanged\"\nreasoning_history = \"keep\"\n\
         accepts = { user = true, developer = true, reasoning_effort = [\"low\", \"max\"] }",
    );
    assert_eq!(own.base_url, "https://mistral.example.com/v1");
    assert_eq!(own.key_header.unwrap(), "x-key");
    assert_eq!(own.options.token_limit(), TokenLimit::Unchanged);
    assert_eq!(own.options.efforts(), Efforts::of(&[Effort::Low, Effort::Max]));
    for field in [OptionalField::User, OptionalField::DeveloperRole, OptionalField::StreamOptions] {
        assert!(own.options.accepts(field), "{field:?}");
    }
    let usual = provider("preset = \"mistral\"\napi_key = \"\"");
    assert_eq!(usual.base_url, "https://api.mistral.ai/v1");
    assert!(!usual.stream_usage && !usual.options.accepts(OptionalField::User));
}

#[test]
fn addresses_get_the_place() {
    let vertex = provider("preset = \"vertex\"\napi_key = \"k\"\nregion = \"global\"\nproject = \"p-1\"");
    assert_eq!(vertex.base_url, "https://aiplatform.googleapis.com/v1");
    let (plain, _) = vertex.routes[0].chat_urls.clone().unwrap();
    assert!(plain.contains("/projects/p-1/locations/global/publishers/anthropic/models/{model}:rawPredict"), "{plain}");
    let bedrock = provider("preset = \"bedrock\"\napi_key = \"k\"\nregion = \"us-east-1\"");
    assert_eq!(bedrock.routes[0].base_url, "https://bedrock-mantle.us-east-1.api.aws/anthropic");
    let missing = refused("preset = \"bedrock\"\napi_key = \"k\"");
    assert!(missing.contains("providers.p.region: missing"), "{missing}");
    assert!(refused("preset = \"bedrock\"\napi_key = \"k\"\nregion = \"a/b\"").contains("providers.p.region"));
    assert!(refused("preset = \"mistrl\"\napi_key = \"k\"").contains("did you mean `mistral`"));
    assert!(refused("preset = \"azure\"\napi_key = \"k\"").contains("base_url"));
}

#[test]
fn a_key_comes_from_one_place() {
    let command = provider("preset = \"groq\"\napi_key_command = [\"printf\", \"k\"]\napi_key_ttl_seconds = 60");
    let source = command.key_source.unwrap();
    assert_eq!((source.origin, source.ttl_seconds), (KeyOrigin::Command(vec!["printf".into(), "k".into()]), 60));
    assert!(provider("preset = \"groq\"\napi_key_file = \"/run/secrets/k\"").key_source.is_some());
    for (lines, part) in [
        ("preset = \"groq\"", "api_key: missing"),
        ("preset = \"groq\"\napi_key = \"k\"\napi_key_command = [\"x\"]", "must not stand beside"),
        ("preset = \"groq\"\napi_key_file = \"/x\"\napi_key_command = [\"x\"]", "must not stand beside"),
        ("preset = \"groq\"\napi_key_command = []", "must name a program"),
        ("preset = \"groq\"\napi_key_file = \"secrets/k\"", "absolute path"),
        ("preset = \"groq\"\napi_key = \"k\"\nchat_stream_url = \"https://x\"", "needs `chat_url`"),
        ("preset = \"groq\"\napi_key = \"k\"\nchat_url = \"nowhere\"", "must be a URL"),
        ("preset = \"groq\"\napi_key = \"k\"\naccepts = { reasoning_effort = [\"huge\"] }", "unknown effort"),
        ("preset = \"groq\"\napi_key = \"k\"\naccepts = { strikt = true }", "unknown key `strikt`"),
    ] {
        let message = refused(lines);
        assert!(message.contains(part), "{lines}\n{message}");
    }
}
