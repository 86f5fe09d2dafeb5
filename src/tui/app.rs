//! The state of the screen: which screen is open, what lies over it, and what it shows.
//!
//! It is changed by [`super::update`] alone and drawn by [`super::views`]; it does nothing by
//! itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::layout::Size;

use super::form::{Form, ModelFacts, Preset, PromptQuery, PromptTokens, TokenQuery};
use super::history::{History, PastFacts};
use super::input::TextInput;
use super::keymap::{Conditions, Keymap, Place};
use super::notices::Notices;
use super::palette::Palette;
use super::picker::{Entry, Picker};
use super::session::Session;
use super::theme::Theme;
use crate::bench::journal::Recorded;
use crate::bench::recorder::Recorder;
use crate::config::Plan;
use crate::prompts::PromptList;
use crate::provider::{ListedModel, ProviderSpec};
use crate::report::RunFacts;

/// The screen that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// What will run.
    Setup,
    /// The run.
    Run,
    /// One row of the run.
    Row,
    /// A sweep: batch sizes against each other.
    Sweep,
    /// Past runs.
    History,
}

/// The charts below the lanes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Charts {
    /// Throughput and memory.
    #[default]
    OverTime,
    /// TTFT of all rows, and rows a forward pass.
    Batching,
}

/// What lies over the screen.
#[derive(Debug, Clone)]
pub enum Overlay {
    /// All keys.
    Help(HelpView),
    /// All that can be done, by name.
    Palette(Palette),
    /// The sizes of a sweep that is to start.
    Sizes(TextInput),
    /// All notices.
    Notices {
        /// Lines it is scrolled by.
        scroll: usize,
    },
    /// Prompt lists.
    Picker(Picker),
    /// The path of a report.
    Export(ExportForm),
    /// A text to look for in prompts and outputs.
    Search(TextInput),
    /// All themes; the one in focus is in use.
    Themes {
        /// Index of the theme to go back to.
        before: usize,
    },
    /// Whether to stop the run and quit.
    Quitting,
    /// Whether to delete these runs.
    Deleting(Vec<PathBuf>),
    /// A text to be read, such as a comparison.
    Reading(Reading),
}

/// A text to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What it is.
    pub title: String,
    /// Its lines.
    pub text: String,
    /// Lines it is scrolled by.
    pub scroll: usize,
    /// Columns it is scrolled by.
    pub across: usize,
}

/// The help, and where the user is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelpView {
    /// Lines it is scrolled by.
    pub scroll: usize,
    /// Only lines with this text are shown.
    pub search: TextInput,
    /// The text is being typed.
    pub typing: bool,
}

/// The path of a report, and how writing it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportForm {
    /// The path.
    pub path: TextInput,
    /// How it stands.
    pub state: ExportState,
}

/// How writing a report stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportState {
    /// The path is being typed.
    Typing,
    /// It is being written.
    Writing,
    /// A file is there; asked again it is replaced.
    Exists,
    /// It was written.
    Written(String),
    /// It was not.
    Failed(String),
}

/// Why the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The user quit.
    Quit,
    /// The user interrupted it (ctrl-c), or the process was told to end by this signal.
    Signal(i32),
}

/// The number of SIGINT, the same everywhere.
pub const SIGINT: i32 = 2;

/// Everything on the screen.
#[derive(Debug)]
pub struct App {
    /// The screen that is open.
    pub screen: Screen,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// What will run.
    pub form: Form,
    /// The run that was started last.
    pub session: Option<Session>,
    /// Past runs.
    pub history: History,
    /// What the user should know.
    pub notices: Notices,
    /// The keys that count.
    pub keymap: Keymap,
    /// All themes; never empty.
    pub themes: Vec<Theme>,
    /// Index of the theme in use.
    pub theme: usize,
    /// The charts below the lanes.
    pub charts: Charts,
    /// Size of the terminal.
    pub size: Size,
    /// The time of the last change, for clocks and spinners.
    pub now: Instant,
    /// Built-in prompt lists: names with a line about each.
    pub built_in: Vec<(String, String)>,
    /// The folder the file picker begins in, and relative paths count from.
    pub folder: PathBuf,
    /// Set once the program is to end.
    pub exit: Option<Exit>,
}

