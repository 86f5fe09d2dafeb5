//! From what the user asked for to the plan of a run and its prompts.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::layer::{LaneEntry, Layer};
use super::{LaneSpec, Mode, Paths, Plan, Settings, check, preset};
use crate::prompts::{self, LoadOptions, PromptList, PromptSource, Template};

/// What the user asked for in flags. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunRequest {
    /// A preset's name or file.
    pub preset: Option<String>,
    /// Where the prompts come from: a path, `-`, or a built-in list's name.
    pub prompts: Option<String>,
    /// The column or field that holds the prompt.
    pub column: Option<String>,
    /// A template, or the path of one.
    pub template: Option<String>,
    /// How the list is run.
    pub layer: Layer,
}

/// A plan, and where its prompts are to be read from.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The valid plan.
    pub plan: Plan,
    /// Where the prompts come from.
    pub source: PromptSource,
    /// The column or field that holds the prompt.
    pub column: Option<String>,
    /// A template, or the path of one, relative to [`Settled::template_base`].
    pub template: Option<String>,
    /// The folder that the template's path is relative to; else the current one.
    pub template_base: Option<PathBuf>,
}

/// All that a run needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The valid plan.
    pub plan: Plan,
    /// The prompts; perhaps none.
    pub prompts: PromptList,
}

/// Lays flags over the preset, the preset over the settings, those over the defaults, and loads
/// the prompts. Without anything it is the quickstart preset.
///
/// # Errors
/// Anything the user wrote that cannot be used: where it stands, why, and what to try.
pub fn resolve(request: &RunRequest, paths: &Paths) -> anyhow::Result<Resolved> {
    let settled = settle(request, paths)?;
    let prompts = settled.load()?;
    Ok(Resolved { plan: settled.plan, prompts })
}

/// Like [`resolve`], without loading the prompts.
///
/// # Errors
/// Anything the user wrote about the plan that cannot be used.
pub fn settle(request: &RunRequest, paths: &Paths) -> anyhow::Result<Settled> {
    check::layer(&request.layer).map_err(|fault| anyhow::anyhow!(fault.reason))?;
    let settings = Settings::load(paths)?;
    let wanted = request.preset.as_deref().or(settings.preset.as_deref());
    let preset = preset::find(wanted.unwrap_or(preset::DEFAULT), paths)?.load()?;

    // a path is relative to where it was written: a preset's folder, or the current one
    let base = preset.base.as_deref();
    let written =
        pick(&request.prompts, &preset.prompts, base).unwrap_or((prompts::BUILT_IN[0].name, None));
    let source = PromptSource::parse(written.0, written.1);
    let template = pick(&request.template, &preset.template, base);

    let name = if request.prompts.is_some() { source.name() } else { preset.name };
    // from the ground up: what a layer leaves out depends on the provider named below it
    let ground = settings.layer().over(Layer::defaults());
    let layer = request.layer.clone().over(preset.layer.over(ground));
    // a preset's column belongs to the preset's own prompts
    let column = request.column.clone().or(preset.column.filter(|_| request.prompts.is_none()));
    let mut plan = plan(name, &source, layer);
    plan.column.clone_from(&column);
    plan.template = template.map(|(text, base)| written_template(text, base));
    plan.validate().with_context(|| format!("the plan \"{}\" cannot be run", plan.name))?;
    Ok(Settled {
        plan,
        source,
        column,
        template: template.map(|(text, _)| text.to_owned()),
        template_base: template.and_then(|(_, base)| base).map(Path::to_path_buf),
    })
}

impl Settled {
    /// Loads the prompts.
    ///
    /// # Errors
    /// What is wrong, with the file and the line.
    pub fn load(&self) -> anyhow::Result<PromptList> {
        let base = self.template_base.as_deref();
        let template = self.template.as_deref().map(|text| Template::parse(text, base));
        let options = LoadOptions {
            column: self.column.clone(),
            template: template.transpose()?,
            ..LoadOptions::default()
        };
        Ok(prompts::load(&self.source, &options)?)
    }
}

/// What flags say, else what the preset says together with the folder its paths start from.
fn pick<'a>(
    flag: &'a Option<String>,
    preset: &'a Option<String>,
    base: Option<&'a Path>,
) -> Option<(&'a str, Option<&'a Path>)> {
    let flag = flag.as_deref().map(|text| (text, None));
    flag.or_else(|| preset.as_deref().map(|text| (text, base)))
}

/// A template as it can be written from anywhere: a path is told from its folder on.
pub fn written_template(text: &str, base: Option<&Path>) -> String {
    let path = base.map(|base| base.join(text)).filter(|path| path.is_file());
    path.map_or_else(|| text.to_owned(), |path| path.display().to_string())
}

fn plan(name: String, source: &PromptSource, layer: Layer) -> Plan {
    let lanes = layer.lanes.unwrap_or_else(default_lanes);
    let lanes = lanes.into_iter().map(|entry| entry.spec(&layer.provider));
    Plan {
        name,
        prompts: source.to_string(),
        column: None,
        template: None,
        raw: layer.raw.unwrap_or(false),
        lanes: lanes.collect(),
        provider: layer.provider.spec(),
        sampling: layer.sampling.sampling(),
        repeats: layer.repeats.unwrap_or(1),
        warmup: layer.warmup.unwrap_or(1),
        on_error: layer.on_error.unwrap_or_default(),
        max_cost_usd: layer.max_cost_usd,
    }
}

fn default_lanes() -> Vec<LaneEntry> {
    let modes = [Mode::Sequential, Mode::Async { in_flight: 8 }, Mode::Batched { batch_size: 16 }];
    modes.map(|mode| LaneEntry::from(LaneSpec::new(mode))).into()
}
