//! `models list|fetch|path`: what is in the model store.
//!
//! What is asked for goes to `out`; how a fetch goes is told through its `progress`, which
//! [`Meter`] draws.

mod meter;

use std::io::Write;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::config::paths::Paths;
use crate::engine::store::{Catalogue, OnProgress, Status, Store, path_of};
use crate::units;

pub use meter::Meter;

/// The model store of this user.
///
/// # Errors
/// What is wrong with the user's `models.toml`, with the line and the key.
pub fn store(paths: &Paths) -> anyhow::Result<Store> {
    let catalogue = Catalogue::with_user_file(&paths.config.join("models.toml"))?;
    Ok(Store::new(paths.models(), catalogue))
}

/// Writes a line a model: the catalogue, then what else was fetched.
///
/// # Errors
/// A catalogue that cannot be read, or `out` failing.
pub fn list(paths: &Paths, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = store(paths)?;
    let of_catalogue = store.catalogue().entries().iter().map(|entry| {
        let (state, bytes) = state_of(&store.status(&entry.name));
        [entry.name.clone(), state, bytes, entry.about.clone()]
    });
    let others = store.kept().into_iter().map(|kept| {
        let about = "from the Hugging Face Hub".to_owned();
        [kept.name, "here".to_owned(), units::bytes(kept.bytes), about]
    });
    let head = ["name", "state", "size", "what it is"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(of_catalogue).chain(others).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [name, state, size, about] in &rows {
        let [first, second, third] = widths;
        writeln!(out, "{name:<first$}  {state:<second$}  {size:>third$}  {about}")?;
    }
    writeln!(out, "\nmodels lie in {}", store.folder().display())?;
    Ok(())
}

/// Brings a model here, or checks the files that are here, and writes where it lies.
///
/// # Errors
/// What was tried, why it failed, and what to do; see [`Store::fetch`].
pub async fn fetch(
    paths: &Paths,
    name: &str,
    progress: OnProgress<'_>,
    cancel: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let model = store(paths)?.fetch(name, progress, cancel).await?;
    writeln!(out, "{}", path_of(&model).display())?;
    Ok(())
}

/// Writes where a model lies on this machine; the network is not asked.
///
/// # Errors
/// A name that means nothing, or a model that is not here.
pub fn path(paths: &Paths, name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let model = store(paths)?.find(name)?.with_context(|| {
        format!("{name} is not on this machine: fetch it with `batchgen-tui models fetch {name}`")
    })?;
    writeln!(out, "{}", path_of(&model).display())?;
    Ok(())
}

fn state_of(status: &Status) -> (String, String) {
    match status {
        Status::Ready { bytes, .. } => ("here".to_owned(), units::known(*bytes, units::bytes)),
        Status::Fetchable { bytes, .. } => {
            let size = units::estimated(bytes.is_some(), units::known(*bytes, units::bytes));
            ("to fetch".to_owned(), size)
        }
        Status::Unknown { .. } => ("unusable".to_owned(), units::UNKNOWN.to_owned()),
    }
}
