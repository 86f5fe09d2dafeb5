//! The report of a run and its exporters: pure functions from results to bytes.
