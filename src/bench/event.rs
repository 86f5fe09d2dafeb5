//! What a run tells whoever drains its channel: the screen, the progress bar, a test.

use super::lag::Lags;
use crate::probe;
use crate::provider::{Event, Failure, ProviderInfo, Stamped};

/// Everything that happens in a run, in order, over one unbounded channel.
#[derive(Debug, Clone)]
pub enum RunEvent {
    /// A provider is being opened (downloaded, loaded): a line for people.
    Preparing(String),
    /// The provider of a lane is ready.
    ProviderReady {
        /// Index of the lane in the plan.
        lane: usize,
        /// What is behind it.
        info: ProviderInfo,
    },
    /// Warm-up of a lane's provider began; it is not measured.
    WarmUp {
        /// Index of the lane in the plan.
        lane: usize,
    },
    /// One pass of a lane over the list began.
    LaneStarted {
        /// Index of the lane in the plan.
        lane: usize,
        /// From 0.
        repeat: usize,
    },
    /// Something happened in the running lane.
    Provider(Event),
    /// Memory was read.
    Probe(probe::Sample),
    /// How late the program's own loop was since the last time.
    Lag(Lags),
    /// The running lane's batch size was changed by the user.
    BatchSize(usize),
    /// The pass ended; rows that have not ended were not run.
    LaneFinished {
        /// Why it ended early, if it did.
        failure: Option<Failure>,
    },
    /// The run is over; nothing follows.
    RunFinished,
}

/// A [`RunEvent`] and the moment it happened.
pub type Stamp = Stamped<RunEvent>;
