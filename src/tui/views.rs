//! What is drawn: free functions from the state to cells; they change nothing.
//!
//! ```text
//! header                                     ? help
//! screen: setup, run or row
//! the most urgent notice that was not seen, if any
//! keys
//! ```
//!
//! An overlay (help, notices, picker, export, a question) lies over the screen.

pub mod chart;
pub mod deleting;
pub mod export;
pub mod help;
pub mod history;
pub mod notices;
pub mod palette;
pub mod picker;
pub mod quitting;
pub mod reading;
pub mod row;
pub mod run;
pub mod search;
pub mod setup;
pub mod sizes;
pub mod sweep;
pub mod themes;

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Position, Rect, Size};
use ratatui::style::{Modifier, Style};
use ratatui::symbols::merge::MergeStrategy;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::app::{App, Overlay, Screen};
use super::keymap::{Action, Binding};
use super::notices::Level;
use super::session::Session;
use super::text;
use super::theme::Theme;

/// The smallest terminal everything fits in.
pub const SMALLEST: Size = Size { width: 60, height: 16 };

/// The parts of the screen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    header: Rect,
    pub(super) body: Rect,
    notice: Rect,
    footer: Rect,
}

/// Where everything goes; `None` where the terminal is too small.
pub(super) fn parts(app: &App) -> Option<Parts> {
    let area = Rect::new(0, 0, app.size.width, app.size.height);
    if area.width < SMALLEST.width || area.height < SMALLEST.height {
        return None;
    }
    let notice = u16::from(app.notices.most_urgent().is_some());
    let [header, body, notice, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(notice),
        Constraint::Length(1),
    ])
    .areas(area);
    Some(Parts { header, body, notice, footer })
}

/// Draws everything.
pub fn render(frame: &mut Frame, app: &App) {
    let theme = app.theme();
    let whole = frame.area();
    // it changed this very moment: the event that follows draws it
    if whole.as_size() != app.size {
        return;
    }
    frame.buffer_mut().set_style(whole, theme.roles.text);
    let Some(parts) = parts(app) else {
        render_too_small(frame, app.size, theme);
        return;
    };
    render_header(frame, parts.header, app);
    match (app.screen, &app.session) {
        (Screen::Run, Some(session)) => run::render(frame, parts.body, session, app),
        (Screen::Row, Some(session)) => row::render(frame, parts.body, session, theme),
        (Screen::Sweep, Some(session)) => sweep::render(frame, parts.body, session, app),
        (Screen::History, _) => history::render(frame, parts.body, app),
        (Screen::Setup, _) | (_, None) => setup::render(frame, parts.body, app),
    }
    render_notice(frame, parts.notice, app);
    render_footer(frame, parts.footer, app);
    render_overlay(frame, parts.body, app);
}

fn render_overlay(frame: &mut Frame, area: Rect, app: &App) {
    let theme = app.theme();
    match &app.overlay {
        None => {}
        Some(Overlay::Help(view)) => help::render(frame, area, view, &app.keymap, theme),
        Some(Overlay::Palette(palette)) => palette::render(frame, area, palette, app),
        Some(Overlay::Sizes(sizes)) => sizes::render(frame, area, sizes, app),
        Some(Overlay::Notices { scroll }) => {
            notices::render(frame, area, *scroll, &app.notices, theme);
        }
        Some(Overlay::Picker(picker)) => picker::render(frame, area, picker, theme),
        Some(Overlay::Export(form)) => export::render(frame, area, form, theme),
        Some(Overlay::Search(input)) => search::render(frame, area, input, theme),
        Some(Overlay::Themes { .. }) => themes::render(frame, area, app),
        Some(Overlay::Quitting) => quitting::render(frame, area, theme),
        Some(Overlay::Deleting(folders)) => deleting::render(frame, area, folders, theme),
        Some(Overlay::Reading(reading)) => reading::render(frame, area, reading, theme),
    }
}

fn render_too_small(frame: &mut Frame, size: Size, theme: &Theme) {
    let needs = format!(
        "this window is {}×{}; batchgen needs at least {}×{}: make it larger",
        size.width, size.height, SMALLEST.width, SMALLEST.height
    );
    let area = frame.area();
    let lines = text::wrap(&needs, usize::from(area.width), usize::from(area.height));
    let lines = lines.iter().map(plain).collect::<Vec<_>>();
    frame.render_widget(Paragraph::new(lines).style(theme.roles.warn), area);
}

