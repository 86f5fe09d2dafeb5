//! The services of the screen over the real program: settings, prompt lists, the model store,
//! runs and reports.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::app::{ExportRequest, Opening, Reply};
use super::form::{ModelFacts, Preset, PromptQuery, PromptTokens, TokenQuery};
use super::keymap::{Keymap, Override};
use super::services::Services;
use super::theme;
use crate::bench::Job;
use crate::bench::run::{self, RunHandle};
use crate::config::{Paths, Plan, RunRequest, Settings, Settled, command_line, preset, settle};
use crate::engine::inspection::Inspection;
use crate::engine::store::{Catalogue, Status, Store};
use crate::prompts::{self, BUILT_IN, LoadOptions, PromptList, PromptSource, Template};
use crate::provider::{
    Failure, FailureKind, ListedModel, OpenProvider, Outlook, ProviderInfo, ProviderSpec, registry,
};
use crate::report::{self, Export, Report, RunFacts};
use crate::units;

/// The prompts of a list whose tokens are counted before a run.
const COUNTED_PROMPTS: usize = 1_000;

/// How long a server may take to say what it is.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);

/// The real services.
pub struct Workbench {
    paths: Paths,
    providers: Arc<dyn OpenProvider>,
    store: Store,
    folder: PathBuf,
    /// The model that was looked at last.
    looked_at: Mutex<Option<(String, Arc<Inspection>)>>,
}

impl Workbench {
    /// Services over the user's folders; relative paths count from the current folder.
    ///
    /// # Errors
    /// A damaged catalogue, or no current folder.
    pub fn new(paths: Paths, providers: Arc<dyn OpenProvider>) -> anyhow::Result<Self> {
        let catalogue = Catalogue::with_user_file(&paths.catalogue())?;
        let store = Store::new(paths.models(), catalogue);
        let folder = std::env::current_dir().context("the current folder is not known")?;
        Ok(Self { paths, providers, store, folder, looked_at: Mutex::default() })
    }

    /// What the screen begins with: what the flags ask for, laid over presets and settings.
    ///
    /// # Errors
    /// Anything the user wrote that cannot be used.
    pub fn opening(&self, request: &RunRequest) -> anyhow::Result<Opening> {
        let settings = Settings::load(&self.paths)?;
        let wanted = request.preset.as_deref().or(settings.preset.as_deref());
        let name = wanted.unwrap_or(preset::DEFAULT).to_owned();
        let preset = preset_of(name, settle(request, &self.paths)?)?;
        let presets = preset::list(&self.paths)?.into_iter().map(|preset| preset.name).collect();
        let built_in = BUILT_IN.iter().map(|list| (list.name.into(), list.description.into()));
        let (mut themes, errors) = theme::all(&self.paths.themes());
        let mut warnings: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
        let theme = chosen_theme(settings.theme.as_deref(), &themes, &mut warnings);
        if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            themes = themes.into_iter().map(theme::Theme::without_colours).collect();
        } else {
            let depth = theme::Depth::of_terminal(|name| std::env::var(name).ok());
            themes = themes.into_iter().map(|theme| theme.within(depth)).collect();
        }
        Ok(Opening {
            preset,
            presets,
            providers: registry::NAMES.iter().map(|name| (*name).to_owned()).collect(),
            built_in: built_in.collect(),
            keymap: keymap(&settings, &self.paths)?,
            themes,
            theme,
            folder: self.folder.clone(),
            warnings,
        })
    }

    /// What the files of a model on this machine say; absent where it must be fetched first.
    fn inspect(&self, model: &str) -> anyhow::Result<Option<Arc<Inspection>>> {
        let Some(source) = self.store.find(model)? else { return Ok(None) };
        let inspection = Arc::new(Inspection::take(&source)?);
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        *looked_at = Some((model.to_owned(), inspection.clone()));
        Ok(Some(inspection))
    }

    /// Reaches a server and tells what it says of itself.
    fn ask_server(&self, spec: &ProviderSpec) -> anyhow::Result<ModelFacts> {
        let cancel = CancellationToken::new();
        let last = Mutex::new(String::new());
        let progress = |line| *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
        // dropped, and with it the token, when the server takes too long
        let opening = async {
            let _cancelled_with_me = cancel.clone().drop_guard();
            self.providers.open(spec, &progress, cancel).await
        };
        let provider = self.in_time(spec, &last, opening)?;
        Ok(ModelFacts { here: true, lines: served(provider.info()) })
    }

    /// Waits for an answer of a server, but not for long; `last` holds what was told meanwhile.
    fn in_time<T>(
        &self,
        spec: &ProviderSpec,
        last: &Mutex<String>,
        asking: impl Future<Output = Result<T, Failure>>,
    ) -> anyhow::Result<T> {
        let answered = Handle::current()
            .block_on(async { tokio::time::timeout(SERVER_PATIENCE, asking).await });
        let late = |_| {
            let at = spec.base_url.as_deref().unwrap_or("its own address");
            let last = last.lock().unwrap_or_else(PoisonError::into_inner);
            let last = if last.is_empty() { String::new() } else { format!(": {last}") };
            let provider = &spec.provider;
            let message = format!("{provider} at {at} did not answer in {SERVER_PATIENCE:?}{last}");
            Failure::new(FailureKind::Overloaded, message)
        };
        Ok(answered.map_err(late)??)
    }

    fn write(&self, request: &ExportRequest) -> anyhow::Result<Reply> {
        if !request.replace && request.path.exists() {
            return Ok(Reply::ExportExists);
        }
        let export = Export::open(&request.path)?;
        let facts = request.past.clone().unwrap_or_else(|| RunFacts {
            id: request.id.clone(),
            started_at: request.started_at,
            finished_at: finished_at(request),
            version: env!("CARGO_PKG_VERSION").into(),
            host: crate::probe::host(),
            command: command_line(&request.plan),
        });
        let report = Report::build(&facts, &request.plan, &request.prompts, &request.recorder);
        export.write(&report)?;
        let size = std::fs::metadata(&request.path).map(|file| units::bytes(file.len()));
        let size = size.map(|size| format!(" ({size})")).unwrap_or_default();
        Ok(Reply::Exported(format!("{}{size}", request.path.display())))
    }
}

