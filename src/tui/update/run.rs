//! Changes of the Run and Row screens.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::{act as act_anywhere, scrolled};
use crate::tui::app::{App, Charts, Effect, ExportForm, ExportState, Overlay, Screen};
use crate::tui::input::TextInput;
use crate::tui::keymap::{Action, Place};
use crate::tui::notices::Level;
use crate::tui::session::{Filter, Search, Session};
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
        Action::RaiseBatch => return batch_size(session.ask_batch_size(|n| n.saturating_add(1))),
        Action::LowerBatch => return batch_size(session.ask_batch_size(|n| n.saturating_sub(1))),
        Action::NextLane => turn_lane(session, 1),
        Action::PreviousLane => turn_lane(session, session.recorder.lanes.len().saturating_sub(1)),
        Action::Follow => session.follow(),
        Action::NextRow => session.select_place(session.place().saturating_add(1)),
        Action::PreviousRow => session.select_place(session.place().saturating_sub(1)),
        Action::NextFilter => session.next_filter(),
        Action::NextCharts => app.charts = other_charts(app.charts),
        Action::Search => {
            let search = TextInput::new(session.search.text());
            app.overlay = Some(Overlay::Search(search));
        }
        Action::NextFound | Action::PreviousFound => {
            find(app, action == Action::NextFound);
        }
        Action::Copy => return copy(app),
        Action::NextDivergence | Action::PreviousDivergence => {
            if let Some(row) = session.divergence(action == Action::NextDivergence) {
                session.select(row);
                scroll_to(app, Session::first_difference);
            } else {
                app.notices.add(Level::Info, "no further row differs from the reference");
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
                session.compare_row();
                app.screen = Screen::Row;
            }
        }
        Action::Export => open_export(app),
        Action::Compare => return super::history::compare_with(app),
        action => scroll(app, action),
    }
    super::keep_in_sight(app);
    Vec::new()
}

fn batch_size(size: Option<usize>) -> Vec<Effect> {
    size.map(Effect::SetBatchSize).into_iter().collect()
}

fn other_charts(charts: Charts) -> Charts {
    match charts {
        Charts::OverTime => Charts::Batching,
        Charts::Batching => Charts::OverTime,
    }
}

/// A key in the text that is looked for.
pub(super) fn edit_search(app: &mut App, action: Action) {
    let Some(Overlay::Search(input)) = &mut app.overlay else { return };
    match action {
        Action::Accept => {
            let search = Search::new(input.text());
            app.overlay = None;
            if let Some(session) = &mut app.session {
                session.search = search;
            }
            find(app, true);
            super::keep_in_sight(app);
        }
        Action::Discard => app.overlay = None,
        action => {
            input.edit(action);
        }
    }
}

fn find(app: &mut App, forward: bool) {
    let Some(session) = &mut app.session else { return };
    match session.found(forward) {
        Some(row) => {
            session.select(row);
            scroll_to(app, Session::first_found);
        }
        None if session.search.is_empty() => {}
        None => {
            let text = format!("no prompt and no output has \"{}\"", session.search.text());
            app.notices.add(Level::Info, text);
        }
    }
}

/// Scrolls the outputs of a row to the first of the places that the lanes have.
fn scroll_to(app: &mut App, place: fn(&Session, usize) -> Option<usize>) {
    if app.screen != Screen::Row {
        return;
    }
    let (lanes, page) = (views::row::columns(app), views::row::page(app));
    let Some(session) = &mut app.session else { return };
    session.compare_row();
    session.find_lines(&lanes, usize::MAX);
    let line =
        |(lane, columns): &(usize, usize)| session.line_of(*lane, *columns, place(session, *lane)?);
    let first = lanes.iter().filter_map(line).min().unwrap_or(0);
    // some of what stands before it stays in sight
    session.scroll = if first < page { 0 } else { first - page / 3 };
}

/// What a terminal's clipboard takes: longer sequences are cut or dropped by many.
const MOST_COPIED: usize = 74_000;

