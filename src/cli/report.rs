//! `report`: the report of a past run, or one read back from its JSON, in other formats and
//! against other claims.

use std::io::Write;
use std::path::Path;

use super::args::ReportArgs;
use super::dispatch::run_folder;
use super::exit::Exit;
use super::output::Output;
use crate::bench::history;
use crate::report::{self, Report};

/// Reads the report, writes it in the formats that are asked for and judges the claims.
///
/// # Errors
/// There is no such run or report, it is damaged, or a report cannot be written.
pub fn again(args: &ReportArgs, runs: &Path, out: &mut impl Write) -> anyhow::Result<Exit> {
    let output = Output::open(&args.output)?;
    let report = read(&args.source, runs)?.within(output.gates.slo);
    output.write(&report)?;
    output.tell(&report, out)
}

/// A JSON report by its file, or a past run by its name or folder.
fn read(source: &str, runs: &Path) -> anyhow::Result<Report> {
    let path = Path::new(source);
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return report::read(path);
    }
    let folder = run_folder(source, runs)?;
    Ok(Report::of_past(&history::read(&folder)?))
}
