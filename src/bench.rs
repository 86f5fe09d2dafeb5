//! Runs a plan and keeps what happened: the runner, the recorder, statistics, verification,
//! the journal.
//!
//! It knows the provider trait and its events, not the implementations, and no screen.

pub mod event;
pub mod history;
pub mod imported;
pub mod journal;
pub mod lag;
pub mod recorder;
pub mod replay;
pub mod run;
pub mod statistics;
pub mod sweep;
pub mod turns;
pub mod verify;

pub use run::{Controls, Job, RunHandle, start};
