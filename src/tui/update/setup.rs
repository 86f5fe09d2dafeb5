//! Changes of the Setup screen.

use crate::config::Plan;
use crate::provider::ProviderSpec;
use crate::tui::app::{App, Effect, Overlay, Screen};
use crate::tui::form::{Field, Finding, Kind};
use crate::tui::keymap::Action;
use crate::tui::notices::Level;
use crate::tui::picker::Picker;

pub(super) fn act(app: &mut App, action: Action) -> Vec<Effect> {
    match action {
        Action::Up => focus(app, -1),
        Action::Down => focus(app, 1),
        Action::First => app.form.focus = Field::ALL[0],
        Action::Last => app.form.focus = Field::Run,
        Action::ShowRun => app.screen = app.run_screen(),
        Action::NextPreset => return read_preset(app, true),
        Action::Less => return step(app, false),
        Action::More => return step(app, true),
        Action::Activate => return activate(app),
        _ => {}
    }
    Vec::new()
}

fn focus(app: &mut App, by: isize) {
    let fields = app.form.fields();
    let place = fields.iter().position(|field| *field == app.form.focus).unwrap_or(0);
    let count = fields.len();
    app.form.focus = fields[(place + count).saturating_add_signed(by) % count];
}

fn activate(app: &mut App) -> Vec<Effect> {
    match app.form.focus.kind() {
        Kind::Text => {
            app.form.begin_edit();
            Vec::new()
        }
        Kind::Choice => step(app, true),
        Kind::Picker => {
            let picker = Picker::new(&app.built_in, app.folder.clone());
            let folder = picker.folder.clone();
            app.overlay = Some(Overlay::Picker(picker));
            vec![Effect::ReadFolder(folder)]
        }
        Kind::Button => start(app),
    }
}

fn step(app: &mut App, up: bool) -> Vec<Effect> {
    let field = app.form.focus;
    if field == Field::Preset {
        return read_preset(app, up);
    }
    let changed = app.form.step(field, up);
    match field {
        Field::Provider | Field::Model if changed => look_at_model(app),
        Field::Raw => count_tokens(app),
        _ => Vec::new(),
    }
}

/// Asks for the tokens of the prompts, once list and model are known.
pub(super) fn count_tokens(app: &App) -> Vec<Effect> {
    app.form.token_query().map(Effect::CountTokens).into_iter().collect()
}

fn read_preset(app: &mut App, next: bool) -> Vec<Effect> {
    app.form.other_preset(next).map(Effect::ReadPreset).into_iter().collect()
}

/// A key in a text field.
pub(super) fn edit(app: &mut App, action: Action) -> Vec<Effect> {
    let field = app.form.focus;
    match action {
        Action::Accept => app.form.end_edit(true),
        Action::Discard => app.form.end_edit(false),
        action => {
            if let Some(editing) = &mut app.form.editing {
                editing.input.edit(action);
                app.form.typed();
            }
            return Vec::new();
        }
    }
    match field {
        Field::Model | Field::Address | Field::KeyFrom | Field::Headers | Field::Python => {
            look_at_model(app)
        }
        Field::Column | Field::Template => load_prompts(app),
        _ => Vec::new(),
    }
}

/// What was not on this machine may have been fetched by a run.
pub(super) fn look_again(app: &mut App) -> Vec<Effect> {
    let here = app.form.model.known().is_some_and(|facts| facts.here);
    if here { Vec::new() } else { look_at_model(app) }
}

fn look_at_model(app: &mut App) -> Vec<Effect> {
    app.form.model = Finding::Asked;
    let spec = app.form.provider();
    vec![Effect::LookAtModel(spec.clone()), Effect::ListModels(spec)]
}

/// What is known about a model that could not be asked for yet: it is asked for again while
/// somebody looks.
pub(super) fn not_ready(app: &mut App, spec: ProviderSpec, reason: String) -> Vec<Effect> {
    app.form.model = Finding::Failed(reason);
    if app.screen == Screen::Setup { vec![Effect::LookAgain(spec)] } else { Vec::new() }
}

/// Asks for the list that the form names.
pub(super) fn load_prompts(app: &mut App) -> Vec<Effect> {
    app.form.prompts = Finding::Asked;
    vec![Effect::LoadPrompts(app.form.query().clone())]
}

/// A path, as it comes of a file that is dropped on the terminal, or a list of prompts, which
/// is kept as a file so that it can be run again.
pub(super) fn paste(app: &mut App, text: String) -> Vec<Effect> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let content = text.trim();
    match content.lines().count() {
        0 => Vec::new(),
        1 if content.len() < 4096 => {
            let path = content.trim_matches(['\'', '"']).trim_start_matches("file://");
            app.form.take_prompts(path.to_owned());
            load_prompts(app)
        }
        _ => vec![Effect::KeepPaste(text)],
    }
}

/// Starts what is described, or from the screens of a run the last run again.
pub(super) fn start(app: &mut App) -> Vec<Effect> {
    start_with(app, Plan::clone)
}

/// Starts what is made of the plan that is described, or from the screens of a run of its plan.
pub(super) fn start_with(app: &mut App, make: impl Fn(&Plan) -> Plan) -> Vec<Effect> {
    if app.conditions().running {
        return Vec::new();
    }
    if app.screen != Screen::Setup
        && let Some(session) = &app.session
    {
        return vec![Effect::Start(Box::new(make(&session.plan)), session.prompts.clone())];
    }
    let plan = match app.form.plan() {
        Ok(plan) => make(&plan),
        Err((field, _)) => {
            // the reason stands beside the field
            app.form.focus = field;
            return Vec::new();
        }
    };
    let Some(prompts) = app.form.prompts.known().cloned() else {
        app.form.focus = Field::Prompts;
        return Vec::new();
    };
    if prompts.prompts.is_empty() {
        app.notices.add(
            Level::Warning,
            format!(
                "{} holds no prompt, so there is nothing to run: choose another list",
                prompts.name
            ),
        );
        return Vec::new();
    }
    vec![Effect::Start(Box::new(plan), prompts)]
}