fn render_header(frame: &mut Frame, area: Rect, app: &App) {
    let roles = &app.theme().roles;
    let help = app.keymap.key_of(Action::Help) + " help ";
    let [left, right] = Layout::horizontal([
        Constraint::Fill(1),
        Constraint::Length(u16::try_from(text::width(&help)).unwrap_or(0)),
    ])
    .areas(area);
    let name = " batchgen  ";
    let about = match (&app.session, app.screen) {
        (Some(session), Screen::Run | Screen::Row | Screen::Sweep) => {
            let room = usize::from(left.width).saturating_sub(text::width(name) + 1);
            let facts = run_facts(session);
            text::pieces(facts.iter().map(String::as_str), " · ", room)
        }
        (_, Screen::History) => "past runs".to_owned(),
        (_, Screen::Setup) | (None, _) => "setup".to_owned(),
    };
    let line = Line::from(vec![Span::styled(name, roles.accent), Span::raw(about)]);
    frame.render_widget(line, left);
    frame.render_widget(Line::styled(help, roles.muted), right);
}

/// What runs, the most important first.
fn run_facts(session: &Session) -> Vec<String> {
    let plan = &session.plan;
    let info = session.recorder.lanes.iter().find_map(|lane| lane.info.as_ref());
    let model = match info {
        Some(info) => format!("{} {}", info.provider, model_name(&info.model)),
        None => format!("{} {}", plan.provider.provider, model_name(&plan.provider.model)),
    };
    let mut facts = vec![text::fit(&plan.name, 24), text::fit_end(&model, 44)];
    if let Some(info) = info {
        facts.push(text::fit(&info.device, 20));
    }
    facts.push(counted(session.recorder.rows(), "prompt"));
    facts.push(counted(plan.sampling.max_tokens, "token"));
    facts.push(sampling(plan));
    facts
}

/// A model as it is shown where there is little room: of a path the last part.
pub(super) fn model_name(model: &str) -> &str {
    let is_path = model.starts_with(['/', '.', '~']) || model.contains('\\');
    let last = model.rsplit(['/', '\\']).find(|part| !part.is_empty());
    last.filter(|_| is_path).unwrap_or(model)
}

fn sampling(plan: &crate::config::Plan) -> String {
    if plan.sampling.is_greedy() {
        "greedy".to_owned()
    } else {
        format!("temperature {}", plan.sampling.temperature)
    }
}

/// `1 prompt`, `2 prompts`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn render_notice(frame: &mut Frame, area: Rect, app: &App) {
    let Some(notice) = app.notices.most_urgent() else { return };
    let theme = app.theme();
    let count = app.notices.unseen().count();
    let all = if count > 1 { format!("read all {count}") } else { "read it".to_owned() };
    let hint = format!("  {} {all} ", app.keymap.key_of(Action::Notices));
    let sign = level_sign(notice.level);
    let room = usize::from(area.width).saturating_sub(text::width(&hint) + text::width(sign) + 2);
    let line = Line::from(vec![
        Span::raw(" "),
        Span::styled(sign, level_style(notice.level, theme)),
        Span::raw(" "),
        Span::raw(text::column(&notice.text, room)),
        Span::styled(hint, theme.roles.accent),
    ]);
    frame.render_widget(line, area);
}

pub(super) fn level_sign(level: Level) -> &'static str {
    match level {
        Level::Info => "i",
        Level::Warning => "!",
        Level::Error => "✗",
    }
}

pub(super) fn level_style(level: Level, theme: &Theme) -> Style {
    match level {
        Level::Info => theme.roles.accent,
        Level::Warning => theme.roles.warn,
        Level::Error => theme.roles.bad,
    }
}

fn render_footer(frame: &mut Frame, area: Rect, app: &App) {
    let roles = &app.theme().roles;
    let mut spans = vec![Span::raw(" ")];
    for (name, binding) in footer_bindings(app, usize::from(area.width).saturating_sub(2)) {
        if spans.len() > 1 {
            spans.push(Span::styled(" · ", roles.muted));
        }
        spans.push(Span::styled(name, roles.accent));
        spans.push(Span::styled(format!(" {}", binding.label), roles.text));
    }
    frame.render_widget(Line::from(spans), area);
}

