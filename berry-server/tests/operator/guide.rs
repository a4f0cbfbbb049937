//! The guide and the README are correct: their commands run, and their tables match the program.

use std::{collections::BTreeSet, fs};

use berry_server::{Options, Server, config};
use berry_simulated::{Config, Provider};
use berry_tower::backend::strategy::NAMES;
use serde_json::Value;

use crate::support::{CommandOutput, program, run};

/// The documents, by name.
const DOCUMENTS: [(&str, &str); 15] = [
    ("README", include_str!("../../README.md")),
    ("guide", include_str!("../../docs/README.md")),
    ("configuration", include_str!("../../docs/configuration.md")),
    ("api", include_str!("../../docs/api.md")),
    ("strategies", include_str!("../../docs/strategies.md")),
    ("failover", include_str!("../../docs/failover.md")),
    ("protocols", include_str!("../../docs/protocols.md")),
    ("responses", include_str!("../../docs/responses.md")),
    ("keys", include_str!("../../docs/keys.md")),
    ("spend", include_str!("../../docs/spend.md")),
    ("providers", include_str!("../../docs/providers.md")),
    ("agents", include_str!("../../docs/agents.md")),
    ("operations", include_str!("../../docs/operations.md")),
    ("fleet", include_str!("../../docs/fleet.md")),
    ("migration", include_str!("../../docs/migration.md")),
];

fn document(name: &str) -> &'static str {
    DOCUMENTS.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Returns the code blocks of a language in a document.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Returns the cells of all table rows whose first cell is code.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

fn code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap()
}

/// The tables that complete a fragment of a configuration.
const REST: [&str; 4] = [
    "[users.me]\ntoken = \"token-of-me-0123456789abcdef\"\ntags = [\"admin\"]\n",
    "[providers.openai]\nbase_url = \"https://api.openai.com/v1\"\napi_key = \"sk-a-key\"\nmodels = [\"gpt-4o-mini\"]\n",
    "[providers.local]\nbase_url = \"http://127.0.0.1:8080/v1\"\napi_key = \"\"\nmodels = [\"llama-3.1-8b\"]\n",
    "[models.fast]\nname = \"fast\"\n[[models.fast.backends]]\nprovider = \"openai\"\nmodel = \"gpt-4o-mini\"\n",
];

#[test]
fn every_configuration_loads() {
    let mut loaded = 0;
    for (name, text) in DOCUMENTS {
        for block in blocks(text, "toml") {
            let whole = ["[users.", "[providers.", "[models."].iter().all(|table| block.contains(table));
            let missing = REST.iter().filter(|rest| !whole && !block.contains(rest.lines().next().unwrap()));
            let text: String = [block.as_str()].into_iter().chain(missing.copied()).collect::<Vec<_>>().join("\n");
            let env = |name: &str| Some(format!("{name}-0123456789abcdef"));
            if let Err(errors) = config::parse(&text, &env) {
                panic!("{name}: {errors}\n{text}");
            }
            loaded += 1;
        }
    }
    assert!(loaded >= 9, "{loaded}");
}

#[test]
fn every_json_block_parses() {
    for (name, text) in DOCUMENTS {
        for block in blocks(text, "json") {
            serde_json::from_str::<Value>(&block).unwrap_or_else(|error| panic!("{name}: {error}\n{block}"));
        }
    }
}