impl Services for Workbench {
    fn prompts(&self, query: &PromptQuery) -> anyhow::Result<PromptList> {
        let source = PromptSource::parse(&query.source, Some(&self.folder));
        if source == PromptSource::Stdin {
            anyhow::bail!(
                "standard input is the keyboard here: choose a file, or use `batchgen-tui run`"
            );
        }
        let base = query.template_base.as_deref().or(Some(&self.folder));
        let template = query.template.as_deref().map(|text| Template::parse(text, base));
        let options = LoadOptions {
            column: query.column.clone(),
            template: template.transpose()?,
            ..LoadOptions::default()
        };
        Ok(prompts::load(&source, &options)?)
    }

    fn model(&self, spec: &ProviderSpec) -> anyhow::Result<ModelFacts> {
        if spec.is_server() {
            return self.ask_server(spec);
        }
        if spec.provider != "local" {
            let looking = self.providers.look(spec);
            let Outlook { here, lines } = self.in_time(spec, &Mutex::default(), looking)?;
            return Ok(ModelFacts { here, lines });
        }
        let about = self.store.catalogue().find(&spec.model).map(|entry| entry.about.clone());
        let (here, mut lines) = match self.store.status(&spec.model) {
            Status::Ready { path, bytes } => {
                let mut lines = ready(&path, bytes);
                lines.extend(self.inspect(&spec.model)?.map(|model| described(&model)));
                (true, lines)
            }
            Status::Fetchable { from, bytes } => (false, fetchable(&from, bytes)),
            Status::Unknown { reason } => anyhow::bail!(reason),
        };
        lines.extend(about);
        Ok(ModelFacts { here, lines })
    }

    fn models(&self, spec: &ProviderSpec) -> anyhow::Result<Vec<ListedModel>> {
        self.in_time(spec, &Mutex::default(), self.providers.models(spec))
    }

    fn tokens(&self, query: &TokenQuery) -> Option<PromptTokens> {
        let looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (model, inspection) = looked_at?;
        if query.provider.provider != "local" || query.provider.model != model {
            return None;
        }
        let prompts = query.prompts.prompts.iter().take(COUNTED_PROMPTS);
        let count = |content| inspection.tokens(content, query.raw).ok();
        Some(PromptTokens { rows: prompts.map(|prompt| count(&prompt.content)).collect() })
    }

    fn preset(&self, name: &str) -> anyhow::Result<Preset> {
        let request = RunRequest { preset: Some(name.to_owned()), ..RunRequest::default() };
        preset_of(name.to_owned(), settle(&request, &self.paths)?)
    }

