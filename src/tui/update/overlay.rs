//! Changes of what lies over a screen: picker, export, help, notices, the question before
//! quitting.

use std::path::{Path, PathBuf};

use super::{scrolled, setup};
use crate::tui::app::{App, Effect, Exit, ExportRequest, ExportState, Overlay, Reply};
use crate::tui::keymap::Action;
use crate::tui::picker::Entry;
use crate::tui::views;

pub(super) fn act(app: &mut App, action: Action) -> Vec<Effect> {
    match (&app.overlay, action) {
        (Some(Overlay::Quitting), Action::Confirm) => {
            app.exit = Some(Exit::Quit);
            Vec::new()
        }
        (Some(_), Action::Back | Action::Discard | Action::Decline) => {
            app.overlay = None;
            Vec::new()
        }
        (Some(Overlay::Picker(_)), action) => pick(app, action),
        (Some(Overlay::Export(_)), action) => export(app, action),
        (Some(Overlay::Help { .. } | Overlay::Notices { .. }), action) => {
            scroll(app, action);
            Vec::new()
        }
        (Some(Overlay::Quitting) | None, _) => Vec::new(),
    }
}

fn scroll(app: &mut App, action: Action) {
    let (page, last) = views::popup_scroll(app);
    if let Some(Overlay::Help { scroll } | Overlay::Notices { scroll }) = &mut app.overlay {
        *scroll = scrolled(*scroll, action, page, last);
    }
}

fn pick(app: &mut App, action: Action) -> Vec<Effect> {
    let page = isize::try_from(views::picker::page(app)).unwrap_or(isize::MAX);
    let Some(Overlay::Picker(picker)) = &mut app.overlay else { return Vec::new() };
    match action {
        Action::Up => picker.step(-1),
        Action::Down => picker.step(1),
        Action::PageUp => picker.step(-page),
        Action::PageDown => picker.step(page),
        Action::TakeFolder => {
            let folder = picker.folder.to_string_lossy().into_owned();
            return take(app, folder);
        }
        Action::Activate if !picker.typed.text().trim().is_empty() => {
            let typed = picker.typed.text().trim().to_owned();
            return take(app, typed);
        }
        Action::Activate => return open_entry(app),
        Action::DeleteBack if picker.typed.text().is_empty() => {
            return picker.folder.parent().map(read_folder).into_iter().collect();
        }
        action => {
            picker.typed.edit(action);
        }
    }
    Vec::new()
}

fn open_entry(app: &mut App) -> Vec<Effect> {
    let Some(Overlay::Picker(picker)) = &app.overlay else { return Vec::new() };
    match picker.entry().cloned() {
        Some(Entry::BuiltIn { name, .. }) => take(app, name),
        Some(Entry::Parent) => picker.folder.parent().map(read_folder).into_iter().collect(),
        Some(Entry::Folder(name)) => vec![read_folder(&picker.folder.join(name))],
        Some(Entry::File { name, .. }) => {
            let path = picker.folder.join(name);
            take(app, path.to_string_lossy().into_owned())
        }
        None => Vec::new(),
    }
}

fn read_folder(folder: &Path) -> Effect {
    Effect::ReadFolder(folder.to_owned())
}

fn take(app: &mut App, source: String) -> Vec<Effect> {
    app.overlay = None;
    app.form.take_prompts(source);
    setup::load_prompts(app)
}

fn export(app: &mut App, action: Action) -> Vec<Effect> {
    let Some(Overlay::Export(form)) = &mut app.overlay else { return Vec::new() };
    if action != Action::Accept {
        if form.path.edit(action) {
            form.state = ExportState::Typing;
        }
        return Vec::new();
    }
    let replace = match form.state {
        ExportState::Writing => return Vec::new(),
        ExportState::Written(_) => {
            app.overlay = None;
            return Vec::new();
        }
        ExportState::Exists => true,
        ExportState::Typing | ExportState::Failed(_) => false,
    };
    let path = PathBuf::from(form.path.text());
    if let Err(reason) = report_format(&path) {
        form.state = ExportState::Failed(reason);
        return Vec::new();
    }
    let Some(session) = &app.session else { return Vec::new() };
    form.state = ExportState::Writing;
    vec![Effect::Export(Box::new(ExportRequest {
        path: app.folder.join(path),
        replace,
        id: session.id.clone(),
        started_at: session.started_at,
        took: (!session.running()).then_some(session.last_event),
        plan: session.plan.clone(),
        prompts: session.prompts.clone(),
        recorder: session.recorder.clone(),
    }))]
}

/// The format that a report's path asks for.
///
/// # Errors
/// Which extensions there are.
pub fn report_format(path: &Path) -> Result<&'static str, String> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("json") => Ok("JSON, every figure and every output"),
        Some("csv") => Ok("CSV, one line a row"),
        Some("md") => Ok("Markdown, for people"),
        Some("html") => Ok("HTML, with charts and outputs side by side"),
        Some(_) | None => Err("the name must end in .json, .csv, .md or .html".to_owned()),
    }
}

/// How writing a report went.
pub(super) fn exported(app: &mut App, reply: Reply) {
    let state = match reply {
        Reply::Exported(place) => ExportState::Written(place),
        Reply::ExportExists => ExportState::Exists,
        Reply::ExportFailed(reason) => ExportState::Failed(reason),
        _ => return,
    };
    match &mut app.overlay {
        Some(Overlay::Export(form)) if form.state == ExportState::Writing => form.state = state,
        // the form was closed meanwhile: say it where it is seen
        _ => match state {
            ExportState::Written(place) => {
                app.notices
                    .add(crate::tui::notices::Level::Info, format!("report written: {place}"));
            }
            ExportState::Failed(reason) => {
                app.notices.add(crate::tui::notices::Level::Error, reason);
            }
            ExportState::Exists => app.notices.add(
                crate::tui::notices::Level::Warning,
                "the report was not written: a file of that name is there",
            ),
            ExportState::Typing | ExportState::Writing => {}
        },
    }
}
