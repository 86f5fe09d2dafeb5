//! Reports of runs that are told event by event: verification, the schema, the exporters,
//! reading, comparing.

mod audit;
mod compare;
mod export;
mod formats;
mod gate;
mod html;
mod numbers;
pub(crate) mod run;
mod schema;
mod size;
mod sweep;
mod verify;
