//! What a command line asks of the report at the end: claims, a baseline, latency limits.

use std::io::Write;

use super::args::OutputFlags;
use crate::report::gate::{self, Assertion, Tolerance, Verdict};
use crate::report::{self, Report, Slo};

/// What is asked of a report.
#[derive(Debug, Default)]
pub struct Gates {
    /// Claims, in the order they were given.
    pub assertions: Vec<Assertion>,
    /// A report that must not be undercut, and by how much it may be.
    pub baseline: Option<(Box<Report>, Tolerance)>,
    /// What a row must keep to count for goodput.
    pub slo: Slo,
}

impl Gates {
    /// Reads the baseline, so that a missing one is told before the run.
    ///
    /// # Errors
    /// A baseline that cannot be read.
    pub fn of(flags: &OutputFlags) -> anyhow::Result<Self> {
        let read = |path| Ok::<_, anyhow::Error>(Box::new(report::read(path)?));
        let baseline = flags.baseline.as_deref().map(read).transpose()?;
        Ok(Self {
            assertions: flags.assertions.clone(),
            baseline: baseline.map(|report| (report, flags.tolerance.unwrap_or_default())),
            slo: flags.slo(),
        })
    }

    /// Says what became of every claim, those that fail also when quiet, and whether all hold.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn tell(&self, report: &Report, quiet: bool, out: &mut impl Write) -> anyhow::Result<bool> {
        let verdicts = self.judge(report);
        for verdict in &verdicts {
            match (verdict.passed, quiet) {
                (false, true) => eprintln!("{}", verdict.line),
                (true, true) => {}
                (_, false) => writeln!(out, "{}", verdict.line)?,
            }
        }
        Ok(verdicts.iter().all(|verdict| verdict.passed))
    }

    /// What became of every claim.
    fn judge(&self, report: &Report) -> Vec<Verdict> {
        let claims = self.assertions.iter().map(|assertion| assertion.judge(report));
        let against = self
            .baseline
            .iter()
            .flat_map(|(baseline, tolerance)| gate::against(baseline, report, *tolerance));
        claims.chain(against).collect()
    }
}
