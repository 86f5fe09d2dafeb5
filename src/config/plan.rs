//! The plan of a run: prompt list, sampling, lanes, repeats. All that a run needs, and all that
//! a report must say about how it was made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::provider::ProviderSpec;
use crate::sampling::Sampling;

/// All that a run needs, besides the prompts themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The preset's name, or the prompt file's.
    pub name: String,
    /// Where the prompts came from, in the user's words.
    pub prompts: String,
    /// The column of a table, or the field of JSON records, that held the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What made each prompt from its record: a template, or the path of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Text prompts go to the model as they are, without a chat template.
    pub raw: bool,
    /// The provider of every lane that names none.
    pub provider: ProviderSpec,
    /// One set of parameters for the whole list.
    pub sampling: Sampling,
    /// The lanes in the order they run; labels are unique.
    pub lanes: Vec<LaneSpec>,
    /// How often every lane runs; at least 1.
    pub repeats: usize,
    /// Rows of the list run once per provider before the first lane, unmeasured.
    pub warmup: usize,
    /// What a failed row does to its lane.
    pub on_error: OnError,
    /// The most the run may cost, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
}

/// One lane: a mode over the whole prompt list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneSpec {
    /// Unique in the plan.
    pub label: String,
    /// How the list is split into calls.
    pub mode: Mode,
    /// Another provider than the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderSpec>,
}

/// How a list becomes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Mode {
    /// N calls of one row, one at a time.
    Sequential,
    /// N calls of one row, `in_flight` at a time.
    Async {
        /// Calls at once.
        in_flight: usize,
    },
    /// One call of N rows.
    Batched {
        /// Rows generated at a time; a live value while the lane runs.
        batch_size: usize,
    },
    /// Calls of `batch_size × 2` rows (the list is never split finer), `in_flight` at a time.
    BatchedAsync {
        /// Rows of a call generated at a time.
        batch_size: usize,
        /// Calls at once.
        in_flight: usize,
    },
    /// One batch job in the provider's own time.
    Offline,
}

/// What a failed row does to its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The lane is cancelled; what was finished stays.
    #[default]
    Stop,
    /// The failure is recorded in its row and the lane goes on.
    Continue,
}

impl Mode {
    /// The word used in flags, on the screen and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Sequential => "sequential",
            Mode::Async { .. } => "async",
            Mode::Batched { .. } => "batched",
            Mode::BatchedAsync { .. } => "batched_async",
            Mode::Offline => "offline",
        }
    }

    /// Rows generated at a time within one call, where a call has many.
    pub fn batch_size(self) -> Option<usize> {
        match self {
            Mode::Batched { batch_size } | Mode::BatchedAsync { batch_size, .. } => {
                Some(batch_size)
            }
            Mode::Sequential | Mode::Async { .. } | Mode::Offline => None,
        }
    }

    /// Calls at once.
    pub fn in_flight(self) -> usize {
        match self {
            Mode::Async { in_flight } | Mode::BatchedAsync { in_flight, .. } => in_flight,
            Mode::Sequential | Mode::Batched { .. } | Mode::Offline => 1,
        }
    }

    /// Rows in a call over a list of `rows`.
    pub fn rows_per_call(self, rows: usize) -> usize {
        match self {
            Mode::Sequential | Mode::Async { .. } => 1,
            Mode::Batched { .. } | Mode::Offline => rows.max(1),
            Mode::BatchedAsync { batch_size, .. } => batch_size.saturating_mul(2).max(1),
        }
    }
}

impl fmt::Display for Mode {
    /// The lane's default label: `sequential`, `async 8`, `batched 16`, `batched_async 16x2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Sequential | Mode::Offline => f.write_str(self.word()),
            Mode::Async { in_flight } => write!(f, "async {in_flight}"),
            Mode::Batched { batch_size } => write!(f, "batched {batch_size}"),
            Mode::BatchedAsync { batch_size, in_flight } => {
                write!(f, "batched_async {batch_size}x{in_flight}")
            }
        }
    }
}

/// A lane or a plan that cannot be: what is wrong and what it should look like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);

impl LaneSpec {
    /// A lane of this mode under its default label.
    pub fn new(mode: Mode) -> Self {
        Self { label: mode.to_string(), mode, provider: None }
    }
}

