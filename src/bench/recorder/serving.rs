//! What a server told while a pass ran, besides text and memory.

use serde::{Deserialize, Serialize};

use crate::provider::ServerLoad;

/// What is known of the server's load and of what it was given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// Requests it is given at once, while it asks for less.
    #[serde(skip)]
    pub allowed: Option<usize>,
    /// The fewest it was given at once since it asked for less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fewest_allowed: Option<usize>,
    /// Its load now.
    #[serde(skip)]
    pub load: Option<ServerLoad>,
    /// Most requests it worked on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_running: Option<usize>,
    /// Most requests that waited for a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_waiting: Option<usize>,
    /// The most of its KV cache that was in use, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_kv_used: Option<f64>,
    /// Its steps while the pass ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<f64>,
    /// Rows that these steps advanced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_rows: Option<f64>,
    /// Where the load comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its counts of steps and their rows when it was asked last.
    #[serde(skip)]
    counters: Option<(f64, f64)>,
}

impl Serving {
    pub(super) fn allow(&mut self, allowed: Option<usize>) {
        self.allowed = allowed;
        self.fewest_allowed = match (self.fewest_allowed, allowed) {
            (Some(fewest), Some(allowed)) => Some(fewest.min(allowed)),
            (fewest, allowed) => fewest.or(allowed),
        };
    }

    pub(super) fn take(&mut self, load: ServerLoad) {
        self.most_running = self.most_running.max(load.running);
        self.most_waiting = self.most_waiting.max(load.waiting);
        if let Some(used) = load.kv_used {
            self.most_kv_used = Some(self.most_kv_used.map_or(used, |most| most.max(used)));
        }
        if let Some((steps, rows)) = load.steps.zip(load.step_rows) {
            // a server that was started anew counts from the beginning
            if let Some((steps_before, rows_before)) = self.counters
                && steps >= steps_before
                && rows >= rows_before
            {
                *self.steps.get_or_insert(0.0) += steps - steps_before;
                *self.step_rows.get_or_insert(0.0) += rows - rows_before;
            }
            self.counters = Some((steps, rows));
        }
        self.source = Some(load.source.clone());
        self.load = Some(load);
    }

    /// Rows that a step of the server advanced, on average.
    pub fn mean_rows_per_step(&self) -> Option<f64> {
        let steps = self.steps.filter(|steps| *steps > 0.0)?;
        Some(self.step_rows? / steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(running: usize, kv_used: f64, steps: f64, step_rows: f64) -> ServerLoad {
        ServerLoad {
            running: Some(running),
            waiting: Some(running / 2),
            kv_used: Some(kv_used),
            steps: Some(steps),
            step_rows: Some(step_rows),
            source: "a server".into(),
        }
    }

    #[test]
    fn the_highest_load_is_kept_and_steps_count_from_the_first_reading() {
        let mut serving = Serving::default();
        serving.take(load(4, 0.5, 100.0, 150.0));
        assert_eq!(serving.mean_rows_per_step(), None);
        serving.take(load(8, 0.25, 110.0, 190.0));
        assert_eq!(serving.mean_rows_per_step(), Some(4.0));
        assert_eq!((serving.most_running, serving.most_waiting), (Some(8), Some(4)));
        assert_eq!(serving.most_kv_used, Some(0.5));
        serving.take(load(1, 0.1, 5.0, 5.0));
        assert_eq!(serving.mean_rows_per_step(), Some(4.0), "it was started anew");
    }

    #[test]
    fn the_fewest_requests_at_once_are_kept_when_more_are_allowed_again() {
        let mut serving = Serving::default();
        [Some(8), Some(4), Some(5), None].iter().for_each(|allowed| serving.allow(*allowed));
        assert_eq!((serving.allowed, serving.fewest_allowed), (None, Some(4)));
    }
}
