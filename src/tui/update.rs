//! Every change of the state: pure functions of the state, what happened, and the time.
//!
//! What must be done outside comes back as [`Effect`]s.

mod history;
mod overlay;
mod run;
mod setup;
mod sweep;

use std::time::Instant;

use crossterm::event::{Event, KeyCode, KeyEvent};
use ratatui::layout::Size;

use super::app::{App, Effect, Exit, HelpView, Overlay, Reply, SIGINT};
use super::form::Finding;
use super::keymap::{Action, Key, Place};
use super::notices::Level;
use super::palette::Palette;
use super::views;

pub use overlay::report_format;

/// Takes something the terminal sent.
pub fn terminal_event(app: &mut App, event: Event, now: Instant) -> Vec<Effect> {
    app.now = now;
    match event {
        Event::Key(key) => key_event(app, &key),
        Event::Paste(text) if app.place() == Place::Setup => setup::paste(app, text),
        Event::Paste(text) => {
            type_text(app, &text);
            Vec::new()
        }
        Event::Resize(width, height) => {
            app.size = Size { width, height };
            keep_in_sight(app);
            history::look_on(app)
        }
        Event::Mouse(mouse) => run::mouse(app, mouse),
        Event::FocusGained | Event::FocusLost => Vec::new(),
    }
}

fn key_event(app: &mut App, event: &KeyEvent) -> Vec<Effect> {
    let Some(key) = Key::of(event) else { return Vec::new() };
    app.notices.go_on();
    let place = app.place();
    if let Some(action) = app.keymap.action(place, key, app.conditions()) {
        return act(app, action);
    }
    if let (true, Key::Plain(KeyCode::Char(c))) = (place.takes_text(), key) {
        type_text(app, c.encode_utf8(&mut [0; 4]));
    }
    Vec::new()
}

/// Does what a key asks for.
pub fn act(app: &mut App, action: Action) -> Vec<Effect> {
    match action {
        Action::Quit => {
            if app.conditions().running {
                app.overlay = Some(Overlay::Quitting);
            } else {
                app.exit = Some(Exit::Quit);
            }
            Vec::new()
        }
        Action::QuitNow => {
            app.exit = Some(Exit::Signal(SIGINT));
            Vec::new()
        }
        Action::Suspend => vec![Effect::Suspend],
        Action::Help => {
            app.overlay = Some(Overlay::Help(HelpView::default()));
            Vec::new()
        }
        Action::Notices => {
            app.notices.mark_seen();
            app.overlay = Some(Overlay::Notices { scroll: 0 });
            Vec::new()
        }
        Action::Palette => {
            app.overlay = Some(Overlay::Palette(Palette::over(app.place())));
            Vec::new()
        }
        Action::Themes => {
            app.overlay = Some(Overlay::Themes { before: app.theme });
            Vec::new()
        }
        Action::Start => setup::start(app),
        Action::Sweep => sweep::open(app),
        Action::History => history::open(app),
        action => match app.place() {
            Place::Setup => setup::act(app, action),
            Place::Field => setup::edit(app, action),
            Place::Run | Place::Row => run::act(app, action),
            Place::Sweep => sweep::act(app, action),
            Place::Sizes => sweep::edit(app, action),
            Place::History | Place::Deleting => history::act(app, action),
            Place::Search => {
                run::edit_search(app, action);
                Vec::new()
            }
            Place::Picker
            | Place::Export
            | Place::Palette
            | Place::Help
            | Place::HelpSearch
            | Place::Notices
            | Place::Reading
            | Place::Themes
            | Place::Quitting => overlay::act(app, action),
        },
    }
}

/// Types or pastes a text where one is expected.
fn type_text(app: &mut App, text: &str) {
    match &mut app.overlay {
        Some(Overlay::Picker(picker)) => picker.typed.insert(text),
        Some(Overlay::Export(export)) => {
            export.path.insert(text);
            export.state = super::app::ExportState::Typing;
        }
        Some(Overlay::Help(help)) if help.typing => {
            help.search.insert(text);
            help.scroll = 0;
        }
        Some(Overlay::Palette(palette)) => {
            palette.typed.insert(text);
            palette.selected = 0;
        }
        Some(Overlay::Sizes(input) | Overlay::Search(input)) => input.insert(text),
        Some(
            Overlay::Help(_)
            | Overlay::Notices { .. }
            | Overlay::Quitting
            | Overlay::Deleting(_)
            | Overlay::Themes { .. }
            | Overlay::Reading(_),
        ) => {}
        None => {
            if let Some(editing) = &mut app.form.editing {
                editing.input.insert(text);
                app.form.typed();
            }
        }
    }
}

