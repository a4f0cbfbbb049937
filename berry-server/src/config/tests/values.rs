//! Tests of the rules for single values: each finding contains the path and the remedy.

use berry_tower::backend::Probe;

use super::super::BackendType;
use super::{BACKENDS, MODEL, PROVIDER, SETTINGS, SMALL, USER, backend, errors, good, instead, load, refused, with};

#[test]
fn small_file_has_the_defaults() {
    let loaded = good(SMALL);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let provider = &loaded.config.providers["openai"];
    assert_eq!(provider.name, "openai");
    assert_eq!((provider.timeout_seconds, provider.plain_timeout_seconds), (30, 300));
    assert_eq!((provider.connect_timeout_seconds, provider.max_retries), (5, 3));
    assert_eq!(provider.backend_type, BackendType::OpenAi);
    assert!(provider.enabled && provider.stream_usage);
    let backend = &loaded.config.models["gpt_4o"].backends[0];
    assert_eq!((backend.weight, backend.priority), (1.0, 0));
    assert_eq!(backend.probe, Probe::Chat);
}

#[test]
fn settings_are_the_defaults_of_providers() {
    let text = with(SETTINGS, "request_timeout_seconds = 900\nmax_retries = 1");
    let loaded = good(&text);
    let provider = &loaded.config.providers["openai"];
    assert_eq!((provider.timeout_seconds, provider.max_retries), (900, 1));
    assert_eq!(loaded.config.settings.max_internal_retries, 1);
}

#[test]
fn reports_all_errors_in_the_order_of_the_file() {
    let text = SMALL
        .replace(SETTINGS, "[settings]\nmax_retrys = 3\nmax_retries = 11\nmask_api_keys = \"yes\"")
        .replace("provider = \"openai\"", "provider = \"opnai\"")
        .replace("a-token-of-24-characters", "short");
    let errors = load(&text).unwrap_err();
    let expected = "\
line 3: settings.max_retrys: unknown key `max_retrys`; did you mean `max_retries`?
line 4: settings.max_retries: must be from 0 to 10, not 11
line 5: settings.mask_api_keys: must be true or false, not a string
line 8: users.admin.token: has 5 characters; it must have 16 or more
line 18: models.gpt_4o.backends[0].provider: unknown provider `opnai`; did you mean `openai`?";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn rejects_unknown_keys_at_every_level() {
    refused(&format!("user = 1\n{SMALL}"), "user: unknown key `user`; did you mean `users`?");
    refused(&format!("max_retries = 1\n{SMALL}"), "it belongs under `[settings]`");
    refused(&with(SETTINGS, "zzz = 1"), "settings.zzz: unknown key `zzz`; known: `health_check");
    refused(&with(SETTINGS, "smart_ai = { ratio = 1 }"), "settings.smart_ai.ratio: unknown key");
    refused(&with(USER, "tokens = 1"), "users.admin.tokens: unknown key `tokens`; did you mean `token`?");
    refused(&with(USER, "rate_limit = { rpm = 1 }"), "users.admin.rate_limit.rpm: unknown key");
    refused(&with(PROVIDER, "timeout = 1"), "providers.openai.timeout: unknown key");
    refused(&with(MODEL, "\"a b\" = 1"), "models.gpt_4o.\"a b\": unknown key");
    refused(&backend("wieght = 1"), "models.gpt_4o.backends[0].wieght: unknown key `wieght`; did you mean `weight`?");
}

