//! From the command line to the function that does it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::CommandFactory;
use tokio_util::sync::CancellationToken;

use super::args::{
    Cli, Command, CompareArgs, ModelsCommand, OutputFlags, PresetsCommand, ProvidersArgs,
    ProvidersCommand, ResumeArgs, RunFlags,
};
use super::exit::Exit;
use super::models::Meter;
use super::output::Output;
use super::run::Headless;
use super::signals::Signals;
use super::{export_batch, import_batch, man, models, presets, providers, report as again, themes};
use crate::bench::Job;
use crate::bench::journal::Restored;
use crate::bench::turns::Turns;
use crate::config::{
    Layer, Mode, Paths, ProviderLayer, Resolved, RunRequest, command_line, quoted, resolve, settle,
};
use crate::provider::{FailureKind, OpenProvider, Prices, ProviderSpec, Registry};
use crate::report::{self, Form};
use crate::tui::{self, workbench::Workbench};

/// What went wrong, and the status it ends with.
#[derive(Debug)]
pub struct Failed {
    /// The status.
    pub exit: Exit,
    /// For people.
    pub error: anyhow::Error,
}

/// Marks an error as one of usage or configuration.
fn usage(error: impl Into<anyhow::Error>) -> Failed {
    Failed { exit: Exit::Usage, error: error.into() }
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed { exit: Exit::Failed, error: error.into() }
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// Anything that went wrong, with the status to end with.
pub async fn dispatch(cli: Cli) -> Result<Exit, Failed> {
    let paths = Paths::of_user().map_err(usage)?;
    let out = &mut std::io::stdout();
    match cli.command {
        None => workbench(&cli.run, &paths).await,
        Some(Command::Run(args)) => {
            headless(&args.run.request(), &args.output, args.turns.as_deref(), &paths).await
        }
        Some(Command::Sweep(args)) => headless(&args.request(), &args.output, None, &paths).await,
        Some(Command::Resume(args)) => resume(&args, &paths).await,
        Some(Command::Compare(args)) => compare(&args, out),
        Some(Command::Report(args)) => again::again(&args, &paths.runs(), out).map_err(usage),
        Some(Command::ExportBatch(args)) => {
            export_batch::export(&args, out).map_err(usage)?;
            Ok(Exit::Done)
        }
        Some(Command::ImportBatch(args)) => import_batch::import(&args, out).map_err(usage),
        Some(Command::Models(command)) => models_command(command, &paths, out).await,
        Some(Command::Presets(args)) => {
            match args.command {
                None => presets::list(&paths, out),
                Some(PresetsCommand::Show { name }) => presets::show(&name, &paths, out),
            }
            .map_err(usage)?;
            Ok(Exit::Done)
        }
        Some(Command::Themes) => {
            let shipped = tui::theme::shipped();
            let names = shipped.iter().map(|theme| theme.name.as_str());
            done(themes::list(names, &paths, out))
        }
        Some(Command::Providers(ProvidersArgs { command: None })) => done(providers::list(out)),
        Some(Command::Providers(ProvidersArgs { command: Some(command) })) => {
            let ProvidersCommand::Models(flags) = command;
            list_models((*flags).into(), &paths, out).await
        }
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "batchgen-tui", &mut text);
            done(out.write_all(&text).map_err(Into::into))
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            let written = man::render(&mut text);
            written.and_then(|()| out.write_all(&text))?;
            Ok(Exit::Done)
        }
    }
}

/// The models of the provider that flags, preset and settings name together.
async fn list_models(
    provider: ProviderLayer,
    paths: &Paths,
    out: &mut impl Write,
) -> Result<Exit, Failed> {
    let layer = Layer { provider, ..Layer::default() };
    let request = RunRequest { layer, ..RunRequest::default() };
    let spec = settle(&request, paths).map_err(usage)?.plan.provider;
    let models = registry(paths)?.models(&spec).await.map_err(|failure| match failure.kind {
        FailureKind::InvalidRequest | FailureKind::Unsupported => usage(failure),
        _ => Failed::from(failure),
    })?;
    done(providers::models(&spec, &models, out))
}

fn done(result: anyhow::Result<()>) -> Result<Exit, Failed> {
    result?;
    Ok(Exit::Done)
}

async fn workbench(flags: &RunFlags, paths: &Paths) -> Result<Exit, Failed> {
    tui::check_terminal().map_err(usage)?;
    let providers = registry(paths)?;
    let workbench = Workbench::new(paths.clone(), Arc::new(providers)).map_err(usage)?;
    let opening = workbench.opening(&flags.request()).map_err(usage)?;
    Ok(match tui::run(opening, Arc::new(workbench)).await? {
        tui::app::Exit::Quit => Exit::Done,
        tui::app::Exit::Signal(_) => Exit::Interrupted,
    })
}

