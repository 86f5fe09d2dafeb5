//! A run as seen from outside: start it, drain its events, change its batch size, stop it.

use std::path::PathBuf;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

use super::event::{RunEvent, Stamp};
use crate::provider::{BatchSize, Stamped};

/// A run that was started. Dropping it does not stop the run; [`Controls::stop`] does.
#[derive(Debug)]
pub struct RunHandle {
    /// Name of the run: its start time, also the name of its folder.
    pub id: String,
    /// The run's folder, where its journal grows.
    pub folder: PathBuf,
    /// Everything that happens; the channel closes after [`RunEvent::RunFinished`].
    pub events: UnboundedReceiver<Stamp>,
    /// How to steer it.
    pub controls: Controls,
}

/// Steers a run from outside.
#[derive(Debug, Clone)]
pub struct Controls {
    cancel: CancellationToken,
    batch_size: BatchSize,
    events: UnboundedSender<Stamp>,
}

impl Controls {
    /// Stops the run soon; what was finished is kept.
    pub fn stop(&self) {
        self.cancel.cancel();
    }

    /// Changes the batch size of the running lane; it is followed at the next refill. Only
    /// for lanes that have a batch size.
    pub fn set_batch_size(&self, size: usize) {
        self.batch_size.set(size);
        let event = RunEvent::BatchSize(self.batch_size.get());
        let _ = self.events.send(Stamped { at: std::time::Instant::now(), event });
    }
}
