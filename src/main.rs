//! The workbench and its commands: parses, calls one function, exits.

use std::process::ExitCode;

use batchgen::cli;

fn main() -> ExitCode {
    cli::main()
}
