//! All integration tests in one binary, so that the engine is linked once.

#![allow(clippy::unwrap_used, clippy::panic)]

mod architecture;
mod report;
mod config;
mod prompts;
mod probe;
mod servers;
mod store;
mod tokenizer;
