//! `export-batch`: a prompt list as a batch file for an engine that runs it elsewhere.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};

use super::args::{BatchPrompts, ExportBatchArgs};
use crate::batch_file::{LimitField, RequestFile};
use crate::config::SamplingLayer;
use crate::prompts::{self, LoadOptions, PromptList, PromptSource, Template};
use crate::report::write_atomically;
use crate::text::visible;

/// What OpenAI takes in one file.
const MOST_REQUESTS: usize = 50_000;
const MOST_BYTES: usize = 200_000_000;

/// Writes the file.
///
/// # Errors
/// The prompts or the parameters cannot be used, or the file cannot be written.
pub fn export(args: &ExportBatchArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let list = load(&args.prompts)?;
    if list.is_empty() {
        bail!("the prompt list {} is empty: there is nothing to export", list.name);
    }
    let sampling = SamplingLayer::from(args.sampling.clone()).sampling();
    sampling.validate()?;
    let limit_field = match args.max_completion_tokens {
        true => LimitField::MaxCompletionTokens,
        false => LimitField::MaxTokens,
    };
    let (model, endpoint) = (args.model.as_str(), args.endpoint);
    let file = RequestFile { model, endpoint, limit_field, sampling: &sampling };
    let bytes = file.write(&list).map_err(anyhow::Error::msg)?;
    for note in notes(&file, &list, bytes.len()) {
        eprintln!("note: {note}");
    }
    if args.file == Path::new("-") {
        out.write_all(&bytes).context("cannot write to standard output")?;
        return Ok(());
    }
    write_atomically(&args.file, &bytes)?;
    let path = visible(&args.file.display().to_string());
    writeln!(out, "{} requests: {path}", list.len())?;
    writeln!(
        out,
        "check what comes back with: batchgen-tui import-batch --prompts {path} RESULTS"
    )?;
    Ok(())
}

/// What somebody should know before sending the file to OpenAI.
fn notes(file: &RequestFile<'_>, list: &PromptList, bytes: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if list.len() > MOST_REQUESTS || bytes > MOST_BYTES {
        notes.push(format!(
            "OpenAI takes at most {MOST_REQUESTS} requests and {MOST_BYTES} bytes a file; other \
             engines take this one"
        ));
    }
    let parameters = file.engine_parameters();
    if !parameters.is_empty() {
        let names = parameters.join(", ");
        notes.push(format!("OpenAI does not take {names}; vLLM and other engines do"));
    }
    notes
}

/// Loads the prompts of a batch.
///
/// # Errors
/// What is wrong, with the file and the line.
pub fn load(args: &BatchPrompts) -> anyhow::Result<PromptList> {
    let source = PromptSource::parse(&args.prompts, None);
    let template = args.template.as_deref().map(|text| Template::parse(text, None));
    let options = LoadOptions {
        column: args.column.clone(),
        template: template.transpose()?,
        ..LoadOptions::default()
    };
    Ok(prompts::load(&source, &options)?)
}
