//! Finds, reads and checks the configuration file, and reports all of its errors at once.
//!
//! [`find`] finds the file, [`load`] reads it, and [`parse`] checks a text. [`parse`] takes the environment as a
//! function, so that it has no side effects. The result is a [`Config`] whose values are valid and whose references
//! exist, or [`Errors`] with every problem.
//!
//! ```
//! use berry_server::config::parse;
//!
//! let text = r#"
//!     [users.me]
//!     token = "${TOKEN}"
//!     tags = ["admin"]
//!
//!     [providers.local]
//!     base_url = "http://127.0.0.1:8080"
//!     api_key = ""
//!     models = ["llama"]
//!
//!     [models.llama]
//!     name = "llama"
//!     [[models.llama.backends]]
//!     provider = "locl"
//!     model = "llama"
//! "#;
//! let env = |name: &str| (name == "TOKEN").then(|| "a-token-of-some-length-12".to_owned());
//! let errors = parse(text, &env).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "line 14: models.llama.backends[0].provider: unknown provider `locl`; did you mean `local`?"
//! );
//!
//! let loaded = parse(&text.replace("locl", "local"), &env).unwrap();
//! assert_eq!(loaded.config.models["llama"].backends[0].weight, 1.0);
//! assert!(loaded.warnings.is_empty());
//! ```

pub(crate) mod accounts;
pub mod build;
mod check;
mod check_limits;
mod database;
mod env;
mod file;
mod file_version;
mod finding;
mod headers;
mod key_source;
mod limits;
mod lines;
mod models;
mod nested;
mod options;
pub mod presets;
mod prices;
mod providers;
mod reader;
mod responses;
mod settings;
mod source;
mod store;
pub(crate) mod suggest;
mod teams;
mod telemetry;
#[cfg(test)]
mod tests;
mod users;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

#[cfg(feature = "database")]
pub(crate) use check_limits::missing_price;
pub use database::{Database, DatabaseUrl};
pub use env::{NotFound, PLACES, find};
pub use file::{Backend, Config, Credential, Model, Provider, ProviderRoute, RateLimit, Responses, User};
pub(crate) use file_version::FileVersion;
pub use finding::{Errors, Finding};
pub use key_source::{KeyOrigin, KeySource};
pub use limits::Limits;
#[cfg(feature = "database")]
pub(crate) use limits::MAX_COUNT;
pub use options::{BackendType, EstimateBy, ResponseStore, StoreMode, StoreOnError, Strategy};
pub use settings::{ConfidenceAdjustments, RetryBudget, Settings, SmartAi};
pub use store::Store;
pub use teams::Team;
pub use telemetry::Telemetry;

use reader::{Reader, Table};

/// An example with every key and every strategy, with comments.
pub const FULL_EXAMPLE: &str = include_str!("../../example-config/config-example.toml");

/// A short example for the strategy `smart_ai`, with comments.
pub const SMART_AI_EXAMPLE: &str = include_str!("../../example-config/smart_ai_example.toml");

/// The smallest useful configuration, with comments.
pub const BASIC_EXAMPLE: &str = include_str!("../../example-config/minimal.toml");

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings about values that are allowed but probably not intended, in the order of the file.
    pub warnings: Vec<Finding>,
    /// The file that the configuration came from, if any.
    pub source: Option<PathBuf>,
    /// The version of the file, taken before it was read, so that a later change is noticed.
    pub(crate) file_version: Option<FileVersion>,
}

/// Reads and checks a file, with `${NAME}` from the environment of the process. The file must be a
/// regular file of at most 16 MiB that can be read within ten seconds.
///
/// # Errors
/// Returns every error of the file, or that it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Errors> {
    let whole = |line, message| Errors::whole_file(path, line, message);
    let file_version = FileVersion::of(path);
    let bytes =
        source::read(path, source::MAX_CONFIG).map_err(|error| whole(None, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        whole(Some(line), "is not UTF-8; save it in that encoding".to_owned())
    })?;
    let env = |name: &str| std::env::var(name).ok();
    match parse(&text, &env) {
        Ok(mut loaded) => {
            loaded.warnings.splice(0..0, readable_by_others(path));
            loaded.warnings.extend(missing_keys(&text, &loaded.config));
            loaded.source = Some(path.to_owned());
            loaded.file_version = file_version;
            Ok(loaded)
        }
        Err(mut errors) => {
            errors.warnings.splice(0..0, readable_by_others(path));
            errors.source = Some(path.to_owned());
            Err(errors)
        }
    }
}

