//! Changes of the Run and Row screens.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::{act as act_anywhere, scrolled};
use crate::tui::app::{App, Effect, ExportForm, ExportState, Overlay, Screen};
use crate::tui::input::TextInput;
use crate::tui::keymap::{Action, Place};
use crate::tui::session::Session;
use crate::tui::views;

pub(super) fn act(app: &mut App, action: Action) -> Vec<Effect> {
    let Some(session) = &mut app.session else {
        app.screen = Screen::Setup;
        return Vec::new();
    };
    match action {
        Action::Stop => {
            session.stopping = true;
            return vec![Effect::Stop];
        }
        Action::RaiseBatch => return set_batch_size(session, |size| size.saturating_add(1)),
        Action::LowerBatch => return set_batch_size(session, |size| size.saturating_sub(1)),
        Action::NextLane => turn_lane(session, 1),
        Action::PreviousLane => turn_lane(session, session.recorder.lanes.len().saturating_sub(1)),
        Action::Follow => session.follow(),
        Action::NextRow => session.select(session.row.saturating_add(1)),
        Action::PreviousRow => session.select(session.row.saturating_sub(1)),
        Action::NextDivergence | Action::PreviousDivergence => {
            if let Some(row) = session.divergence(action == Action::NextDivergence) {
                session.select(row);
            }
        }
        Action::Back if app.screen == Screen::Row => app.screen = Screen::Run,
        Action::Back => {
            app.screen = Screen::Setup;
            return super::setup::look_again(app);
        }
        Action::Activate => {
            if session.recorder.rows() > 0 {
                session.follow = false;
                session.scroll = 0;
                app.screen = Screen::Row;
            }
        }
        Action::Export => open_export(app),
        action => scroll(app, action),
    }
    super::keep_in_sight(app);
    Vec::new()
}

fn set_batch_size(session: &Session, change: fn(usize) -> usize) -> Vec<Effect> {
    let Some(size) = session.live_batch_size() else { return Vec::new() };
    vec![Effect::SetBatchSize(change(size).max(1))]
}

fn turn_lane(session: &mut Session, by: usize) {
    let lanes = session.recorder.lanes.len().max(1);
    session.lane = (session.lane + by) % lanes;
}

fn open_export(app: &mut App) {
    let Some(session) = &app.session else { return };
    let path = app.folder.join(format!("{}.json", session.id));
    app.overlay = Some(Overlay::Export(ExportForm {
        path: TextInput::new(path.to_string_lossy()),
        state: ExportState::Typing,
    }));
}

/// Moves the selected row, or scrolls the texts of a row.
fn scroll(app: &mut App, action: Action) {
    let in_row = app.screen == Screen::Row;
    let page = if in_row { views::row::page(app) } else { views::run::visible_rows(app) };
    let last_line = if in_row { views::row::last_scroll(app) } else { 0 };
    let Some(session) = &mut app.session else { return };
    if in_row {
        session.scroll = scrolled(session.scroll, action, page, last_line);
        return;
    }
    let last = session.recorder.rows().saturating_sub(1);
    match action {
        // the end is where the newest row will be
        Action::Last if session.running() => session.follow(),
        action => session.select(scrolled(session.row, action, page, last)),
    }
}

/// The wheel scrolls; a click chooses a lane, a row or the run button.
pub(super) fn mouse(app: &mut App, mouse: MouseEvent) -> Vec<Effect> {
    match mouse.kind {
        MouseEventKind::ScrollUp => wheel(app, Action::Up),
        MouseEventKind::ScrollDown => wheel(app, Action::Down),
        MouseEventKind::Down(MouseButton::Left) => {
            click(app, Position { x: mouse.column, y: mouse.row })
        }
        _ => Vec::new(),
    }
}

fn wheel(app: &mut App, action: Action) -> Vec<Effect> {
    match app.place() {
        Place::Field | Place::Export | Place::Quitting => Vec::new(),
        Place::Setup | Place::Picker | Place::Run | Place::Row | Place::Help | Place::Notices => {
            act_anywhere(app, action)
        }
    }
}

fn click(app: &mut App, at: Position) -> Vec<Effect> {
    match app.place() {
        Place::Setup => match views::setup::field_at(app, at) {
            Some(field) => {
                app.form.focus = field;
                act_anywhere(app, Action::Activate)
            }
            None => Vec::new(),
        },
        Place::Run => {
            if let Some(lane) = views::run::lane_at(app, at) {
                if let Some(session) = &mut app.session {
                    session.lane = lane;
                }
            } else if let Some(row) = views::run::row_at(app, at) {
                let selected = app.session.as_ref().map(|session| session.row);
                if selected == Some(row) {
                    return act_anywhere(app, Action::Activate);
                }
                if let Some(session) = &mut app.session {
                    session.select(row);
                }
            }
            Vec::new()
        }
        Place::Field
        | Place::Picker
        | Place::Row
        | Place::Export
        | Place::Help
        | Place::Notices
        | Place::Quitting => Vec::new(),
    }
}
