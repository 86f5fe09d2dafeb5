//! Commands and flags.

pub mod args;
mod dispatch;
pub mod exit;
mod export_batch;
pub mod gates;
mod import_batch;
mod man;
pub mod models;
pub mod output;
pub mod presets;
pub mod progress;
pub mod providers;
mod report;
pub mod run;
pub mod signals;
pub mod summary;
pub mod themes;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::text::visible;
use exit::Exit;

/// Does what this process's command line asks for, and says how it ended.
pub fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let exit = match dispatch::block_on(cli) {
        Ok(exit) => exit,
        // whoever read our output has seen enough
        Err(failed) if is_broken_pipe(&failed.error) => Exit::Done,
        Err(failed) => {
            let lines: Vec<_> = format!("{:#}", failed.error).lines().map(visible).collect();
            eprintln!("error: {}", lines.join("\n"));
            failed.exit
        }
    };
    exit.into()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let errors = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.into_iter().any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
