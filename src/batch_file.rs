//! Batch files: the JSON Lines that OpenAI's Batch API, `vllm run-batch` and others read and
//! write, one request or one result a line.
//!
//! This module writes and reads lines. It sends nothing and does not know what a result is
//! compared with.

mod custom_ids;
mod read;
mod request;
mod result;

pub use custom_ids::{custom_ids, custom_ids_of_job};
pub use read::read_results;
pub use request::{Endpoint, LimitField, RequestFile, request_line};
pub use result::{Answer, Problem, ResultLine};
