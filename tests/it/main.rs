//! All integration tests in one binary, so that the engine is linked once.

#![allow(clippy::unwrap_used, clippy::panic)]

mod action;
mod architecture;
mod batch_file;
mod client;
mod config;
mod conformance;
mod damaged_models;
mod disturbed;
mod headless;
mod inspection;
mod invariance;
mod live_changes;
mod llama_cpp;
mod llama_server;
mod logits;
mod mlx;
mod mocks;
#[cfg(target_os = "linux")]
mod nvidia;
mod offline;
mod probe;
mod prompts;
mod pty;
mod report;
mod secrets;
mod servers;
mod store;
mod stream_faults;
mod tiny_models;
mod tiny_tokenizer;
mod tokenizer;
mod tui;
mod turns;
mod wire;
