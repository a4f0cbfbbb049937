//! The command that lists known providers.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::{Cell, Output};
use crate::config::presets::{PRESETS, Preset, lines};

/// `presets`
pub(super) fn list(out: &Output) -> ExitCode {
    out.value(&PRESETS.iter().map(as_json).collect::<Value>());
    let rows: Vec<Vec<Cell>> = PRESETS.iter().map(row).collect();
    out.table(&["preset", "type", "base_url", "options", "source"], &rows);
    ExitCode::SUCCESS
}

fn row(preset: &Preset) -> Vec<Cell> {
    let base_url = if preset.base_url.is_empty() { "(yours)" } else { preset.base_url };
    vec![
        Cell::new(preset.name),
        Cell::new(preset.backend_type),
        Cell::new(base_url),
        Cell::new(lines(&preset.options).join(", ")),
        Cell::new(preset.source),
    ]
}

fn as_json(preset: &Preset) -> Value {
    let mut value = json!(preset);
    value["options"] = json!(lines(&preset.options));
    value
}
