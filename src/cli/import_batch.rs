//! `import-batch`: checks what an engine answered to a batch file, and writes the report.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;

use super::args::ImportBatchArgs;
use super::exit::Exit;
use super::export_batch;
use super::output::Output;
use crate::batch_file::{custom_ids, read_results};
use crate::bench::imported::Imported;
use crate::config::{LaneSpec, Mode, OnError, Plan};
use crate::prompts::PromptList;
use crate::provider::ProviderSpec;
use crate::report::{Report, RunFacts};
use crate::sampling::Sampling;
use crate::text::visible;

/// The name of the lane, and of what stands in the provider's place.
const LABEL: &str = "imported";

/// Reads the results and writes the reports.
///
/// # Errors
/// The prompts or a file of results cannot be read, or a report cannot be written.
pub fn import(args: &ImportBatchArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let output = Output::open(&args.output)?;
    let started_at = Timestamp::now();
    let list = export_batch::load(&args.prompts)?;
    let mut plan = plan(&args.prompts.prompts, &list);
    // a claim about a lane that cannot be there is told before anything is read
    for assertion in &args.output.assertions {
        assertion.check(&plan)?;
    }
    let mut imported = Imported::new(&plan, custom_ids(&list));
    for path in &args.results {
        read(path, &mut imported)?;
    }
    plan.provider.model = imported.models().join(", ");
    let facts = RunFacts {
        id: started_at.strftime("import-%Y%m%d-%H%M%S").to_string(),
        started_at,
        finished_at: Some(Timestamp::now()),
        version: env!("CARGO_PKG_VERSION").into(),
        host: crate::probe::host(),
        command: None,
    };
    let mut report = Report::build(&facts, &plan, &list, &imported.finish());
    // how the answers were generated is not known here
    if let Some(plan) = report.run.plan.as_object_mut() {
        plan.remove("sampling");
    }
    let report = report.within(output.gates.slo);
    output.write(&report)?;
    output.tell(&report, out)
}

fn read(path: &Path, imported: &mut Imported) -> anyhow::Result<()> {
    let shown = path.display().to_string();
    let failed = || format!("cannot read the results in {}", visible(&shown));
    let reader = BufReader::new(File::open(path).with_context(failed)?);
    let take = |number: usize, line| imported.take(&format!("{shown}:{number}"), line);
    read_results(reader, take).with_context(failed)
}

fn plan(prompts: &str, list: &PromptList) -> Plan {
    Plan {
        name: list.name.clone(),
        prompts: prompts.to_owned(),
        column: None,
        template: None,
        raw: false,
        provider: ProviderSpec {
            provider: LABEL.into(),
            model: String::new(),
            ..ProviderSpec::default()
        },
        sampling: Sampling::default(),
        lanes: vec![LaneSpec { label: LABEL.into(), ..LaneSpec::new(Mode::Offline) }],
        repeats: 1,
        warmup: 0,
        on_error: OnError::Continue,
        max_cost_usd: None,
    }
}
