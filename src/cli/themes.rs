//! `themes`: what the workbench can look like.

use std::io::Write;

use crate::config::{Paths, preset};
use crate::prompts::printable;

/// Prints the name of every theme: those shipped with the program, and the user's own, which
/// take the place of shipped ones of the same name.
///
/// # Errors
/// The user's folder of themes cannot be read, or the output cannot be written.
pub fn list<'a>(
    shipped: impl IntoIterator<Item = &'a str>,
    paths: &Paths,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let user = preset::user_files(&paths.themes())?;
    let is_own = |name: &&str| user.iter().any(|(own, _)| own == name);
    let mut names: Vec<_> = shipped.into_iter().filter(|name| !is_own(name)).collect();
    names.sort();
    for name in names {
        writeln!(out, "{name}")?;
    }
    for (name, path) in user {
        writeln!(out, "{}  {}", printable(&name), printable(&path.display().to_string()))?;
    }
    writeln!(out, "\nyour own go into {}", printable(&paths.themes().display().to_string()))?;
    Ok(())
}