/// What the screen begins with.
#[derive(Debug, Clone)]
pub struct Opening {
    /// What the form is filled with.
    pub preset: Preset,
    /// Names of the presets.
    pub presets: Vec<String>,
    /// Names of the providers.
    pub providers: Vec<String>,
    /// Built-in prompt lists: names with a line about each.
    pub built_in: Vec<(String, String)>,
    /// The keys that count.
    pub keymap: Keymap,
    /// All themes; never empty.
    pub themes: Vec<Theme>,
    /// Index of the theme to begin with.
    pub theme: usize,
    /// The folder the user is in.
    pub folder: PathBuf,
    /// What went wrong before the screen was there.
    pub warnings: Vec<String>,
}

/// Something to be done outside the state: what [`super::update`] asks of the event loop.
#[derive(Debug)]
pub enum Effect {
    /// Load a prompt list.
    LoadPrompts(PromptQuery),
    /// Find out about a model.
    LookAtModel(ProviderSpec),
    /// Find out about a model in a while.
    LookAgain(ProviderSpec),
    /// Find out which models a provider lists.
    ListModels(ProviderSpec),
    /// Count the tokens of a prompt list.
    CountTokens(TokenQuery),
    /// Read a preset.
    ReadPreset(String),
    /// Read a folder.
    ReadFolder(PathBuf),
    /// Start a run.
    Start(Box<Plan>, Arc<PromptList>),
    /// Stop the run.
    Stop,
    /// Change the batch size of the running lane.
    SetBatchSize(usize),
    /// Write a report.
    Export(Box<ExportRequest>),
    /// Keep a prompt list that was pasted as a file.
    KeepPaste(String),
    /// Keep a theme as the user's own choice.
    KeepTheme(String),
    /// Put a text on the clipboard.
    Copy(String),
    /// Find out which runs there are.
    ListRuns,
    /// Find out about a past run.
    LookAtRun(PathBuf),
    /// Read a past run, to be looked at or to be played again.
    ReadRun(PathBuf, Purpose),
    /// Play a past run again.
    Play(Box<Recorded>),
    /// Compare past runs.
    CompareRuns(Vec<PathBuf>),
    /// Delete a past run.
    DeleteRun(PathBuf),
    /// Give the terminal back to the shell until it continues this process.
    Suspend,
}

/// What a past run is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be looked at.
    Open,
    /// To be played again.
    Replay,
}

/// A report to be written.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The file; its extension is the format.
    pub path: PathBuf,
    /// Replace a file that is there.
    pub replace: bool,
    /// Name of the run.
    pub id: String,
    /// When it was started.
    pub started_at: jiff::Timestamp,
    /// How long it took; absent while it runs.
    pub took: Option<Duration>,
    /// What the journal of a past run tells of it.
    pub past: Option<RunFacts>,
    /// What ran.
    pub plan: Plan,
    /// Over which prompts.
    pub prompts: Arc<PromptList>,
    /// What happened so far.
    pub recorder: Recorder,
}

/// How an [`Effect`] went.
#[derive(Debug)]
pub enum Reply {
    /// A prompt list was loaded, or why not.
    Prompts(PromptQuery, Result<Arc<PromptList>, String>),
    /// What is known about a model.
    Model(ProviderSpec, Result<ModelFacts, String>),
    /// A model cannot be asked for now, and why; it may be able to later.
    NotReady(ProviderSpec, String),
    /// The models that a provider lists, or why they are not known.
    Models(ProviderSpec, Result<Vec<ListedModel>, String>),
    /// The tokens of the first prompts; absent where the model's tokenizer is not at hand.
    Tokens(TokenQuery, Option<PromptTokens>),
    /// A preset was read, or why not.
    Preset(String, Result<Box<Preset>, String>),
    /// A folder was read, or why not.
    Folder(PathBuf, Result<Vec<Entry>, String>),
    /// A run was started.
    Started(Box<Session>),
    /// A run was not started: the reason.
    NotStarted(String),
    /// A pasted list was kept in this file, or why not.
    Pasted(Result<PathBuf, String>),
    /// A theme was kept, or why not.
    ThemeKept(Result<(), String>),
    /// The folders of past runs, the newest first, or why they are not known.
    Runs(Result<Vec<PathBuf>, String>),
    /// What a past run was, or why that is not known.
    PastRun(PathBuf, Box<Result<PastFacts, String>>),
    /// A past run was read, or why not.
    Read(Purpose, Box<Result<Recorded, String>>),
    /// Past runs were compared, or why not.
    Compared(Result<String, String>),
    /// A past run was deleted, or why not.
    Deleted(PathBuf, Result<(), String>),
    /// A report was written to this place.
    Exported(String),
    /// A file is there already.
    ExportExists,
    /// A report was not written: the reason.
    ExportFailed(String),
}

