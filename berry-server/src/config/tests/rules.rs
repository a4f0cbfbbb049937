//! Tests of the rules between tables, and of warnings.

use super::{
    BACKENDS, MODEL, PROVIDER, SETTINGS, SMALL, USER, backend, good, instead, one_line, parse, refused, second, warned,
    warnings, with,
};

#[test]
fn checks_models() {
    refused(&instead("name = \"gpt-4o\"", "name = \"gpt 4o\""), "models.gpt_4o.name: must not be empty");
    refused(
        &instead("model = \"gpt-4o\"", "model = \"gpt-4\""),
        "`gpt-4` is not in `providers.openai.models`; did you mean `gpt-4o`?",
    );
    refused(&second("b", "gpt-4o", ""), "models.b.name: model `gpt_4o` has the same name");
    refused(&second("b", "gpt_4o", ""), "models.gpt_4o: the id `gpt_4o` is also the name of model `b`");
    good(&second("b", "b", ""));
    let twice = r#"[{ provider = "openai", model = "gpt-4o" }, { provider = "openai", model = "gpt-4o" }]"#;
    refused(
        &instead(BACKENDS, twice),
        "models.gpt_4o.backends[1]: provider `openai` with model `gpt-4o` is listed twice",
    );
    refused(&backend("enabled = false"), "models.gpt_4o.backends: none is enabled");
    refused(&with(PROVIDER, "enabled = false"), "models.gpt_4o.backends: none is enabled");
    good(&backend("enabled = false").replace(MODEL, "[models.gpt_4o]\nenabled = false"));
    let odd = instead("\"gpt-4o-mini\"", "\"org/gpt:free\"").replace("model = \"gpt-4o\"", "model = \"org/gpt:free\"");
    good(&odd);
}

#[test]
fn rejects_unknown_and_cyclic_fallbacks() {
    let b = |lines: &str| second("b", "b-name", lines);
    good(&b("fallbacks = [\"gpt-4o\"]"));
    refused(&b("fallbacks = [\"gpt-4\"]"), "models.b.fallbacks[0]: unknown model `gpt-4`; did you mean `gpt-4o`?");
    refused(&b("fallbacks = [\"gpt_4o\"]"), "is a table id; write the model's name, `gpt-4o`");
    refused(&b("fallbacks = [\"b-name\"]"), "cannot be its own fallback");
    refused(&b("fallbacks = [\"gpt-4o\", \"gpt-4o\"]"), "models.b.fallbacks[1]: `gpt-4o` is listed twice");
    let circle = b("fallbacks = [\"gpt-4o\"]").replace(MODEL, "[models.gpt_4o]\nfallbacks = [\"b-name\"]");
    refused(&circle, "models.b.fallbacks: fallbacks go round in a circle: `gpt-4o` → `b-name` → `gpt-4o`");
    let off = b("fallbacks = [\"gpt-4o\"]").replace(MODEL, "[models.gpt_4o]\nenabled = false");
    warned(&off, "nothing falls back to it");
}

#[test]
fn allows_one_default_model_per_endpoint() {
    let b = |lines: &str| second("b", "b-name", lines);
    good(&b("default_for = [\"moderations\"]"));
    refused(&b("default_for = [\"embeddings\"]"), "models.b.default_for[0]: `embeddings` has no default model");
    let both = b("default_for = [\"moderations\"]").replace(MODEL, "[models.gpt_4o]\ndefault_for = [\"moderations\"]");
    refused(&both, "another model is the default for `moderations` already");
}

#[test]
fn warns_about_unreachable_models() {
    let bob = "[users.bob]\ntoken = \"another-token-of-many-characters\"\n";
    let admin = "tags = [\"admin\"]";
    warned(&instead(admin, ""), "users: no enabled user has the tag `admin`");
    let disabled = format!("{}{bob}", with(USER, "enabled = false"));
    warned(&disabled, "no enabled user has the tag `admin`");
    let no_user = warnings(&with(USER, "enabled = false"));
    assert_eq!(no_user.len(), 2, "{no_user:#?}");
    assert!(no_user[1].contains("models.gpt_4o: no enabled user may reach"));
    let strict = with(USER, "allowed_models = [\"b\"]");
    let strict = format!("{strict}[models.b]\nname = \"b\"\nbackends = {BACKENDS}\n");
    warned(&strict, "models.gpt_4o: no enabled user may reach this model");
    warned(&with(USER, "allowed_models = [\"gpt-4o\", \"*\"]"), "an empty list allows every model");
    warned(
        &with(USER, "allowed_models = [\"gpt_4o\", \"gpt-4\"]"),
        "users.admin.allowed_models[1]: no model has the name or id `gpt-4`; did you mean `gpt-4o`?",
    );
    let idle = format!("{SMALL}[providers.idle]\nbase_url = \"https://x.example.com\"\napi_key = \"\"\nmodels = []\n");
    warned(&idle, "providers.idle: no model uses this provider");
}