/// Starts a server with the README's configuration over simulated providers.
async fn site() -> (Server, Vec<Provider>, tempfile::TempDir) {
    let named = |name: &str, model: &str| Config { models: vec![model.to_owned()], ..Config::named(name) };
    let openai = Provider::start(named("openai", "gpt-4o-mini")).await.unwrap();
    let local = Provider::start(named("local", "llama-3.1-8b")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let block =
        blocks(document("README"), "toml").into_iter().find(|block| block.contains("[providers.local]")).unwrap();
    let block = block
        .replace("https://api.openai.com/v1", &openai.base_url())
        .replace("http://127.0.0.1:8080/v1", &local.base_url())
        .replace("${OPENAI_API_KEY}", openai.key())
        .replace("${BERRY_TOKEN}", "token-of-me-0123456789abcdef")
        .replacen("api_key = \"\" ", &format!("api_key = \"{}\" ", local.key()), 1);
    let database = folder.path().join("berry.db");
    let text = format!(
        "{block}\n[users.app]\ntoken = \"token-of-app-0123456789abcdef\"\n[database]\nurl = \"sqlite://{}\"\n\
         [prices.fast]\ninput = \"0.15\"\noutput = \"0.60\"\n",
        database.display()
    );
    let path = folder.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let server = Server::start(config::load(&path).unwrap(), Options::loopback()).await.unwrap();
    (server, vec![openai, local], folder)
}

/// Makes curl fail on error responses and ignore the proxy of the machine.
const CURL: &str =
    "curl() { command curl --silent --show-error --fail-with-body --max-time 30 --noproxy '*' \"$@\"; }\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_guide_works() {
    let (server, _providers, folder) = site().await;
    let address = server.addr().to_string();
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_berry-cli")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut run_blocks = 0;
    for (name, text) in DOCUMENTS.into_iter().filter(|(name, _)| *name != "README") {
        for block in blocks(text, "sh") {
            let script = format!("{CURL}{}", block.replace("127.0.0.1:3000", &address));
            let mut shell = program("sh", folder.path());
            shell.args(["-euc", &script]).env("PATH", &path).env("BIND_ADDRESS", &address);
            shell.env("BERRY_TOKEN", "token-of-me-0123456789abcdef");
            let output = run(shell).await;
            assert_eq!(output.code, Some(0), "{name}: {block}{output:?}");
            assert!(!output.out.is_empty() || block.contains('>'), "{name}: {block}{output:?}");
            run_blocks += 1;
        }
    }
    assert!(run_blocks > 10, "{run_blocks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guide_lists_every_endpoint_of_the_openapi_document() {
    let (server, _providers, folder) = site().await;
    let mut curl = program("curl", folder.path());
    curl.args(["--silent", "--noproxy", "*", "--max-time", "30", &format!("http://{}/openapi.json", server.addr())]);
    let openapi: Value = serde_json::from_str(&run(curl).await.out).unwrap();
    let paths = openapi["paths"].as_object().unwrap();
    let served = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    let documented = rows(document("api")).into_iter().filter(|row| row.len() == 4 && row[0].starts_with("`/"));
    let documented = documented.map(|row| format!("{} {}", row[1], code(row[0])));
    assert_eq!(documented.collect::<BTreeSet<_>>(), served.collect::<BTreeSet<_>>());
}

#[test]
fn every_strategy_is_documented() {
    for name in ["README", "strategies"] {
        let documented: BTreeSet<&str> = rows(document(name)).iter().map(|row| code(row[0])).collect();
        for strategy in NAMES {
            assert!(documented.contains(strategy), "{strategy} in {name}");
        }
    }
}

#[test]
fn every_command_and_flag_is_documented() {
    let folder = tempfile::tempdir().unwrap();
    let help = |path: &str, arguments: &[&str]| {
        let mut command = program(path, folder.path());
        command.args(arguments).arg("--help");
        let output = CommandOutput::run(command);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.out
    };
    let operations = document("operations");
    let documented: BTreeSet<&str> = rows(operations).iter().map(|row| code(row[0])).collect();
    let shown = help(env!("CARGO_BIN_EXE_berry-cli"), &[]);
    let commands = shown.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let commands: Vec<&str> = commands.into_iter().filter(|name| !name.is_empty() && *name != "help").collect();
    assert_eq!(commands.len(), 13, "{commands:?}");
    for command in commands {
        assert!(documented.contains(command), "{command}");
        for flag in long_flags(&help(env!("CARGO_BIN_EXE_berry-cli"), &[command])) {
            let long = operations.contains(&format!("`--{flag}"));
            let short = operations.contains(&format!("`-{} ", &flag[..1]))
                || operations.contains(&format!(" -{} ", &flag[..1]));
            assert!(long || short, "{command} --{flag}");
        }
    }
    for flag in long_flags(&help(env!("CARGO_BIN_EXE_berry-server"), &[])) {
        assert!(documented.iter().any(|row| row.starts_with(&format!("--{flag}"))), "berry-server --{flag}");
    }
}

fn long_flags(help: &str) -> Vec<String> {
    let flags = help
        .lines()
        .filter_map(|line| line.trim_start().split("--").nth(1).filter(|_| line.trim_start().starts_with('-')));
    let flags = flags.map(|rest| rest.split([' ', ',']).next().unwrap().to_owned());
    flags.filter(|flag| flag != "help" && flag != "version").collect()
}

#[test]
fn every_link_resolves() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_workspace = root.join("../Cargo.lock").exists() && root.join("../tests").exists();
    for (name, text) in DOCUMENTS {
        let base = if name == "README" { root.join("..") } else { root.join("docs") };
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            // A package contains neither the workspace nor the files that the workspace's README links to.
            let leaves_package = name == "README" || file.starts_with("../../");
            if link.starts_with("http") || (leaves_package && !is_workspace) {
                continue;
            }
            let target = if file.is_empty() {
                text.to_owned()
            } else {
                let path = base.join(file);
                assert!(path.exists(), "{name}: {link}");
                fs::read_to_string(&path).unwrap_or_default()
            };
            let anchors: Vec<String> = target.lines().filter(|line| line.starts_with('#')).map(slug).collect();
            assert!(anchor.is_empty() || anchors.iter().any(|known| known == anchor), "{name}: {link}");
        }
    }
}

/// Returns the anchor of a heading, as code hosts derive it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
