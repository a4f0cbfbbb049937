//! The commands that validate and generate configuration files.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use serde_json::json;

use super::{
    global::{Global, variable},
    output::{Fail, Output},
};
use crate::config::{self, BASIC_EXAMPLE, Errors, FULL_EXAMPLE, Loaded, NotFound};

impl From<NotFound> for Fail {
    fn from(error: NotFound) -> Self {
        Self { code: 2, ..Self::new(error.to_string()) }
    }
}

impl From<Errors> for Fail {
    fn from(errors: Errors) -> Self {
        let source = errors.source.as_ref().map(|path| path.display().to_string());
        let (findings, warnings) = (&errors.findings, &errors.warnings);
        let json = json!({ "valid": false, "source": source, "errors": findings, "warnings": warnings });
        Self { json: Some(json), ..Self::new(errors.report()) }
    }
}

/// Loads the configuration of the command.
pub(super) fn load(global: &Global) -> Result<Loaded, Fail> {
    let path = config::find(global.config.as_deref(), variable, Path::new("."))?;
    Ok(config::load(&path)?)
}

/// `validate-config`
pub(super) fn validate(global: &Global, out: &Output) -> Result<ExitCode, Fail> {
    let Loaded { config, warnings, source, .. } = load(global)?;
    for warning in &warnings {
        out.warn(format_args!("warning: {warning}"));
    }
    let (providers, models, users) = (config.providers.len(), config.models.len(), config.users.len());
    out.value(&json!({
        "valid": true,
        "source": source.map(|path| path.display().to_string()),
        "providers": providers,
        "models": models,
        "users": users,
        "errors": [],
        "warnings": warnings,
    }));
    let code = out.verdict(true, "Configuration is valid");
    out.line(format_args!("  - {providers} providers configured"));
    out.line(format_args!("  - {models} models configured"));
    out.line(format_args!("  - {users} users configured"));
    Ok(code)
}

/// `generate-config`
pub(super) fn generate(path: &Path, advanced: bool, force: bool, out: &Output) -> Result<ExitCode, Fail> {
    let text = if advanced { FULL_EXAMPLE } else { BASIC_EXAMPLE };
    write(path, text, force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Fail::new(format!("{} already exists; use --force to replace it", path.display()))
        }
        _ => Fail::new(format!("{} cannot be written: {error}", path.display())),
    })?;
    let needed = variables(text);
    out.value(&json!({ "written": path.display().to_string(), "variables": needed }));
    let code = out.verdict(true, format_args!("{} is written", path.display()));
    out.line("It reads these variables of the environment; set them, or write values instead:");
    for name in needed {
        out.line(format_args!("  {name}"));
    }
    Ok(code)
}

/// Writes a file that only its owner can read, because keys may be put into it.
fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Returns the variables that a configuration uses, in order, without those in comments.
fn variables(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let settings = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    for name in settings.flat_map(|line| line.split("${").skip(1)).filter_map(|rest| rest.split('}').next()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
