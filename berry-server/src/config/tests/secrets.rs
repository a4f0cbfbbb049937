//! Tests of tokens and keys: rules, sources, and masking.

use secrecy::ExposeSecret;

use super::super::{Credential, load as load_file, parse};
use super::{PROVIDER, SMALL, USER, good, instead, load, no_env, refused, warned, with};

#[test]
fn tokens_are_long_and_unique() {
    let token = |value: &str| instead("a-token-of-24-characters", value);
    refused(&token("a token with spaces in it"), "must not hold white space");
    warned(&token("only-18-characters"), "users.admin.token: has only 18 characters");
    let again = "[users.bob]\ntoken = \"a-token-of-24-characters\"\n";
    refused(&format!("{SMALL}{again}"), "users.bob.token: user `admin` has the same token");
    // sha256 of "a-token-of-24-characters"
    let digest = Credential::Token("a-token-of-24-characters".into()).digest();
    let hex: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    let hashed = format!("[users.bob]\ntoken_sha256 = \"{hex}\"\n");
    refused(&format!("{SMALL}{hashed}"), "users.bob.token_sha256: user `admin` has the same token");
    refused(&with(USER, &format!("token_sha256 = \"{hex}\"")), "stands instead of `token`");
    refused(&instead("token = \"a-token-of-24-characters\"", "token_sha256 = \"12ab\""), "64 hex digits");
    let alone = instead("token = \"a-token-of-24-characters\"", &format!("token_sha256 = \"{hex}\""));
    let loaded = good(&alone);
    let credential = &loaded.config.users["admin"].credential;
    assert_eq!(credential.digest(), digest);
    assert!(credential.token().is_none());
}

#[test]
fn expands_environment_variables() {
    let env = |name: &str| match name {
        "TOKEN" => Some("a-token-from-the-environment".to_owned()),
        "HOST" => Some("llm.example.com".to_owned()),
        _ => None,
    };
    let text = instead("a-token-of-24-characters", "${TOKEN}").replace("api.openai.com", "${HOST}");
    let loaded = parse(&text, &env).unwrap();
    assert_eq!(loaded.config.providers["openai"].base_url, "https://llm.example.com/v1");
    let token = loaded.config.users["admin"].credential.token().unwrap();
    assert_eq!(token.expose_secret(), "a-token-from-the-environment");
    let errors = parse(&text, &no_env).unwrap_err();
    let paths: Vec<&str> = errors.findings.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["users.admin.token", "providers.openai.base_url"]);
    assert!(errors.to_string().contains("line 5: users.admin.token: the environment variable `TOKEN` is not set"));
    refused(
        &with(USER, "allowed_models = [\"${NOPE}\"]"),
        "users.admin.allowed_models[0]: the environment variable `NOPE`",
    );
    refused(&with(PROVIDER, "headers = { x = \"${NOPE}\" }"), "providers.openai.headers.x: the environment variable");
}

#[test]
fn messages_hide_environment_values() {
    let env = |_: &str| Some("sk-very-secret".to_owned());
    let text = instead("provider = \"openai\"", "provider = \"${KEY}\"")
        .replace("name = \"gpt-4o\"", "name = \"gpt-4o\"\nstrategy = \"${KEY}\"")
        .replace("tags = [\"admin\"]", "tags = [\"admin\"]\nallowed_models = [\"${KEY}\"]");
    let errors = parse(&text, &env).unwrap_err();
    let all = format!("{errors:?}{errors}");
    assert!(!all.contains("sk-very-secret"), "{all}");
    assert!(all.contains("unknown provider `${KEY}`"), "{all}");
}

#[test]
fn debug_shows_no_secret() {
    let text = with(PROVIDER, "headers = { x-secret = \"header-secret\" }");
    let text = format!("{text}[users.h]\ntoken_sha256 = \"{}\"\n", "ab".repeat(32));
    let loaded = good(&text);
    let debug = format!("{loaded:?}{loaded:#?}");
    for secret in ["a-token-of-24-characters", "sk-1234567890", "header-secret", "171, 171"] {
        assert!(!debug.contains(secret), "{secret} in {debug}");
    }
    assert!(debug.contains("x-secret"));
}

#[test]
fn syntax_errors_name_the_table_without_quoting() {
    let text = instead("api_key = \"sk-1234567890\"", "api_key = sk-1234567890");
    let errors = load(&text).unwrap_err();
    assert_eq!(errors.findings[0].path, "providers.openai");
    assert_eq!(errors.findings[0].line, Some(10));
    assert!(!errors.to_string().contains("sk-"), "{errors}");
    let twice = load(&with(USER, "tags = []")).unwrap_err().to_string();
    assert!(twice.contains("users.admin: not valid TOML: duplicate key"), "{twice}");
}

#[test]
fn checks_file_mode_and_encoding() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let missing = load_file(&path).unwrap_err().to_string();
    assert!(missing.contains("config.toml: (file): cannot be read"), "{missing}");
    std::fs::write(&path, b"[settings]\n# \xff\n").unwrap();
    let garbled = load_file(&path).unwrap_err();
    assert_eq!(garbled.findings[0].line, Some(2));
    std::fs::write(&path, SMALL).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        mode(0o640);
        let open = load_file(&path).unwrap();
        assert!(open.warnings[0].message.contains("mode 640"), "{:?}", open.warnings);
        mode(0o600);
        assert!(load_file(&path).unwrap().warnings.is_empty());
    }
    assert_eq!(load_file(&path).unwrap().source.unwrap(), path);
}