/// Checks the text of a configuration. `env` returns the values of environment variables.
///
/// # Errors
/// Returns every error of the text. If the text is not valid TOML, only the syntax errors are reported.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        return Err(syntax_errors(text, &syntax));
    }
    let reader = Reader::new(text, root.get_ref(), env);
    let config = read(&reader, root.get_ref());
    let mut log = reader.log.into_inner();
    log.sort();
    if log.errors.is_empty() {
        // The library may reject a value that the checks accept, so the build is tried here.
        if let Err(message) = build::build(&config, &HashMap::new(), &build::ProviderKeys::default()) {
            return Err(Errors::unbuildable(&message, log.warnings));
        }
        return Ok(Loaded { config, warnings: log.warnings, source: None, file_version: None });
    }
    Err(Errors { source: None, findings: log.errors, warnings: log.warnings })
}

fn read<'r>(reader: &'r Reader<'r>, root: &'r DeTable<'r>) -> Config {
    let mut root = Table::root(reader, root);
    let settings = settings::read(root.table("settings", "settings"));
    let telemetry = telemetry::read(root.table("telemetry", "telemetry"));
    let users = root.tables_by_id("users", "users.*");
    let providers = root.tables_by_id("providers", "providers.*");
    let models = root.tables_by_id("models", "models.*");
    let responses = responses::read(root.table("responses", "responses"));
    let database = database::read(root.table("database", "database"));
    let store = store::read(root.table("store", "store"));
    let teams = root.tables_by_id("teams", "teams.*");
    let prices = root.tables_by_id("prices", "prices.*");
    root.finish();
    let own = |id: &str| id.to_owned();
    let config = Config {
        users: users.into_iter().map(|(id, t)| (own(id), users::read(id, t))).collect(),
        providers: providers.into_iter().map(|(id, t)| (own(id), providers::read(id, t, &settings))).collect(),
        models: models.into_iter().map(|(id, t)| (own(id), models::read(id, t))).collect(),
        teams: teams.into_iter().map(|(id, t)| (own(id), teams::read(id, t))).collect(),
        prices: prices.into_iter().filter_map(|(name, t)| Some((own(name), prices::read(t)?))).collect(),
        store,
        database,
        telemetry,
        settings,
        responses,
    };
    responses::check(&config, reader);
    check::check(&config, reader);
    check_limits::check(&config, reader);
    config
}

/// Converts the errors of the TOML parser. The path of each is the last table header before it.
fn syntax_errors(text: &str, errors: &[toml::de::Error]) -> Errors {
    let findings = errors.iter().map(|error| {
        let line = error.span().map(|span| lines::at_offset(text, span.start));
        let before = text.lines().take(line.unwrap_or(0));
        let header = before.filter_map(|line| {
            let inner = line.trim_start().strip_prefix('[')?.trim_start_matches('[');
            let path = inner.split(']').next()?.trim();
            // Another line that begins with a bracket may be a list of secrets.
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            (!path.is_empty() && path.chars().all(plain)).then(|| path.to_owned())
        });
        Finding {
            path: header.last().unwrap_or_else(|| finding::WHOLE_FILE.to_owned()),
            line,
            // The full text of the error quotes the line, which may contain a key.
            message: format!("not valid TOML: {}", error.message()),
        }
    });
    Errors { source: None, findings: findings.collect(), warnings: Vec::new() }
}

/// Warns about providers that will have no key. The file is valid all the same: the key may come later, or on another
/// machine.
fn missing_keys(text: &str, config: &Config) -> Vec<Finding> {
    let lines = lines::of_paths(text, DeTable::parse_recoverable(text).0.get_ref());
    let findings = config.providers.iter().filter(|(_, provider)| provider.enabled).filter_map(|(id, provider)| {
        let (key, message) = provider.key_source.as_ref()?.missing()?;
        let path = lines::join(&lines::join("providers", id), key);
        Some(Finding { line: lines.get(&path).copied(), path, message })
    });
    findings.collect()
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> Option<Finding> {
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o077 != 0).then(|| Finding {
        path: finding::WHOLE_FILE.to_owned(),
        line: None,
        message: format!("others may read it (mode {mode:o}); `chmod 600` keeps its keys private"),
    })
}

#[cfg(not(unix))]
fn readable_by_others(_: &Path) -> Option<Finding> {
    None
}