/// Takes the answer to an effect.
pub fn reply(app: &mut App, reply: Reply, now: Instant) -> Vec<Effect> {
    app.now = now;
    match reply {
        // an answer to a question that is no longer asked is dropped
        Reply::Prompts(query, result) if query == *app.form.query() => {
            app.form.prompts = finding(result);
            return setup::count_tokens(app);
        }
        Reply::Model(spec, result) if spec == app.form.provider() => {
            app.form.model = finding(result);
            return setup::count_tokens(app);
        }
        Reply::NotReady(spec, reason) if spec == app.form.provider() => {
            return setup::not_ready(app, spec, reason);
        }
        // the list is the provider's, whichever of its models is chosen by now; why there is none
        // is said where the model was looked at
        Reply::Models(spec, listed) if spec.provider == app.form.provider().provider => {
            app.form.models = listed.unwrap_or_default();
        }
        Reply::Prompts(..) | Reply::Model(..) | Reply::NotReady(..) | Reply::Models(..) => {}
        Reply::Tokens(query, counts) => app.form.take_counts(query, counts),
        Reply::Preset(_, Ok(preset)) => {
            app.form.take_preset(*preset);
            return app.first_effects();
        }
        Reply::Preset(name, Err(reason)) => {
            app.notices.add(Level::Error, format!("preset {name}: {reason}"));
        }
        Reply::Folder(folder, result) => {
            if let Some(Overlay::Picker(picker)) = &mut app.overlay {
                picker.show(folder, result);
            }
        }
        Reply::Started(session) => {
            app.session = Some(*session);
            app.screen = app.run_screen();
            app.overlay = None;
            refresh(app, now);
        }
        Reply::Pasted(Ok(path)) => {
            app.form.take_prompts(path.to_string_lossy().into_owned());
            app.notices.add(Level::Info, format!("the pasted list was kept in {}", path.display()));
            return setup::load_prompts(app);
        }
        Reply::Pasted(Err(reason)) | Reply::ThemeKept(Err(reason)) => {
            app.notices.add(Level::Error, reason);
        }
        Reply::ThemeKept(Ok(())) => {}
        Reply::Runs(_)
        | Reply::PastRun(..)
        | Reply::Read(..)
        | Reply::Compared(_)
        | Reply::Deleted(..) => return history::reply(app, reply),
        Reply::NotStarted(reason) => app.notices.add(Level::Error, reason),
        Reply::Exported(_) | Reply::ExportExists | Reply::ExportFailed(_) => {
            overlay::exported(app, reply);
        }
    }
    Vec::new()
}

fn finding<T>(result: Result<T, String>) -> Finding<T> {
    result.map_or_else(Finding::Failed, Finding::Known)
}

/// Takes one event of the run. The figures follow with [`refresh`].
pub fn run_event(app: &mut App, stamp: crate::bench::event::Stamp) {
    if let Some(session) = &mut app.session {
        session.apply(stamp, &mut app.notices);
    }
}

/// The run's channel closed.
pub fn run_closed(app: &mut App) {
    if let Some(session) = &mut app.session {
        session.close(&mut app.notices);
    }
    if matches!(app.overlay, Some(Overlay::Quitting)) {
        app.overlay = None;
    }
}

/// Brings figures and scrolling up to date before a frame is drawn.
pub fn refresh(app: &mut App, now: Instant) {
    app.now = now;
    let in_row = app.screen == super::app::Screen::Row;
    let lanes = if in_row { views::row::columns(app) } else { Vec::new() };
    let page = if in_row { views::row::page(app) } else { 0 };
    if let Some(session) = &mut app.session {
        session.refresh(now);
        if in_row {
            session.compare_row();
            session.find_lines(&lanes, session.scroll + page);
        }
    }
    if matches!(app.overlay, Some(Overlay::Notices { .. })) {
        app.notices.mark_seen();
    }
    keep_in_sight(app);
}

/// The process was told to end.
pub fn signal(app: &mut App, number: i32) {
    app.exit = Some(Exit::Signal(number));
}

/// Another thread panicked; the screen goes on.
pub fn panicked(app: &mut App, text: String) {
    app.notices.add(Level::Error, text);
}

fn keep_in_sight(app: &mut App) {
    let visible = views::run::visible_rows(app);
    if let Some(session) = &mut app.session {
        session.keep_in_sight(visible);
    }
}

/// `scroll` moved by an action, at most to `last`; pages are `page` long.
fn scrolled(scroll: usize, action: Action, page: usize, last: usize) -> usize {
    let page = page.max(1);
    let scroll = scroll.min(last);
    match action {
        Action::Up => scroll.saturating_sub(1),
        Action::Down => scroll + 1,
        Action::PageUp => scroll.saturating_sub(page),
        Action::PageDown => scroll + page,
        Action::First => 0,
        Action::Last => last,
        _ => scroll,
    }
    .min(last)
}