#[test]
fn warns_about_unused_tags() {
    let tagged = backend("tags = [\"vip\", \"premium\"]");
    warned(&tagged, "models.gpt_4o.backends[0].tags: no enabled user shares any");
    assert!(warnings(&backend("tags = [\"premium\"]")).is_empty());
    let bob = |tags: &str| format!("[users.bob]\ntoken = \"another-token-of-many-characters\"\ntags = {tags}\n");
    assert!(warnings(&format!("{tagged}{}", bob("[\"vip\"]"))).is_empty());
    warned(&format!("{tagged}{}", bob("[]")), "no enabled user shares any");
    let open = tagged.replace(SETTINGS, "[settings]\ntag_policy = \"open\"");
    assert!(warnings(&format!("{open}{}", bob("[]"))).is_empty());
    warned(&format!("{open}{}", bob("[\"x\"]")), "no enabled user shares any");
}

#[test]
fn warns_about_and_clamps_settings() {
    let text = with(SETTINGS, "max_retries = 2\nmax_internal_retries = 5");
    warned(&text, "settings.max_internal_retries: 5 is more than `max_retries`; 2 is used");
    assert_eq!(good(&text).config.settings.max_internal_retries, 2);
    warned(&with(SETTINGS, "smart_ai = { min_confidence = 0.9 }"), "is above `initial_confidence`");
    warned(&with(SETTINGS, "batch_metrics = true"), "settings.batch_metrics: has no meaning");
    warned(&with(PROVIDER, "tags = [1]"), "providers.openai.tags: has no meaning");
}

#[test]
fn warns_about_base_urls() {
    let url = |value: &str| instead("https://api.openai.com/v1", value);
    for near in ["http://localhost:1/v1", "http://127.8.0.1", "http://[::1]:80", "https://far.example.com"] {
        assert!(warnings(&url(near)).is_empty(), "{near}");
    }
    for far in ["http://api.example.com/v1", "http://10.0.0.1", "http://localhost.example.com"] {
        warned(&url(far), "unencrypted");
    }
    warned(&url("https://me.openai.azure.com"), "end it with `/openai/v1`");
    assert!(warnings(&url("https://me.openai.azure.com/openai/v1/")).is_empty());
    warned(&with(PROVIDER, "api_version = \"2024-10-21\""), "no effect here");
}

#[test]
fn warns_about_what_is_probably_not_meant() {
    let key = |value: &str| instead("\"sk-1234567890\"", value);
    warned(
        &key("\"$OPENAI_API_KEY\""),
        "providers.openai.api_key: `$OPENAI_API_KEY` is taken as it is; write `${OPENAI_API_KEY}`",
    );
    let empty = parse(&key("\"${OPENAI_API_KEY}\""), &|_| Some(String::new())).unwrap();
    assert_eq!(empty.warnings.len(), 1, "{:#?}", empty.warnings);
    assert!(one_line(&empty.warnings[0]).contains("`${OPENAI_API_KEY}` is empty, so no key is sent"));
    assert!(warnings(&key("\"\"")).is_empty());

    for endpoint in ["/chat/completions", "/completions", "/responses"] {
        let text = instead("https://api.openai.com/v1", &format!("https://api.openai.com/v1{endpoint}/"));
        warned(&text, &format!("providers.openai.base_url: ends with `{endpoint}`, which is appended"));
        let whole = text.replace(PROVIDER, &format!("{PROVIDER}\nchat_url = \"{{base_url}}\""));
        assert!(warnings(&whole).is_empty());
    }
    warned(&with(USER, "expires_at = \"2020-01-31T00:00:00Z\""), "users.admin.expires_at: is in the past");
}

#[test]
#[cfg(feature = "otlp")]
fn warns_about_the_port_of_another_protocol() {
    let text = format!("{SMALL}[telemetry]\notlp_endpoint = \"http://127.0.0.1:4317\"\n");
    warned(&text, "telemetry.otlp_endpoint: 4317 is the usual port of OTLP over gRPC");
}

#[test]
fn errors_name_the_cure() {
    refused(&with(USER, "team = \"x\""), "users.admin.team: unknown team `x`; add `[teams.x]`");
    let azure = instead("base_url = \"https://api.openai.com/v1\"", "preset = \"azure\"");
    refused(&azure, "for example `base_url = \"https://my-resource.openai.azure.com\"`");
    let file = instead("\"sk-1234567890\"", "\"${file:/no/such/key}\"");
    refused(
        &file,
        "`${file:/no/such/key}` cannot be read (No such file or directory (os error 2)); create it or correct",
    );
}

#[test]
fn warns_of_models_that_disagree_on_the_billing_of_a_backend() {
    let per_request = BACKENDS.replace("\"gpt-4o\" }", "\"gpt-4o\", billing_mode = \"per_request\" }");
    let text = format!("{SMALL}[models.other]\nname = \"other\"\nbackends = {per_request}\n");
    warned(
        &text,
        "models.other.backends[0].billing_mode: is `per_request`, but `models.gpt_4o.backends[0].billing_mode`",
    );
}
