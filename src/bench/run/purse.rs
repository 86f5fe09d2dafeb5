//! The run's spending limit: what earlier sessions cost, and what a lane may draw on.

use std::collections::HashSet;
use std::sync::Arc;

use crate::bench::recorder::{LaneRecord, Recorder};
use crate::config::Mode;
use crate::provider::{
    Budget, Failure, FailureKind, Price, ProviderInfo, Spending, is_server_here,
};

/// The money of a run, where it is limited.
pub(super) struct Purse {
    budget: Option<Arc<Budget>>,
    /// Lanes whose earlier cost is counted.
    counted: HashSet<usize>,
}

impl Purse {
    /// The purse of a run with this limit; what a record of earlier sessions cost is gone.
    pub fn new(limit: Option<f64>, record: &Recorder) -> Self {
        let budget = limit.map(|limit| Arc::new(Budget::new(limit)));
        let mut purse = Self { budget, counted: HashSet::new() };
        for (place, lane) in record.lanes.iter().enumerate() {
            if let Some(price) = lane.info.as_ref().and_then(|info| info.price.as_ref()) {
                purse.count(place, lane, price);
            }
        }
        purse
    }

    /// What the requests of a lane are charged to, before its first one.
    ///
    /// # Errors
    /// A limit cannot be kept where the price is not known.
    pub fn open(
        &mut self,
        place: usize,
        lane: &LaneRecord,
        info: &ProviderInfo,
        mode: Mode,
    ) -> Result<Option<Spending>, Failure> {
        let Some(budget) = self.budget.clone() else { return Ok(None) };
        if let Some(price) = info.price.clone() {
            self.count(place, lane, &price);
            return Ok(Some(Spending { budget, price }));
        }
        if is_free(info) {
            return Ok(None);
        }
        let message = format!(
            "the price of {} on {}{} is not known, so no spending limit can be kept: write it \
             into prices.toml in the folder of your settings, or leave out --max-cost",
            info.model,
            info.device,
            if mode == Mode::Offline { " in a batch job (batch, its share)" } else { "" }
        );
        Err(Failure::new(FailureKind::Unsupported, message))
    }

    fn count(&mut self, place: usize, lane: &LaneRecord, price: &Price) {
        if let Some(budget) = self.budget.as_ref().filter(|_| self.counted.insert(place)) {
            let rows = lane.passes.iter().flat_map(|pass| &pass.rows);
            budget.spent_before(rows.filter_map(|row| row.cost(price)).sum());
        }
    }
}

/// Whether nobody charges for it: it runs on this machine.
fn is_free(info: &ProviderInfo) -> bool {
    is_server_here(&info.device) || matches!(info.provider.as_str(), "local" | "mlx")
}