impl FromStr for OnError {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        match text {
            "stop" => Ok(Self::Stop),
            "continue" => Ok(Self::Continue),
            other => Err(PlanError(format!("\"{other}\" is neither stop nor continue"))),
        }
    }
}

impl FromStr for LaneSpec {
    type Err = PlanError;

    /// Reads `sequential`, `async:8`, `batched:16`, `batched_async:16x2`, `offline`, each with
    /// an optional `label=` before it.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (label, text) = match text.split_once('=') {
            Some((label, rest)) => (Some(label.trim()), rest.trim()),
            None => (None, text.trim()),
        };
        let (word, argument) = match text.split_once(':') {
            Some((word, argument)) => (word, Some(argument)),
            None => (text, None),
        };
        let mode = parse_mode(word, argument).map_err(|why| {
            PlanError(format!(
                "lane \"{text}\": {why}; write sequential, async:8, batched:16, \
                 batched_async:16x2 or offline"
            ))
        })?;
        let label = match label {
            Some("") => return Err(PlanError(format!("lane \"={text}\": the label is empty"))),
            Some(label) => label.to_owned(),
            None => mode.to_string(),
        };
        Ok(LaneSpec { label, mode, provider: None })
    }
}

fn parse_mode(word: &str, argument: Option<&str>) -> Result<Mode, String> {
    let size = |text: &str, what: &str| match text.parse::<usize>() {
        Ok(0) => Err(format!("{what} is 0, it must be at least 1")),
        Ok(size) => Ok(size),
        Err(_) => Err(format!("{what} \"{text}\" is not a number")),
    };
    match (word, argument) {
        ("sequential", None) => Ok(Mode::Sequential),
        ("offline", None) => Ok(Mode::Offline),
        ("async", argument) => {
            Ok(Mode::Async { in_flight: size(argument.unwrap_or("8"), "the number in flight")? })
        }
        ("batched", argument) => {
            Ok(Mode::Batched { batch_size: size(argument.unwrap_or("16"), "the batch size")? })
        }
        ("batched_async", argument) => {
            let argument = argument.unwrap_or("16x2");
            let (batch, calls) = argument.split_once('x').unwrap_or((argument, "2"));
            Ok(Mode::BatchedAsync {
                batch_size: size(batch, "the batch size")?,
                in_flight: size(calls, "the number in flight")?,
            })
        }
        ("sequential" | "offline", Some(_)) => Err(format!("{word} takes no number")),
        _ => Err("no such mode".to_owned()),
    }
}

impl Plan {
    /// Checks what the types cannot: ranges, unique labels, at least one lane.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), PlanError> {
        self.sampling.validate().map_err(|error| PlanError(error.to_string()))?;
        if self.max_cost_usd.is_some_and(|most| !most.is_finite() || most < 0.0) {
            return Err(PlanError("the spending limit is not a number of dollars".into()));
        }
        if self.repeats == 0 {
            return Err(PlanError("repeats is 0: it must be at least 1".into()));
        }
        if self.lanes.is_empty() {
            return Err(PlanError("the plan has no lane: give at least one with --lanes".into()));
        }
        for (place, lane) in self.lanes.iter().enumerate() {
            lane.mode
                .validate()
                .map_err(|why| PlanError(format!("lane \"{}\": {why}", lane.label)))?;
            if self.lanes[..place].iter().any(|earlier| earlier.label == lane.label) {
                return Err(PlanError(format!(
                    "two lanes are labelled \"{}\": name one, as in --lanes \"second={}\"",
                    lane.label,
                    lane.mode.flag()
                )));
            }
        }
        Ok(())
    }

    /// The provider a lane runs on.
    pub fn provider_of(&self, lane: usize) -> &ProviderSpec {
        self.lanes[lane].provider.as_ref().unwrap_or(&self.provider)
    }
}

impl Mode {
    /// As it is written after `--lanes`.
    pub fn flag(self) -> String {
        self.to_string().replacen(' ', ":", 1)
    }

    /// Checks that no size is 0.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn validate(self) -> Result<(), String> {
        if self.batch_size() == Some(0) {
            return Err("the batch size is 0, it must be at least 1".into());
        }
        if self.in_flight() == 0 {
            return Err("the number in flight is 0, it must be at least 1".into());
        }
        Ok(())
    }
}
