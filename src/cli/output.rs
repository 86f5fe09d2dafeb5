//! What is done with a report at its end: written where it was asked for, told, judged.

use std::io::Write;

use super::args::OutputFlags;
use super::exit::Exit;
use super::gates::Gates;
use super::summary::{failures, summary};
use crate::bench::verify::Outcome;
use crate::report::{Export, Report};
use crate::text::visible;

/// Where a report goes and what is asked of it.
pub struct Output {
    /// The files it is written to.
    pub exports: Vec<Export>,
    /// What is asked of it.
    pub gates: Gates,
    /// Nothing but errors is printed.
    pub quiet: bool,
}

impl Output {
    /// Checks all that can be checked before there is a report.
    ///
    /// # Errors
    /// A report that cannot be written there, or a baseline that cannot be read.
    pub fn open(flags: &OutputFlags) -> anyhow::Result<Self> {
        Ok(Self {
            exports: Export::open_all(&flags.report)?,
            gates: Gates::of(flags)?,
            quiet: flags.quiet,
        })
    }

    /// Writes every report, also when one of them fails.
    ///
    /// # Errors
    /// The first report that could not be written.
    pub fn write(&self, report: &Report) -> anyhow::Result<()> {
        let written: Vec<_> = self.exports.iter().map(|export| export.write(report)).collect();
        written.into_iter().collect()
    }

    /// Tells what the report says. The command is done where the report is verified and every
    /// claim holds.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn tell(&self, report: &Report, out: &mut impl Write) -> anyhow::Result<Exit> {
        if self.quiet {
            eprint!("{}", failures(report));
        } else {
            write!(out, "{}", summary(report))?;
            for export in &self.exports {
                writeln!(out, "report: {}", visible(&export.path().display().to_string()))?;
            }
        }
        let passed = self.gates.tell(report, self.quiet, out)?;
        let verified =
            report.verdict.as_ref().map(|verdict| verdict.outcome) == Some(Outcome::Verified);
        Ok(if verified && passed { Exit::Done } else { Exit::Failed })
    }
}