#[test]
fn rejects_numbers_out_of_range() {
    for key in ["health_check_interval_seconds", "circuit_breaker_failure_threshold"] {
        refused(&with(SETTINGS, &format!("{key} = 0")), "must be from 1 to");
    }
    refused(&with(SETTINGS, "request_timeout_seconds = -1"), "from 1 to 4294967295, not -1");
    refused(&with(SETTINGS, "request_timeout_seconds = 99999999999999999999"), "must be from 1");
    refused(&with(SETTINGS, "request_timeout_seconds = 1.5"), "a whole number, not a float");
    refused(&with(SETTINGS, "smart_ai = { exploration_ratio = 1.1 }"), "must be from 0 to 1");
    refused(&with(SETTINGS, "smart_ai = { non_premium_stability_bonus = 0.9 }"), "from 1 to 2");
    refused(&with(SETTINGS, "retry_budget = { ratio = nan }"), "must be from 0 to 1");
    refused(&with(PROVIDER, "timeout_seconds = 601"), "from 1 to 600, not 601");
    refused(&backend("priority = 11"), "from 0 to 10");
    for weight in ["0", "0.0", "-1", "100.1", "inf", "nan"] {
        refused(&backend(&format!("weight = {weight}")), "above 0 and at most 100");
    }
    for (weight, value) in [("100", 100.0), ("1_0.5", 10.5), ("1e-3", 0.001), ("+2", 2.0)] {
        let loaded = good(&backend(&format!("weight = {weight}")));
        assert_eq!(loaded.config.models["gpt_4o"].backends[0].weight, value);
    }
    let hex = good(&with(SETTINGS, "max_request_body_bytes = 0x1_000"));
    assert_eq!(hex.config.settings.max_request_body_bytes, 4096);
}

#[test]
fn rejects_unknown_words() {
    refused(&with(MODEL, "strategy = \"smart-ai\""), "unknown value `smart-ai`; did you mean `smart_ai`?");
    refused(&with(PROVIDER, "backend_type = \"mistral\""), "known: `openai`, `open_a_i`, `claude`");
    refused(&backend("probe = \"ping\""), "known: `chat`, `models`, `none`");
    refused(&backend("sampling = 1"), "must be a string, not an integer");
    refused(&with(SETTINGS, "tag_policy = \"Open\""), "did you mean `open`?");
    let old = good(&with(PROVIDER, "backend_type = \"open_a_i\""));
    assert_eq!(old.config.providers["openai"].backend_type, BackendType::OpenAi);
}

#[test]
fn rejects_a_half_written_file() {
    let text = errors("");
    assert_eq!(text.len(), 3, "{text:#?}");
    for table in ["users", "providers", "models"] {
        assert!(text.iter().any(|error| error.contains(&format!("add `[{table}.<id>]`"))));
    }
    refused(&instead("base_url = \"https://api.openai.com/v1\"", ""), "providers.openai.base_url: missing");
    refused(&instead("api_key = \"sk-1234567890\"", ""), "providers.openai.api_key: missing");
    refused(&instead("models = [\"gpt-4o\", \"gpt-4o-mini\"]", ""), "providers.openai.models: missing");
    refused(&instead("token = \"a-token-of-24-characters\"", ""), "users.admin.token: missing");
    refused(&instead("name = \"gpt-4o\"", ""), "models.gpt_4o.name: missing");
    refused(&instead("backends", "fallbacks = []\n#"), "add `[[models.gpt_4o.backends]]`");
    refused(&instead("provider = \"openai\", ", ""), "models.gpt_4o.backends[0].provider: missing");
}

#[test]
fn reports_wrong_types() {
    refused(&format!("{SMALL}[setting]\nx = 1"), "setting: unknown key `setting`; did you mean `settings`?");
    refused(&with(USER, "allowed_models = \"gpt-4o\""), "a list of strings, not a string");
    refused(&with(USER, "allowed_models = [1]"), "users.admin.allowed_models[0]: must be a string");
    refused(&with(USER, "rate_limit = 5"), "must be a table, not an integer");
    refused(
        &instead(BACKENDS, "{ provider = \"openai\" }"),
        "a list of tables, each under `[[models.gpt_4o.backends]]`",
    );
    refused(&instead(BACKENDS, &format!("[1, {}", &BACKENDS[1..])), "backends[0]: must be a table");
    refused(&format!("users.bob = 1\n{SMALL}"), "users.bob: must be a table `[users.bob]`");
}

#[test]
fn checks_origins() {
    let origins = |value: &str| with(SETTINGS, &format!("cors_allowed_origins = [\"{value}\"]"));
    for fine in ["*", "https://a.example.com", "http://localhost:5173", "tauri://localhost"] {
        good(&origins(fine));
    }
    refused(&origins("https://a.example.com/"), "did you mean `https://a.example.com`?");
    refused(&origins("https://A.example.com:443/x"), "did you mean `https://a.example.com`?");
    refused(&origins("a.example.com"), "settings.cors_allowed_origins[0]: must be `*` or an origin");
}

