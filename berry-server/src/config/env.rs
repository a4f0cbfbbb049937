//! Expands `${NAME}` in string values, and finds the configuration file.

use std::fmt;
use std::path::{Path, PathBuf};

/// The default paths of the configuration file, in order. They apply without `--config` and `CONFIG_PATH`.
pub const PLACES: [&str; 3] = ["config.toml", "config-example.toml", "config/smart_ai_example.toml"];

/// The reason why no configuration file was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotFound {
    /// The path of `--config` or `CONFIG_PATH` does not exist.
    Named {
        /// The option or variable that contains the path.
        by: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// No path was given, and none of the default paths exists.
    Nowhere,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { by, path } => write!(
                f,
                "no configuration file at `{}`, which {by} names: correct the path or create the file",
                path.display()
            ),
            Self::Nowhere => {
                writeln!(f, "no configuration file found; looked at, in this order:")?;
                writeln!(f, "  1. --config PATH      (not given)")?;
                writeln!(f, "  2. CONFIG_PATH        (not set)")?;
                for (number, place) in (3..).zip(PLACES) {
                    writeln!(f, "  {number}. ./{place}")?;
                }
                write!(f, "create one of them, or start with --demo to try the gateway without any file")
            }
        }
    }
}

impl std::error::Error for NotFound {}

/// Finds the configuration file: `--config` (`given`), then `CONFIG_PATH`, then [`PLACES`].
///
/// Relative paths are relative to `dir`; the server passes `.`.
///
/// # Errors
/// Returns [`NotFound`] when the given path or every default path does not exist.
pub fn find(given: Option<&Path>, env: impl Fn(&str) -> Option<String>, dir: &Path) -> Result<PathBuf, NotFound> {
    let variable = env("CONFIG_PATH").filter(|path| !path.is_empty());
    let named = match (given, variable) {
        (Some(path), _) => Some(("--config", path.to_owned())),
        (None, Some(path)) => Some(("CONFIG_PATH", PathBuf::from(path))),
        (None, None) => None,
    };
    match named {
        // The loader checks that the path is a regular file, and reports the remedy.
        Some((_, path)) if dir.join(&path).exists() => Ok(dir.join(path)),
        Some((by, path)) => Err(NotFound::Named { by, path }),
        None => PLACES.iter().map(|place| dir.join(place)).find(|path| path.is_file()).ok_or(NotFound::Nowhere),
    }
}

/// An invalid `${…}` reference.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadReference {
    Unset(String),
    BadName(String),
    Unclosed,
    /// A file that cannot be read, and the reason.
    File(String, String),
}

impl fmt::Display for BadReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset(name) => {
                write!(f, "the environment variable `{name}` is not set; set it, or write `$${{` for a literal `${{`")
            }
            Self::BadName(name) => write!(
                f,
                "`${{{name}}}` is neither a variable's name (letters, digits and `_` only) nor `${{file:/PATH}}`; write `$${{` for a literal `${{`"
            ),
            Self::File(path, why) => write!(f, "the file `{path}` of `${{file:{path}}}` {why}"),
            Self::Unclosed => write!(f, "`${{` has no closing `}}`; write `$${{` for a literal `${{`"),
        }
    }
}

/// Returns the name in a text that is `$NAME` and nothing else, which a shell would replace and [`expand`] does not.
pub(super) fn bare_reference(text: &str) -> Option<&str> {
    let name = text.strip_prefix('$')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    is_name.then_some(name)
}

