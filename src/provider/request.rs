//! What goes to a provider: a row with its prompt, and the live batch size.

use std::sync::Arc;

use tokio::sync::watch;

use super::Spending;
use crate::prompts::Prompt;
use crate::sampling::Sampling;

/// One row to generate.
#[derive(Debug, Clone)]
pub struct Request {
    /// Index of the row in the prompt list; every event of the row carries it.
    pub row: usize,
    /// The prompt.
    pub prompt: Arc<Prompt>,
    /// Send a text prompt as it is, without the model's chat template.
    pub raw: bool,
    /// The same for the whole list.
    pub sampling: Arc<Sampling>,
    /// The money it may cost, where that is limited.
    pub spending: Option<Spending>,
}

/// How many rows are generated at a time: a live value, raised and lowered while a call runs.
/// Always at least 1.
#[derive(Debug, Clone)]
pub struct BatchSize {
    value: Arc<watch::Sender<usize>>,
}

impl BatchSize {
    /// A batch size of `size`, at least 1.
    pub fn new(size: usize) -> Self {
        Self { value: Arc::new(watch::Sender::new(size.max(1))) }
    }

    /// The size now.
    pub fn get(&self) -> usize {
        *self.value.borrow()
    }

    /// Changes the size; providers follow at their next refill.
    pub fn set(&self, size: usize) {
        self.value.send_replace(size.max(1));
    }

    /// A receiver that is woken by every change.
    pub fn subscribe(&self) -> watch::Receiver<usize> {
        self.value.subscribe()
    }
}
