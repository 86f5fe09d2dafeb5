//! Changes of the History screen, and of the question before deleting.

use std::path::Path;

use super::scrolled;
use crate::tui::app::{App, Effect, Overlay, Purpose, Reading, Reply, Screen};
use crate::tui::form::Finding;
use crate::tui::keymap::Action;
use crate::tui::notices::Level;
use crate::tui::session::Session;
use crate::tui::views;

/// Opens the screen and asks for the list anew.
pub(super) fn open(app: &mut App) -> Vec<Effect> {
    if app.screen != Screen::History {
        app.history.from = app.screen;
    }
    app.screen = Screen::History;
    vec![Effect::ListRuns]
}

/// From a run: opens the screen with that run marked.
pub(super) fn compare_with(app: &mut App) -> Vec<Effect> {
    if let Some(session) = &app.session
        && !app.history.marked.contains(&session.folder)
    {
        app.history.marked.push(session.folder.clone());
    }
    open(app)
}

pub(super) fn act(app: &mut App, action: Action) -> Vec<Effect> {
    if let Some(Overlay::Deleting(folders)) = &app.overlay {
        let folders = folders.clone();
        app.overlay = None;
        return match action {
            Action::Confirm => folders.into_iter().map(Effect::DeleteRun).collect(),
            _ => Vec::new(),
        };
    }
    let page = views::history::page(app);
    let running = app.conditions().running;
    let history = &mut app.history;
    match action {
        Action::Back => app.screen = history.from,
        Action::Mark => {
            history.mark();
            history.selected = scrolled(history.selected, Action::Down, page, last(history));
            return look_on(app);
        }
        Action::Compare => return compare(app),
        Action::Delete => {
            let marked = history.marked.clone();
            let folders = match marked.is_empty() {
                true => history.run().map(|run| run.folder.clone()).into_iter().collect(),
                false => marked,
            };
            if !folders.is_empty() {
                app.overlay = Some(Overlay::Deleting(folders));
            }
        }
        Action::Activate | Action::Replay if running => app.notices.add(
            Level::Warning,
            "a run is under way, and there is one on the screen at a time: stop it first",
        ),
        Action::Activate => return read(app, Purpose::Open),
        Action::Replay => return read(app, Purpose::Replay),
        action => {
            history.selected = scrolled(history.selected, action, page, last(history));
            return look_on(app);
        }
    }
    Vec::new()
}

fn last(history: &crate::tui::history::History) -> usize {
    history.runs.len().saturating_sub(1)
}

fn read(app: &App, purpose: Purpose) -> Vec<Effect> {
    let folder = app.history.run().map(|run| run.folder.clone());
    folder.map(|folder| Effect::ReadRun(folder, purpose)).into_iter().collect()
}

/// The marked runs, the oldest first; with only one marked, the one in focus is the other.
fn compare(app: &mut App) -> Vec<Effect> {
    let history = &app.history;
    let mut folders = history.marked.clone();
    if let (1, Some(run)) = (folders.len(), history.run())
        && !history.is_marked(run)
    {
        folders.push(run.folder.clone());
    }
    if folders.len() < 2 {
        let advice = "a comparison needs two runs: mark them with space";
        app.notices.add(Level::Warning, advice);
        return Vec::new();
    }
    folders.sort();
    vec![Effect::CompareRuns(folders)]
}

/// Takes an answer about past runs.
pub(super) fn reply(app: &mut App, reply: Reply) -> Vec<Effect> {
    match reply {
        Reply::Runs(Ok(folders)) => {
            app.history.list(folders);
            return look_on(app);
        }
        Reply::Runs(Err(reason)) => app.history.state = Finding::Failed(reason),
        Reply::PastRun(folder, facts) => {
            app.history.learn(&folder, *facts);
            return look_on(app);
        }
        Reply::Read(purpose, recorded) => match (*recorded, purpose) {
            _ if app.conditions().running => {}
            (Err(reason), _) => app.notices.add(Level::Error, reason),
            (Ok(recorded), Purpose::Replay) => return vec![Effect::Play(Box::new(recorded))],
            (Ok(recorded), Purpose::Open) => {
                app.session = Some(Session::of_past(recorded));
                app.screen = app.run_screen();
                app.overlay = None;
            }
        },
        Reply::Compared(Ok(text)) => {
            let title = "comparison: A is the oldest run".to_owned();
            app.overlay = Some(Overlay::Reading(Reading { title, text, scroll: 0, across: 0 }));
        }
        Reply::Compared(Err(reason)) | Reply::Deleted(_, Err(reason)) => {
            app.notices.add(Level::Error, reason);
        }
        Reply::Deleted(folder, Ok(())) => {
            app.history.forget(&folder);
            return look_on(app);
        }
        _ => {}
    }
    Vec::new()
}

/// Looks at the runs that are in sight, one after another: a folder of thousands of runs costs no
/// more than what is seen of it.
pub(super) fn look_on(app: &mut App) -> Vec<Effect> {
    if app.screen != Screen::History || app.history.looking.is_some() {
        return Vec::new();
    }
    let in_sight = views::history::in_sight(app);
    app.history.looking = app.history.next_unknown(in_sight).map(Path::to_owned);
    app.history.looking.clone().map(Effect::LookAtRun).into_iter().collect()
}