impl App {
    /// The first screen: what will run.
    pub fn new(opening: Opening, size: Size, now: Instant) -> Self {
        let mut notices = Notices::default();
        for warning in opening.warnings {
            notices.add(super::notices::Level::Warning, warning);
        }
        Self {
            screen: Screen::Setup,
            overlay: None,
            form: Form::new(opening.preset, opening.presets, opening.providers),
            session: None,
            history: History::default(),
            notices,
            keymap: opening.keymap,
            themes: opening.themes,
            theme: opening.theme,
            charts: Charts::default(),
            size,
            now,
            built_in: opening.built_in,
            folder: opening.folder,
            exit: None,
        }
    }

    /// What must be found out for the first screen.
    pub fn first_effects(&self) -> Vec<Effect> {
        vec![
            Effect::LoadPrompts(self.form.query().clone()),
            Effect::LookAtModel(self.form.provider()),
            Effect::ListModels(self.form.provider()),
        ]
    }

    /// Where a key is pressed now.
    pub fn place(&self) -> Place {
        match (&self.overlay, self.screen) {
            (Some(Overlay::Help(help)), _) if help.typing => Place::HelpSearch,
            (Some(Overlay::Help(_)), _) => Place::Help,
            (Some(Overlay::Palette(_)), _) => Place::Palette,
            (Some(Overlay::Sizes(_)), _) => Place::Sizes,
            (Some(Overlay::Notices { .. }), _) => Place::Notices,
            (Some(Overlay::Picker(_)), _) => Place::Picker,
            (Some(Overlay::Export(_)), _) => Place::Export,
            (Some(Overlay::Search(_)), _) => Place::Search,
            (Some(Overlay::Themes { .. }), _) => Place::Themes,
            (Some(Overlay::Quitting), _) => Place::Quitting,
            (Some(Overlay::Deleting(_)), _) => Place::Deleting,
            (Some(Overlay::Reading(_)), _) => Place::Reading,
            (None, Screen::Setup) if self.form.editing.is_some() => Place::Field,
            (None, Screen::Setup) => Place::Setup,
            (None, Screen::Run) => Place::Run,
            (None, Screen::Row) => Place::Row,
            (None, Screen::Sweep) => Place::Sweep,
            (None, Screen::History) => Place::History,
        }
    }

    /// What holds for the keys now.
    pub fn conditions(&self) -> Conditions {
        let session = self.session.as_ref();
        Conditions {
            running: session.is_some_and(Session::running),
            batching: session
                .is_some_and(|session| session.live_batch_size().is_some() && !session.replay),
            has_run: session.is_some(),
            is_sweep: session.is_some_and(|session| session.sweep.is_some()),
            searching: session.is_some_and(|session| !session.search.is_empty()),
        }
    }

    /// The screen of the run: a sweep has its own.
    pub fn run_screen(&self) -> Screen {
        if self.conditions().is_sweep { Screen::Sweep } else { Screen::Run }
    }

    /// The theme in use.
    pub fn theme(&self) -> &Theme {
        &self.themes[self.theme]
    }

    /// Whether something moves by itself: a clock, a spinner.
    pub fn is_moving(&self) -> bool {
        self.session.as_ref().is_some_and(Session::running)
    }
}
