//! The workbench on a test backend: every screen, any keys, any size.

mod event_loop;
pub(crate) mod fixture;
mod screens;
pub(crate) mod scripted;
mod update;