fn copy(app: &mut App) -> Vec<Effect> {
    let Some(session) = &app.session else { return Vec::new() };
    let lane = session.recorder.lanes.get(session.lane);
    let row = lane.and_then(|lane| lane.pass()?.rows.get(session.row));
    let (Some(lane), Some(row)) = (lane, row.filter(|row| !row.text.is_empty())) else {
        app.notices.add(Level::Info, "there is no output to copy yet");
        return Vec::new();
    };
    if row.text.len() > MOST_COPIED {
        let size = crate::units::bytes(row.text.len() as u64);
        app.notices.add(
            Level::Warning,
            format!("the output has {size}, more than a terminal's clipboard takes: export it"),
        );
        return Vec::new();
    }
    let (label, text) = (lane.spec.label.clone(), row.text.clone());
    app.notices.add(Level::Info, format!("the output of {label} was sent to the clipboard"));
    vec![Effect::Copy(text)]
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
    let lanes = if in_row { views::row::columns(app) } else { Vec::new() };
    let Some(session) = &mut app.session else { return };
    if in_row {
        // a huge text is not wrapped to its end for the sake of the next page
        let wanted =
            if action == Action::Last { usize::MAX } else { session.scroll + 2 * page + 1 };
        let lines = session.find_lines(&lanes, wanted);
        session.scroll = scrolled(session.scroll, action, page, lines.saturating_sub(page));
        return;
    }
    let last = session.shown_rows().saturating_sub(1);
    match action {
        // the end is where the newest row will be
        Action::Last if session.running() && session.filter == Filter::All => session.follow(),
        action => session.select_place(scrolled(session.place(), action, page, last)),
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
        Place::Field
        | Place::Sizes
        | Place::Export
        | Place::Search
        | Place::Quitting
        | Place::Deleting => Vec::new(),
        Place::HelpSearch => super::overlay::act(app, action),
        Place::Setup
        | Place::Picker
        | Place::Run
        | Place::Row
        | Place::Sweep
        | Place::History
        | Place::Palette
        | Place::Help
        | Place::Themes
        | Place::Reading
        | Place::Notices => act_anywhere(app, action),
    }
}

fn click(app: &mut App, at: Position) -> Vec<Effect> {
    if let Some(action) = views::footer_at(app, at) {
        return act_anywhere(app, action);
    }
    match app.place() {
        Place::Setup => match views::setup::field_at(app, at) {
            Some(field) => {
                app.form.focus = field;
                return act_anywhere(app, Action::Activate);
            }
            None => return Vec::new(),
        },
        Place::Run => return click_run(app, at),
        Place::Sweep => {
            let place = views::sweep::point_at(app, at);
            let sweep = app.session.as_mut().and_then(|session| session.sweep.as_mut());
            if let Some((sweep, place)) = sweep.zip(place) {
                sweep.choose(place);
            }
        }
        Place::Palette => {
            let found = views::palette::entry_at(app, at);
            if let (Some(Overlay::Palette(palette)), Some(found)) = (&mut app.overlay, found) {
                palette.selected = found;
                return act_anywhere(app, Action::Accept);
            }
        }
        Place::Picker => {
            let entry = views::picker::entry_at(app, at);
            if let (Some(Overlay::Picker(picker)), Some(entry)) = (&mut app.overlay, entry) {
                picker.selected = entry;
                return act_anywhere(app, Action::Activate);
            }
        }
        Place::Themes => {
            if let Some(theme) = views::themes::theme_at(app, at) {
                if app.theme == theme {
                    return act_anywhere(app, Action::Accept);
                }
                app.theme = theme;
            }
        }
        Place::History => {
            if let Some(run) = views::history::run_at(app, at) {
                if app.history.selected == run {
                    return act_anywhere(app, Action::Activate);
                }
                app.history.selected = run;
            }
        }
        Place::Row => {
            let lane = views::row::lane_at(app, at);
            if let (Some(session), Some(lane)) = (&mut app.session, lane) {
                session.lane = lane;
            }
        }
        Place::Field
        | Place::Sizes
        | Place::Search
        | Place::Export
        | Place::Help
        | Place::HelpSearch
        | Place::Notices
        | Place::Reading
        | Place::Deleting
        | Place::Quitting => {}
    }
    Vec::new()
}

fn click_run(app: &mut App, at: Position) -> Vec<Effect> {
    let lane = views::run::lane_at(app, at);
    let row = views::run::row_at(app, at);
    let Some(session) = &mut app.session else { return Vec::new() };
    match (lane, row) {
        (Some(lane), _) => session.lane = lane,
        (None, Some(row)) if session.row == row => return act_anywhere(app, Action::Activate),
        (None, Some(row)) => session.select(row),
        (None, None) => {}
    }
    Vec::new()
}
