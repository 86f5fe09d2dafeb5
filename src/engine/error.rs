//! What can go wrong in the engine, where somebody branches on it.

/// A failure of the engine: what failed, on what, and what to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The model cannot be found, fetched, read or run.
    #[error("{0}")]
    Model(String),
    /// The request cannot be served as it is.
    #[error("{0}")]
    InvalidRequest(String),
    /// Not enough memory for the model or the batch.
    #[error("{0}")]
    OutOfMemory(String),
    /// This engine cannot do it.
    #[error("{reason}; {instead}")]
    Unsupported {
        /// Why.
        reason: String,
        /// What to use instead.
        instead: String,
    },
    /// A download failed.
    #[error("{0}")]
    Transport(String),
    /// The caller stopped it.
    #[error("cancelled")]
    Cancelled,
    /// A defect of this program, such as a panic in the engine's thread.
    #[error("internal error: {0}")]
    Internal(String),
}

impl EngineError {
    /// A model that cannot be used: the message names the model and the reason.
    pub fn model(message: impl Into<String>) -> Self {
        Self::Model(message.into())
    }
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        let text = error.to_string();
        let lower = text.to_lowercase();
        if lower.contains("out of memory") || lower.contains("out_of_memory") {
            Self::OutOfMemory(format!("{text}; try a smaller batch size"))
        } else {
            Self::Internal(text)
        }
    }
}