#[test]
fn checks_users() {
    refused(&instead("tags = [\"admin\"]", "tags = [\"admin\", \"a b\"]"), "users.admin.tags[1]: a tag");
    refused(&instead("tags = [\"admin\"]", "tags = [\"admin\", \"\"]"), "users.admin.tags[1]: a tag");
    refused(&with(USER, "expires_at = \"tomorrow\""), "RFC 3339");
    refused(&with(USER, "expires_at = 2027-01-31T00:00:00"), "RFC 3339");
    for value in ["\"2027-01-31T01:00:00+01:00\"", "2027-01-31T00:00:00Z"] {
        let loaded = good(&with(USER, &format!("expires_at = {value}")));
        let expires_at = loaded.config.users["admin"].expires_at.unwrap();
        assert_eq!(expires_at.to_string(), "2027-01-31T00:00:00Z");
    }
    let limit = |keys: &str| with(USER, &format!("rate_limit = {{ {keys} }}"));
    refused(&limit("requests_per_minute = 0"), "requests_per_minute: must be from 1");
    refused(
        &limit("requests_per_minute = 9, requests_per_hour = 8"),
        "requests_per_hour: 8 is less than `requests_per_minute` (9)",
    );
    refused(&limit("requests_per_minute = 9, requests_per_day = 8"), "requests_per_day: 8 is less");
    good(&limit("requests_per_hour = 9, requests_per_day = 9, max_concurrent_requests = 1"));
}

#[test]
fn checks_providers() {
    let url = |value: &str| instead("https://api.openai.com/v1", value);
    for bad in ["api.openai.com", "ftp://x", "https://", "", "/v1"] {
        refused(&url(bad), "providers.openai.base_url: ");
    }
    for bad in ["https://exämple.example.com/v1", " https://x.example.com", "https://x.example.com/a b"] {
        refused(&url(bad), "holds white space or letters beyond ASCII; write it as `https://");
    }
    refused(&url("https://user:hunter22@x.example.com"), "must not hold a user or password");
    refused(&url("https://x.example.com/v1?key=1"), "must end with its path");
    refused(&instead("sk-1234567890", "sk-1\\n"), "providers.openai.api_key: must be plain ASCII");
    refused(&instead("\"gpt-4o-mini\"", "\"\""), "providers.openai.models[1]");
    refused(&with(PROVIDER, "headers = { \"a b\" = \"x\" }"), "providers.openai.headers.\"a b\": is no header");
    refused(&with(PROVIDER, "headers = { a = \"x\\n\" }"), "providers.openai.headers.a: a header's value");
    refused(&with(PROVIDER, "headers = { a = \"x\", A = \"y\" }"), "headers.A: is set twice");
    refused(&with(PROVIDER, "headers = { Content-Length = \"1\" }"), "is set by the gateway");
    refused(&with(PROVIDER, "backend_type = \"azure\""), "providers.openai.api_version: missing");
    let azure = "backend_type = \"azure\"\napi_version = ";
    refused(&with(PROVIDER, &format!("{azure}\"a&b\"")), "must be a version");
    good(&with(PROVIDER, &format!("{azure}\"2024-10-21\"")));
    good(&instead("sk-1234567890", ""));
}

#[test]
fn one_mistake_causes_one_error() {
    let list = "[\"gpt-4o\", \"gpt-4o-mini\"]";
    refused(&instead(list, "\"gpt-4o\""), "providers.openai.models: must be a list of strings, not a string");
    refused(&instead(PROVIDER, "[[providers]]"), "providers: must be a table, not an array");
    refused(&instead("provider = \"openai\"", "provider = 1"), "backends[0].provider: must be a string");
    refused(&with(MODEL, "strategy = \"a\\n\\u001b[1m\""), "unknown value `a\\n\\u{1b}[1m`");
}
