//! The workbench on a test backend: every screen, any keys, any size.

mod event_loop;
pub(crate) mod fixture;
mod history;
mod outputs;
mod own_keys;
mod screens;
pub(crate) mod scripted;
mod sizes;
mod sweep;
mod themes;
mod update;
