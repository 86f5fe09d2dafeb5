//! Typed failures: what somebody may want to branch on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What went wrong, on what, and what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind, for branching.
    pub kind: FailureKind,
    /// For people: lower case, no full stop, no secrets.
    pub message: String,
    /// How long the provider asks to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The key is missing, wrong or lacks a permission; or the server is not shown to be who it says.
    Auth,
    /// Too many requests or tokens in a time.
    RateLimited,
    /// The server has no capacity now.
    Overloaded,
    /// The connection failed or timed out.
    Transport,
    /// The server's answer is not what its protocol says.
    Protocol,
    /// The server failed on its own.
    Server,
    /// The request cannot be served as it is (a prompt longer than the context, a bad parameter).
    InvalidRequest,
    /// The model is unknown, damaged or cannot be run.
    Model,
    /// Not enough memory.
    OutOfMemory,
    /// The provider cannot do this; the message says what to use instead.
    Unsupported,
    /// The run's spending limit would be passed.
    SpendingLimit,
    /// The user or a failed neighbour stopped it.
    Cancelled,
    /// A defect of this program.
    Internal,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// The failure of rows and calls that were stopped.
    pub fn cancelled() -> Self {
        Self::new(FailureKind::Cancelled, "cancelled")
    }
}