/// What the footer says at a position.
pub fn footer_at(app: &App, at: Position) -> Option<Action> {
    let area = parts(app)?.footer;
    if !area.contains(at) {
        return None;
    }
    let mut start = usize::from(area.x) + 1;
    let at = usize::from(at.x);
    for (name, binding) in footer_bindings(app, usize::from(area.width).saturating_sub(2)) {
        let end = start + text::width(&name) + 1 + text::width(binding.label);
        if (start..end).contains(&at) {
            return Some(binding.action);
        }
        start = end + 3;
    }
    None
}

/// The keys that fit, with their names; help and quitting are always among them.
fn footer_bindings(app: &App, columns: usize) -> Vec<(String, &Binding)> {
    let mut here: Vec<(String, &Binding)> = app
        .keymap
        .here(app.place(), app.conditions())
        .filter(|binding| !binding.label.is_empty())
        .filter_map(|binding| Some((binding.keys.first()?.name(), binding)))
        .collect();
    let width =
        |(name, binding): &(String, &Binding)| text::width(name) + 1 + text::width(binding.label);
    let total = |here: &[(String, &Binding)]| {
        here.iter().map(width).sum::<usize>() + 3 * here.len().saturating_sub(1)
    };
    while total(&here) > columns {
        let lasting = |action| matches!(action, Action::Quit | Action::Help);
        let Some(place) = here.iter().rposition(|(_, binding)| !lasting(binding.action)) else {
            break;
        };
        here.remove(place);
    }
    here
}

/// A panel whose border joins those it touches.
pub(super) fn panel<'a>(title: impl Into<Line<'a>>, theme: &Theme) -> Block<'a> {
    Block::bordered()
        .border_style(theme.roles.border)
        .merge_borders(MergeStrategy::Exact)
        .title(title)
        .title_style(theme.roles.text)
}

/// A window over the screen, as large as asked for where it fits.
pub(super) fn popup_area(area: Rect, width: u16, height: u16) -> Rect {
    // a narrow rim of what lies below would only be in the way
    let width = if area.width < width.saturating_add(8) { area.width } else { width };
    let [area] = Layout::vertical([Constraint::Max(height)]).flex(Flex::Center).areas(area);
    let [area] = Layout::horizontal([Constraint::Max(width)]).flex(Flex::Center).areas(area);
    area
}

/// Clears a window and draws its frame; gives the inside.
pub(super) fn popup(frame: &mut Frame, area: Rect, title: &str, theme: &Theme) -> Rect {
    frame.render_widget(Clear, area);
    frame.buffer_mut().set_style(area, theme.roles.text);
    let block = Block::bordered()
        .border_style(theme.roles.accent)
        .title(Line::styled(format!(" {title} "), theme.roles.accent))
        .padding(ratatui::widgets::Padding::horizontal(1));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// The page and the last scroll position of the help or the notices.
pub(super) fn popup_scroll(app: &App) -> (usize, usize) {
    let Some(parts) = parts(app) else { return (1, 0) };
    let (height, lines) = match &app.overlay {
        Some(Overlay::Help(view)) => help::extent(parts.body, view, &app.keymap),
        Some(Overlay::Reading(reading)) => reading::extent(parts.body, reading),
        Some(Overlay::Notices { .. }) => notices::extent(parts.body, &app.notices),
        Some(
            Overlay::Picker(_)
            | Overlay::Palette(_)
            | Overlay::Sizes(_)
            | Overlay::Export(_)
            | Overlay::Search(_)
            | Overlay::Themes { .. }
            | Overlay::Deleting(_)
            | Overlay::Quitting,
        )
        | None => (1, 0),
    };
    (height, lines.saturating_sub(height))
}

/// A wrapped line as it is drawn.
pub(super) fn plain<'a>(line: &text::WrappedLine<'_>) -> Line<'a> {
    Line::from(line.iter().map(|cluster| cluster.shown.as_ref()).collect::<String>())
}

/// A text wrapped to lines of one style.
pub(super) fn wrapped<'a>(text: &str, columns: u16, most: usize, style: Style) -> Vec<Line<'a>> {
    let lines = text::wrap(text, usize::from(columns), most);
    lines.iter().map(|line| plain(line).style(style)).collect()
}

/// A bold version of a style.
pub(super) fn bold(style: Style) -> Style {
    style.add_modifier(Modifier::BOLD)
}
