//! The report of a run (schema `batchgen-report/1`), its exporters, and comparing two of them.
//!
//! JSON is the source; CSV, Markdown and HTML are views of it. Exporters are pure functions from a
//! [`Report`] to bytes; [`Export`] puts those bytes on the disk. Unknown is absent, never 0.
//! No secret enters a report: addresses lose user names, passwords and queries on the way in.
//!
//! This module knows results, not providers or screens. `docs/report.schema.json` describes
//! the format.

mod audit;
mod build;
mod compare;
mod csv;
mod export;
mod figures;
mod format;
pub mod gate;
mod html;
mod lane;
mod markdown;
mod method;
mod over_time;
mod read;
mod redact;
mod run;
mod serving;
mod slo;
mod spread;
mod sweep;

use serde::{Deserialize, Serialize};

pub use audit::{Doubt, DoubtKind, Weight};
pub use compare::{Comparison, Form, compare};
pub use export::{Export, write_atomically};
pub use figures::{Energy, Figures, PeakBytes};
pub use format::Format;
pub use lane::{BatchJob, BatchSizeChange, Detail, Lane, LaneFailure, LaneStatus, Repeat, Row};
pub use over_time::OverTime;
pub use read::{MOST_REPORT_BYTES, read};
pub use run::{Run, RunFacts};
pub use serving::{ClientLag, ServerFigures, remarks};
pub use slo::{BatchSizes, Kept, Slo};
pub use spread::Spreads;
pub use sweep::knee_words;

pub use crate::probe::{Gpu, Host};

use crate::bench::verify::Verdict;

/// The name and version of the format.
pub const SCHEMA: &str = "batchgen-report/1";

/// The report of a run. Fields of later versions are ignored when one is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was run, when and where.
    pub run: Run,
    /// What became of it, in a word and with reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What may have disturbed the figures, the grave first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<Doubt>,
    /// What its batch sizes show; absent below three of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_sizes: Option<BatchSizes>,
    /// In the order of the plan.
    pub lanes: Vec<Lane>,
}
