//! `berry-cli validate-config` and `generate-config`.

use std::{fs, path::Path};

use crate::support::{CommandOutput, program};

fn cli(folder: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = program(env!("CARGO_BIN_EXE_berry-cli"), folder);
    command.args(arguments);
    CommandOutput::run(command)
}

/// Returns the environment variables that a file uses outside its comments.
fn variables(text: &str) -> Vec<String> {
    let settings = text.lines().map(|line| line.split('#').next().unwrap());
    let names = settings.flat_map(|line| line.split("${").skip(1)).map(|rest| rest.split('}').next().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn generated_files_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in [("basic.toml", None), ("advanced.toml", Some("--advanced"))] {
        let mut arguments = vec!["generate-config", "-o", name];
        arguments.extend(more);
        let output = cli(folder.path(), &arguments);
        assert_eq!(output.code, Some(0), "{output:?}");
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.starts_with('#'), "the file begins with a comment");

        // Only the variables are missing, and both commands list them.
        let unset = cli(folder.path(), &["validate-config", "-c", name]);
        assert_eq!(unset.code, Some(1), "{unset:?}");
        let names = variables(&text);
        assert!(!names.is_empty());
        assert_eq!(unset.err.lines().count(), names.len(), "{unset:?}");

        let mut check = program(env!("CARGO_BIN_EXE_berry-server"), folder.path());
        check.args(["--check-config", "--config", name]);
        for variable in &names {
            assert!(unset.err.contains(variable) && output.out.contains(variable), "{variable}");
            let digest = variable.ends_with("SHA256");
            check.env(
                variable,
                if digest { "0123456789abcdef".repeat(4) } else { format!("{variable}-0123456789abcdef") },
            );
        }
        let checked = CommandOutput::run(check);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        // The sources of keys that the example names are not on this machine.
        let mut warnings = checked.err.lines().filter(|line| {
            !line.contains("providers.house.api_key_file: cannot be read")
                && !line.contains("providers.vertex.api_key_command: no program `gcloud` is found")
        });
        assert_eq!(warnings.next(), None, "{checked:?}");
        assert_eq!(checked.err.contains("providers.house.api_key_file"), more.is_some(), "{checked:?}");
    }
}

#[test]
fn never_replaces_a_file_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, "mine").unwrap();
    let output = cli(folder.path(), &["generate-config", "-o", "config.toml"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("--force"), "{output:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let report = cli(folder.path(), &["--json", "generate-config", "-o", "config.toml"]);
    assert!(report.json()["error"]["message"].is_string());

    let output = cli(folder.path(), &["generate-config", "-o", "config.toml", "--force", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.json()["written"], "config.toml");
    assert!(fs::read_to_string(&path).unwrap().contains("[providers.openai]"));

    let nowhere = cli(folder.path(), &["generate-config", "-o", "missing/config.toml"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
}

#[cfg(unix)]
#[test]
fn new_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(cli(folder.path(), &["generate-config", "-o", "new.toml"]).code, Some(0));
    let mode = fs::metadata(folder.path().join("new.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

const FILE: &str = r#"
[users.one]
token = "token-of-one-0123456789"
tags = ["admin"]
[users.two]
token = "token-of-two-0123456789"
[providers.openai]
base_url = "https://api.openai.com/v1"
api_key = "sk-a-key-of-some-length"
models = ["gpt-4o"]
[models.chat]
name = "chat"
[[models.chat.backends]]
provider = "openai"
model = "gpt-4o"
"#;

#[test]
fn valid_file_is_reported_with_counts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), FILE).unwrap();
    let output = cli(folder.path(), &["validate-config"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let counts = "  - 1 providers configured\n  - 1 models configured\n  - 2 users configured\n";
    assert_eq!(output.out, format!("✅ Configuration is valid\n{counts}"));
    assert!(output.err.contains("warning: (file): others may read it"), "{output:?}");

    let report = cli(folder.path(), &["validate-config", "--json"]).json();
    assert_eq!(
        (&report["valid"], &report["users"], &report["errors"]),
        (&true.into(), &2.into(), &serde_json::json!([]))
    );
    assert_eq!(report["warnings"][0]["path"], "(file)");
}

#[test]
fn prints_every_error_without_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        FILE.replace("provider = \"openai\"", "provider = \"opnai\"").replace("[users.two]", "[users.two]\nnam = 1");
    fs::write(folder.path().join("bad.toml"), text).unwrap();
    let output = cli(folder.path(), &["-c", "bad.toml", "validate-config"]);
    assert_eq!((output.code, &*output.out), (Some(1), ""), "{output:?}");
    assert!(output.err.contains("did you mean `openai`?") && output.err.contains("users.two.nam"), "{output:?}");
    assert!(!output.err.contains("sk-a-key") && !output.err.contains("token-of"), "{output:?}");
    // Warnings come with the errors, so that all is put right in one go.
    assert!(output.err.contains("\nwarning: (file): others may read it"), "{output:?}");

    let output = cli(folder.path(), &["-c", "bad.toml", "validate-config", "--json"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let report = output.json();
    assert_eq!(report["valid"], false);
    let paths: Vec<_> = report["errors"].as_array().unwrap().iter().map(|error| &error["path"]).collect();
    assert_eq!(paths, ["users.two.nam", "models.chat.backends[0].provider"]);
}

#[test]
fn missing_file_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["validate-config"][..], &["validate-config", "-c", "gone.toml"], &["health-check"]] {
        let output = cli(folder.path(), arguments);
        assert_eq!(output.code, Some(2), "{output:?}");
    }
    let report = cli(folder.path(), &["validate-config", "--json"]);
    assert_eq!(report.code, Some(2));
    assert!(report.json()["error"]["message"].as_str().unwrap().contains("CONFIG_PATH"));
}
