//! Changes of the Sweep screen, and of the sizes of a sweep that is to start.

use super::setup;
use crate::bench::sweep;
use crate::tui::app::{App, Effect, Overlay, Screen};
use crate::tui::form::Field;
use crate::tui::input::TextInput;
use crate::tui::keymap::Action;
use crate::tui::notices::Level;

/// Shows the sweep that there is, or asks for the sizes of a new one.
pub(super) fn open(app: &mut App) -> Vec<Effect> {
    if app.screen == Screen::Run && app.conditions().is_sweep {
        app.screen = Screen::Sweep;
        return Vec::new();
    }
    if app.conditions().running {
        return Vec::new();
    }
    let sizes = match app.session.as_ref().filter(|session| session.sweep.is_some()) {
        Some(session) => {
            session.plan.lanes.iter().filter_map(|lane| lane.mode.batch_size()).collect()
        }
        None => sweep::DEFAULT_SIZES.to_vec(),
    };
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    app.overlay = Some(Overlay::Sizes(TextInput::new(sizes.join(","))));
    Vec::new()
}

/// A key in the sizes.
pub(super) fn edit(app: &mut App, action: Action) -> Vec<Effect> {
    let Some(Overlay::Sizes(input)) = &mut app.overlay else { return Vec::new() };
    match action {
        Action::Accept => {}
        Action::Discard => {
            app.overlay = None;
            return Vec::new();
        }
        action => {
            input.edit(action);
            return Vec::new();
        }
    }
    // what is wrong stands below the sizes
    let Ok(sizes) = sweep::parse_sizes(input.text()) else { return Vec::new() };
    app.overlay = None;
    setup::start_with(app, |plan| sweep::plan(plan, &sizes))
}

/// A key on the screen.
pub(super) fn act(app: &mut App, action: Action) -> Vec<Effect> {
    match action {
        Action::Stop | Action::Export | Action::Compare => return super::run::act(app, action),
        Action::Back => app.screen = Screen::Setup,
        Action::ShowLanes => app.screen = Screen::Run,
        Action::Activate => take(app),
        action => {
            let sweep = app.session.as_mut().and_then(|session| session.sweep.as_mut());
            let Some(sweep) = sweep else { return Vec::new() };
            match action {
                Action::Less => sweep.step(false),
                Action::More => sweep.step(true),
                Action::NextLimit => sweep.next_limit(),
                Action::RaiseLimit | Action::Up => sweep.move_limit(true),
                Action::LowerLimit | Action::Down => sweep.move_limit(false),
                _ => {}
            }
        }
    }
    Vec::new()
}

/// Takes the chosen size to Setup.
fn take(app: &mut App) {
    let sweep = app.session.as_ref().and_then(|session| session.sweep.as_ref());
    let Some(size) = sweep.and_then(|sweep| sweep.size()) else { return };
    app.form.take_batch_size(size);
    app.form.focus = Field::Run;
    app.screen = Screen::Setup;
    app.notices.add(Level::Info, format!("batch size {size} was taken from the sweep"));
}
