//! `presets`: what whole runs there are under a name.

use std::io::Write;

use crate::config::{Paths, preset};
use crate::prompts::printable;

/// Prints every preset: its name, what it does, its lanes. A preset that cannot be read is
/// listed with the reason, so that one bad file does not hide the others.
///
/// # Errors
/// The user's folder of presets cannot be read, or the output cannot be written.
pub fn list(paths: &Paths, out: &mut impl Write) -> anyhow::Result<()> {
    for info in preset::list(paths)? {
        match info.load() {
            Ok(preset) => {
                let lanes = preset.layer.lanes.unwrap_or_default();
                let lanes: Vec<_> = lanes.iter().map(|entry| entry.lane.label.as_str()).collect();
                writeln!(out, "{}", printable(&info.name))?;
                writeln!(out, "  {}", printable(preset.description.as_deref().unwrap_or("–")))?;
                writeln!(out, "  lanes: {}", printable(&or_default(lanes)))?;
            }
            Err(error) => {
                writeln!(out, "{}\n  cannot be used: {error}", printable(&info.name))?;
            }
        }
        if let Some(path) = &info.path {
            writeln!(out, "  file: {}", printable(&path.display().to_string()))?;
        }
    }
    writeln!(out, "\nyour own go into {}", printable(&paths.presets().display().to_string()))?;
    Ok(())
}

fn or_default(lanes: Vec<&str>) -> String {
    if lanes.is_empty() { "the default ones".to_owned() } else { lanes.join(", ") }
}

/// Prints a preset's TOML as it was written.
///
/// # Errors
/// There is no such preset, it cannot be read, or the output cannot be written.
pub fn show(name: &str, paths: &Paths, out: &mut impl Write) -> anyhow::Result<()> {
    let text = preset::find(name, paths)?.text()?;
    for line in text.lines() {
        let shown: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        writeln!(out, "{shown}")?;
    }
    Ok(())
}
