//! What was run, when and where.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Slo, redact};
use crate::bench::journal::Recorded;
use crate::bench::recorder::Recorder;
use crate::config::{Plan, command_line};
use crate::probe::Host;
use crate::prompts::PromptList;

/// What the record of a run does not know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// The run's name.
    pub id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; absent while it runs.
    pub finished_at: Option<Timestamp>,
    /// Version of this program.
    pub version: String,
    /// The machine.
    pub host: Host,
    /// The command line that repeats the run, ready for a shell.
    pub command: Option<String>,
}

impl RunFacts {
    /// What a past run's journal tells of it.
    pub fn of_past(recorded: &Recorded) -> Self {
        let unknown = || Host {
            os: "unknown: the journal is of a version that did not write it".to_owned(),
            cpu: None,
            cores: None,
            memory_bytes: None,
            gpus: Vec::new(),
        };
        Self {
            id: recorded.id.clone(),
            started_at: recorded.started_at,
            finished_at: recorded.finished_at,
            version: recorded.version.clone(),
            host: recorded.host.clone().unwrap_or_else(unknown),
            command: command_line(&recorded.job.plan),
        }
    }
}

/// What was run, when and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The run's name.
    pub id: String,
    /// When it began, RFC 3339.
    pub started_at: Timestamp,
    /// When it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Version of the program that wrote the report.
    pub version: String,
    /// The machine.
    pub host: Host,
    /// Name of the prompt list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_list: Option<String>,
    /// The command line that repeats the run, ready for a shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The latency limits that rows are judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// Notices of the providers, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// The plan as written by the version that ran it, so that any version can read it.
    pub plan: serde_json::Value,
}

impl Run {
    pub(super) fn of(facts: &RunFacts, plan: &Plan, list: &PromptList, record: &Recorder) -> Self {
        Self {
            id: facts.id.clone(),
            started_at: facts.started_at,
            finished_at: facts.finished_at,
            version: facts.version.clone(),
            host: facts.host.clone(),
            prompt_list: Some(list.name.clone()),
            command: facts.command.as_deref().map(redact::addresses),
            slo: None,
            notices: record.notices.clone(),
            plan: plan_value(plan),
        }
    }
}

fn plan_value(plan: &Plan) -> serde_json::Value {
    let mut plan = plan.clone();
    let lanes = plan.lanes.iter_mut().filter_map(|lane| lane.provider.as_mut());
    for spec in lanes.chain([&mut plan.provider]) {
        spec.base_url = spec.base_url.as_deref().map(redact::addresses);
    }
    // through text, which writes 0.7f32 as 0.7 and not as the nearest f64
    let text = serde_json::to_string(&plan).expect("a plan is plain data");
    serde_json::from_str(&text).expect("what was just written can be read")
}