    fn start(&self, plan: Plan, prompts: Arc<PromptList>) -> anyhow::Result<RunHandle> {
        run::start(Job { plan, prompts }, self.providers.clone(), &self.paths.runs())
    }

    fn keep_paste(&self, text: &str) -> anyhow::Result<PathBuf> {
        let folder = self.paths.data.join("pasted");
        let what = || format!("the pasted list cannot be kept in {}", folder.display());
        std::fs::create_dir_all(&folder).with_context(what)?;
        let now = Timestamp::now().strftime("%Y%m%d-%H%M%S");
        let path = folder.join(format!("{now}.{}", extension_of(text)));
        report::write_atomically(&path, text.as_bytes())?;
        Ok(path)
    }

    fn keep_theme(&self, name: &str) -> anyhow::Result<()> {
        let path = self.paths.settings();
        let text = Settings::with_theme(&self.paths, name)?;
        std::fs::create_dir_all(&self.paths.config)
            .with_context(|| format!("cannot make {}", self.paths.config.display()))?;
        report::write_atomically(&path, text.as_bytes())
    }

    fn runs(&self) -> PathBuf {
        self.paths.runs()
    }

    fn export(&self, request: &ExportRequest) -> Reply {
        self.write(request).unwrap_or_else(|error| Reply::ExportFailed(format!("{error:#}")))
    }
}

fn preset_of(name: String, settled: Settled) -> anyhow::Result<Preset> {
    let Settled { plan, source, column, template, template_base } = settled;
    let query = PromptQuery { source: source.to_string(), column, template, template_base };
    Ok(Preset { name, plan, query })
}

fn chosen_theme(
    wanted: Option<&str>,
    themes: &[theme::Theme],
    warnings: &mut Vec<String>,
) -> usize {
    let Some(wanted) = wanted else { return 0 };
    let place = themes.iter().position(|theme| theme.name == wanted);
    if place.is_none() {
        let names: Vec<&str> = themes.iter().map(|theme| theme.name.as_str()).collect();
        let names = names.join(", ");
        warnings.push(format!("settings: there is no theme \"{wanted}\"; there are {names}"));
    }
    place.unwrap_or(0)
}

fn ready(path: &Path, bytes: Option<u64>) -> Vec<String> {
    let size = bytes.map(|bytes| format!(", {}", units::bytes(bytes))).unwrap_or_default();
    vec![format!("✓ on this machine{size}"), path.display().to_string()]
}

fn served(info: &ProviderInfo) -> Vec<String> {
    let mut lines = vec![format!("✓ {} answers", info.device), format!("model {}", info.model)];
    lines.extend(info.details.iter().map(|(name, value)| format!("{name} {value}")));
    lines.extend(info.context_length.map(|tokens| format!("context of {tokens} tokens")));
    lines.push(format!("batching: {}", info.batching.word()));
    lines
}

fn described(model: &Inspection) -> String {
    format!(
        "{}, {} parameters, {}, context of {} tokens",
        model.architecture,
        units::count(model.parameters),
        model.quantization,
        model.context_length
    )
}

fn fetchable(from: &str, bytes: Option<u64>) -> Vec<String> {
    let size = bytes.map(|bytes| format!(", ≈{}", units::bytes(bytes))).unwrap_or_default();
    vec![format!("↓ will be fetched first{size}"), format!("from {from}")]
}

/// What a pasted list is: JSON, JSON Lines, or a prompt a line.
fn extension_of(text: &str) -> &'static str {
    match text.trim_start().chars().next() {
        Some('{') => "jsonl",
        Some('[') => "json",
        Some(_) | None => "txt",
    }
}

/// The keys that count for this user.
fn keymap(settings: &Settings, paths: &Paths) -> anyhow::Result<Keymap> {
    let overrides = settings
        .keys
        .iter()
        .map(|own| Override { action: own.action.clone(), keys: own.keys.clone() });
    Keymap::with(&overrides.collect::<Vec<_>>()).map_err(|error| {
        let own = &settings.keys[error.place];
        let file = paths.settings();
        anyhow::anyhow!("{}:{}: keys.{}: {}", file.display(), own.line, own.action, error.reason)
    })
}

/// When the last event of a run that is over came.
fn finished_at(request: &ExportRequest) -> Option<Timestamp> {
    let took = SignedDuration::try_from(request.took?).ok()?;
    request.started_at.checked_add(took).ok()
}