async fn headless(
    request: &RunRequest,
    output: &OutputFlags,
    turns: Option<&Path>,
    paths: &Paths,
) -> Result<Exit, Failed> {
    let registry = registry(paths)?;
    let headless = Headless {
        providers: Arc::new(registry.clone()),
        output: Output::open(output).map_err(usage)?,
        command: Some(this_command()),
    };
    let Resolved { plan, prompts } = resolve(request, paths).map_err(usage)?;
    for assertion in &output.assertions {
        assertion.check(&plan).map_err(usage)?;
    }
    for (place, lane) in plan.lanes.iter().enumerate() {
        registry.check(plan.provider_of(place), lane.mode == Mode::Offline).map_err(usage)?;
    }
    // an empty list has no pass, and nobody need wait for it
    let turns = turns
        .filter(|_| !prompts.prompts.is_empty())
        .map(Turns::join)
        .transpose()
        .map_err(usage)?;
    let job = Job { plan, prompts: Arc::new(prompts) };
    Ok(headless.run(job, &paths.runs(), turns).await?)
}

async fn resume(args: &ResumeArgs, paths: &Paths) -> Result<Exit, Failed> {
    let folder = run_folder(&args.run, &paths.runs()).map_err(usage)?;
    let output = Output::open(&args.output).map_err(usage)?;
    let restored = Restored::open(&folder).map_err(usage)?;
    let headless = Headless {
        providers: Arc::new(registry(paths)?),
        output,
        command: command_line(&restored.job.plan),
    };
    Ok(headless.resume(restored).await?)
}

fn registry(paths: &Paths) -> Result<Registry, Failed> {
    let registry = Registry::new(paths.models(), &paths.catalogue()).map_err(usage)?;
    Ok(registry.with_prices(Prices::with_user_file(&paths.prices()).map_err(usage)?))
}

/// The folder of a run: a path, or a name under `runs`.
pub(super) fn run_folder(run: &str, runs: &Path) -> anyhow::Result<PathBuf> {
    if run.is_empty() {
        bail!("no run is named: give its name or its folder");
    }
    let is_name = !run.contains(['/', '\\']) && run != "." && run != "..";
    let folder = if is_name { runs.join(run) } else { PathBuf::from(run) };
    if folder.is_dir() {
        return Ok(folder);
    }
    let mut names: Vec<_> = std::fs::read_dir(runs)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    match names.last() {
        Some(newest) => bail!("there is no run \"{run}\"; the newest is {newest}"),
        None => bail!("there is no run \"{run}\", and none in {}", runs.display()),
    }
}

fn compare(args: &CompareArgs, out: &mut impl Write) -> Result<Exit, Failed> {
    let form = args.report.as_deref().map(Form::of).transpose().map_err(usage)?;
    let paths = [&args.a].into_iter().chain(&args.others);
    let reports: Vec<_> =
        paths.map(|path| report::read(path)).collect::<anyhow::Result<_>>().map_err(usage)?;
    let compared = report::compare(&reports);
    if let Some((path, form)) = args.report.as_ref().zip(form) {
        report::write_atomically(path, compared.render(form).as_bytes())?;
    }
    write!(out, "{}", compared.render(Form::Text))?;
    Ok(Exit::Done)
}

async fn models_command(
    command: ModelsCommand,
    paths: &Paths,
    out: &mut (impl Write + Send),
) -> Result<Exit, Failed> {
    let named = |model: Option<String>| model.unwrap_or_else(|| ProviderSpec::default().model);
    match command {
        ModelsCommand::List => models::list(paths, out)?,
        ModelsCommand::Path { model: None } => writeln!(out, "{}", paths.models().display())?,
        ModelsCommand::Path { model: Some(model) } => models::path(paths, &model, out)?,
        ModelsCommand::Fetch { model } => return fetch(&named(model), paths, out).await,
    }
    Ok(Exit::Done)
}

/// Fetches a model; ctrl-c stops it, and what has arrived is gone on with the next time.
async fn fetch(name: &str, paths: &Paths, out: &mut (impl Write + Send)) -> Result<Exit, Failed> {
    let meter = Meter::new(false);
    let cancel = CancellationToken::new();
    let mut signals = Signals::listen()?;
    let progress = |progress| meter.follow(progress);
    let fetching = models::fetch(paths, name, &progress, &cancel, out);
    tokio::pin!(fetching);
    loop {
        tokio::select! {
            () = signals.next() => cancel.cancel(),
            fetched = &mut fetching => match fetched {
                Err(_) if cancel.is_cancelled() => return Ok(Exit::Interrupted),
                result => return done(result),
            }
        }
    }
}

/// This command line, ready for a shell.
fn this_command() -> String {
    let words = std::env::args().skip(1).map(|word| quoted(&word));
    std::iter::once("batchgen-tui".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Runs [`dispatch`] on a runtime of its own.
///
/// # Errors
/// As [`dispatch`].
pub fn block_on(cli: Cli) -> Result<Exit, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let ended = runtime.block_on(dispatch(cli));
    // a thread that does not come back must not keep the program open
    runtime.shutdown_background();
    ended
}