/// Replaces each `${NAME}` by its value and each `${file:PATH}` by the text of the file. `$${` produces
/// a literal `${`. The inserted values are not expanded again.
pub(super) fn expand(
    text: &str,
    mut variable: impl FnMut(&str) -> Option<String>,
    mut file: impl FnMut(&Path) -> std::io::Result<String>,
) -> Result<String, BadReference> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after.find('}').ok_or(BadReference::Unclosed)?;
        let name = &after[..end];
        rest = &after[end + 1..];
        if let Some(path) = name.strip_prefix("file:") {
            let bad = |why: String| BadReference::File(path.to_owned(), why);
            if !Path::new(path).is_absolute() {
                return Err(bad("must be an absolute path, such as `/run/secrets/openai`".to_owned()));
            }
            let unreadable = |error: std::io::Error| match error.raw_os_error() {
                Some(_) => bad(format!("cannot be read ({error}); create it or correct the path")),
                None => bad(error.to_string()),
            };
            out.push_str(&file(Path::new(path)).map_err(unreadable)?);
            continue;
        }
        let first_is_digit = name.starts_with(|c: char| c.is_ascii_digit());
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || first_is_digit || !name.chars().all(fits) {
            return Err(BadReference::BadName(name.to_owned()));
        }
        out.push_str(&variable(name).ok_or_else(|| BadReference::Unset(name.to_owned()))?);
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("sk-1".to_owned()),
            "NESTED" => Some("${KEY}".to_owned()),
            _ => None,
        }
    }

    fn expand(text: &str, variable: impl FnMut(&str) -> Option<String>) -> Result<String, BadReference> {
        super::expand(text, variable, |path| match path.to_str() {
            Some("/run/secrets/key") => Ok("sk-${KEY}".to_owned()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        })
    }

    #[test]
    fn replaces_file_references_by_their_text() {
        assert_eq!(expand("Bearer ${file:/run/secrets/key}!", lookup).unwrap(), "Bearer sk-${KEY}!");
        let bad = |text: &str| expand(text, lookup).unwrap_err().to_string();
        assert!(bad("${file:/gone}").contains("`/gone`"), "{}", bad("${file:/gone}"));
        assert!(bad("${file:secrets/key}").contains("absolute path"));
    }

    #[test]
    fn expands_references_once() {
        assert_eq!(expand("a${KEY}b${KEY}", lookup).unwrap(), "ask-1bsk-1");
        assert_eq!(expand("${NESTED}", lookup).unwrap(), "${KEY}");
        assert_eq!(expand("$${KEY}", lookup).unwrap(), "${KEY}");
        assert_eq!(expand("$$${KEY}$", lookup).unwrap(), "$${KEY}$");
        assert_eq!(expand("$5 {x}", lookup).unwrap(), "$5 {x}");
    }

    #[test]
    fn reports_invalid_references() {
        let bad = |text: &str| expand(text, lookup).unwrap_err();
        assert_eq!(bad("${NOPE}"), BadReference::Unset("NOPE".to_owned()));
        assert_eq!(bad("x${KEY"), BadReference::Unclosed);
        for name in ["", "a b", "1A", "é"] {
            assert_eq!(bad(&format!("${{{name}}}")), BadReference::BadName(name.to_owned()));
        }
        assert!(bad("${NOPE}").to_string().contains("`NOPE` is not set"));
    }

    proptest! {
        #[test]
        fn any_text_is_expanded_or_rejected(text in "[$a{}K_é]{0,12}") {
            let _ = expand(&text, |_| Some(String::new()));
        }

        #[test]
        fn escaped_text_is_unchanged(text in "[a$é{} ]{0,12}") {
            // A `$` before a `${` would look like the escape, so such texts are skipped.
            prop_assume!(!text.contains("$${"));
            prop_assert_eq!(expand(&text.replace("${", "$${"), lookup).unwrap(), text);
        }
    }

    #[test]
    fn searches_paths_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let none = |_: &str| None;
        assert_eq!(find(None, none, dir.path()), Err(NotFound::Nowhere));
        for place in PLACES.iter().rev() {
            let path = touch(place);
            assert_eq!(find(None, none, dir.path()).unwrap(), path);
        }
        let other = touch("other.toml");
        let set = |name: &str| (name == "CONFIG_PATH").then(|| other.display().to_string());
        assert_eq!(find(None, set, dir.path()).unwrap(), other);
        let given = touch("given.toml");
        assert_eq!(find(Some(&given), set, dir.path()).unwrap(), given);
    }

    #[test]
    fn missing_given_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.toml"), "").unwrap();
        let gone = |name: &str| (name == "CONFIG_PATH").then(|| "gone.toml".to_owned());
        let error = find(None, gone, dir.path()).unwrap_err();
        assert!(error.to_string().contains("`gone.toml`, which CONFIG_PATH names"));
        let error = find(Some(Path::new("x.toml")), gone, dir.path()).unwrap_err();
        assert!(error.to_string().contains("--config"));
    }

    #[test]
    fn not_found_lists_every_option() {
        let text = NotFound::Nowhere.to_string();
        for part in ["--config", "CONFIG_PATH", "--demo"].iter().chain(&PLACES) {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
