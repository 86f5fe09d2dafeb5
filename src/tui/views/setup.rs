//! What will run.
//!
//! ```text
//! ┌ what will run ─────────────────────────────┐
//! │ a sentence, the lanes, whether it can start │
//! ├ settings ──────────┬ prompts ──────────────┤
//! │ field    value     │ what belongs to the   │
//! │ [ run ]            │ field in focus; in a  │
//! │                    │ high window the rest  │
//! └────────────────────┴───────────────────────┘
//! ```

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{counted, panel, sampling, wrapped};
use crate::config::{LaneSpec, Mode};
use crate::prompts::PromptList;
use crate::provider::ProviderSpec;
use crate::tui::app::App;
use crate::tui::form::{Field, Finding, Form, Kind, ModelFacts, PromptTokens};
use crate::tui::text;
use crate::tui::theme::Theme;
use crate::units;

/// Columns of the field names.
const NAMES: usize = 12;

struct Places {
    summary: Rect,
    fields: Rect,
    details: Rect,
}

fn places(area: Rect) -> Places {
    let [summary, below] = Layout::vertical([Constraint::Length(5), Constraint::Fill(1)])
        .spacing(Spacing::Overlap(1))
        .areas(area);
    let [fields, details] = Layout::horizontal([Constraint::Fill(11), Constraint::Fill(9)])
        .spacing(Spacing::Overlap(1))
        .areas(below);
    Places { summary, fields, details }
}

/// Draws the screen.
pub fn render(frame: &mut Frame, area: Rect, app: &App) {
    let theme = app.theme();
    let places = places(area);
    render_summary(frame, places.summary, &app.form, theme);
    render_fields(frame, places.fields, &app.form, theme);
    render_details(frame, places.details, &app.form, theme);
}

/// The field under a position.
pub fn field_at(app: &App, at: Position) -> Option<Field> {
    let fields = places(super::parts(app)?.body).fields;
    let inner = panel("", app.theme()).inner(fields);
    let top = first_visible(&app.form, inner.height);
    let line = inner.contains(at).then(|| usize::from(at.y - inner.y))?;
    app.form.fields().get(top + line).copied()
}

fn render_summary(frame: &mut Frame, area: Rect, form: &Form, theme: &Theme) {
    let block = panel(" what will run ", theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let columns = usize::from(inner.width).saturating_sub(2);
    let (state, style) = readiness(form, theme);
    let line =
        |text: &str, style: Style| Line::styled(format!(" {}", text::fit(text, columns)), style);
    let lines = vec![
        line(&subject(form), theme.roles.text),
        line(&manner(form, columns), theme.roles.text),
        line(&state, style),
    ];
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Which prompts, on which model.
fn subject(form: &Form) -> String {
    let provider = form.provider();
    let prompts = match &form.prompts {
        Finding::Known(list) => {
            format!("{} from {}", counted(list.prompts.len(), "prompt"), list.name)
        }
        Finding::Asked => format!("{} (loading …)", form.query().source),
        Finding::Failed(_) => form.query().source.clone(),
    };
    format!(
        "{prompts}, on {} {}",
        provider.provider,
        text::fit_end(super::model_name(&provider.model), 40)
    )
}

/// Which lanes, and how tokens are chosen.
fn manner(form: &Form, columns: usize) -> String {
    let Ok(plan) = form.plan() else {
        let lanes = form.lanes().map(|lanes| labels(&lanes)).unwrap_or_default();
        return lanes;
    };
    let mut facts = vec![
        labels(&plan.lanes),
        format!("{} a row", counted(plan.sampling.max_tokens, "token")),
        sampling(&plan),
    ];
    if plan.repeats > 1 {
        facts.push(format!("{} times", plan.repeats));
    }
    if plan.sampling.ignore_eos {
        facts.push("past end of text".to_owned());
    }
    if plan.raw {
        facts.push("raw".to_owned());
    }
    let shown = text::pieces(facts.iter().map(String::as_str), " · ", columns);
    if shown.is_empty() { facts.swap_remove(0) } else { shown }
}

fn labels(lanes: &[LaneSpec]) -> String {
    let labels: Vec<&str> = lanes.iter().map(|lane| lane.label.as_str()).collect();
    labels.join(" → ")
}

/// Whether it can start, and the key that starts it.
fn readiness(form: &Form, theme: &Theme) -> (String, Style) {
    let roles = &theme.roles;
    if let Some((field, reason)) = form.first_error() {
        return (format!("✗ {}: {reason}", field.name()), roles.bad);
    }
    let Finding::Known(prompts) = &form.prompts else {
        return ("… the prompts are being loaded".to_owned(), roles.muted);
    };
    if prompts.prompts.is_empty() {
        return ("! the list holds no prompt: there is nothing to run".to_owned(), roles.warn);
    }
    let key = if form.focus == Field::Run { "enter" } else { "r" };
    match &form.model {
        Finding::Failed(reason) => (format!("! {reason}"), roles.warn),
        Finding::Known(facts) if !facts.here => {
            (format!("✓ ready: {key} fetches the model and starts the run"), roles.good)
        }
        Finding::Known(_) | Finding::Asked => {
            (format!("✓ ready: {key} starts the run"), roles.good)
        }
    }
}

fn first_visible(form: &Form, height: u16) -> usize {
    let focus = form.fields().iter().position(|field| *field == form.focus).unwrap_or(0);
    let height = usize::from(height).max(1);
    (focus + 1).saturating_sub(height)
}

fn render_fields(frame: &mut Frame, area: Rect, form: &Form, theme: &Theme) {
    let block = panel(" settings ", theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let top = first_visible(form, inner.height);
    let visible = form.fields().into_iter().skip(top).take(usize::from(inner.height));
    for (y, field) in (inner.y..).zip(visible) {
        render_field(frame, Rect { y, height: 1, ..inner }, field, form, theme);
    }
}

fn render_field(frame: &mut Frame, area: Rect, field: Field, form: &Form, theme: &Theme) {
    let focused = form.focus == field;
    let start = if focused { "› " } else { "  " };
    if field == Field::Run {
        let style = if focused { theme.roles.selected } else { theme.roles.accent };
        let line = Line::from(vec![
            Span::styled(start, theme.roles.accent),
            Span::styled("[ run ]", style),
            Span::styled("  enter, or r anywhere", theme.roles.muted),
        ]);
        frame.render_widget(line, area);
        return;
    }
    let columns = usize::from(area.width).saturating_sub(2 + NAMES);
    let name_style = if focused { theme.roles.accent } else { theme.roles.muted };
    let mut spans = vec![
        Span::styled(start, theme.roles.accent),
        Span::styled(text::column(field.name(), NAMES), name_style),
    ];
    let editing = form.editing.as_ref().filter(|_| focused);
    if let Some(editing) = editing {
        let (shown, cursor) = editing.input.view(columns);
        let column = u16::try_from(2 + NAMES + cursor).unwrap_or(0);
        frame.set_cursor_position(Position { x: area.x.saturating_add(column), y: area.y });
        spans.push(Span::styled(text::column(&shown, columns), theme.roles.selected));
    } else {
        spans.extend(value_spans(field, form, columns, theme));
    }
    frame.render_widget(Line::from(spans), area);
}

/// The value, and where it is wrong the reason, or as much as fits of it.
fn value_spans(field: Field, form: &Form, columns: usize, theme: &Theme) -> Vec<Span<'static>> {
    let focused = form.focus == field;
    let value = form.value(field);
    let error = form.error(field);
    let (text, style) = match (&error, value.is_empty()) {
        (None, true) => ("–".to_owned(), theme.roles.muted),
        (None, false) if focused && field.kind() == Kind::Choice => {
            (format!("‹ {value} ›"), theme.roles.selected)
        }
        (None, false) if focused => (value, theme.roles.selected),
        (None, false) => (value, theme.roles.text),
        (Some(_), _) => (value, theme.roles.bad),
    };
    // of a path, the end says most
    let is_path = matches!(field, Field::Prompts | Field::Model);
    let fit = if is_path { text::fit_end } else { text::fit };
    let Some(reason) = error else {
        return vec![Span::styled(fit(&text, columns), style)];
    };
    let value = fit(&text, columns.saturating_sub(2));
    let room = columns.saturating_sub(text::width(&value) + 3);
    let beside = if room >= 8 { text::fit(&format!(" {reason}"), room) } else { String::new() };
    vec![Span::styled(value, style), Span::styled(format!(" ✗{beside}"), theme.roles.bad)]
}

/// What a panel beside the form tells about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Prompts,
    Model,
    Lanes,
}

impl Topic {
    const ALL: [Topic; 3] = [Topic::Prompts, Topic::Model, Topic::Lanes];

    /// The one that belongs to a field.
    fn of(field: Field) -> Self {
        match field {
            field if is_about_model(field) => Topic::Model,
            Field::Lanes | Field::BatchSize | Field::Repeats => Topic::Lanes,
            _ => Topic::Prompts,
        }
    }
}

/// From this height on all topics are told about, that of the field in focus first.
const ROOMY: u16 = 30;

/// The most lines of a topic that is not in focus, borders included.
const MOST_BESIDE: u16 = 11;

fn render_details(frame: &mut Frame, area: Rect, form: &Form, theme: &Theme) {
    let topic = Topic::of(form.focus);
    let others: Vec<Topic> = Topic::ALL.into_iter().filter(|other| *other != topic).collect();
    let others = if area.height < ROOMY { Vec::new() } else { others };
    let width = area.width.saturating_sub(4);
    let height = |topic: &Topic| {
        let lines = topic_lines(*topic, form, width, usize::from(MOST_BESIDE) - 2, theme).len();
        Constraint::Length(u16::try_from(lines + 2).unwrap_or(MOST_BESIDE).clamp(3, MOST_BESIDE))
    };
    let heights = std::iter::once(Constraint::Fill(1)).chain(others.iter().map(height));
    let areas = Layout::vertical(heights).spacing(Spacing::Overlap(1)).split(area);
    let topics = std::iter::once(topic).chain(others);
    for (place, (topic, area)) in topics.zip(areas.iter()).enumerate() {
        render_topic(frame, *area, (topic, place == 0), form, theme);
    }
}

fn render_topic(
    frame: &mut Frame,
    area: Rect,
    (topic, focused): (Topic, bool),
    form: &Form,
    theme: &Theme,
) {
    let block = panel(format!(" {} ", topic_title(topic, form)), theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let mut lines = if focused { about_field(form, inner, theme) } else { Vec::new() };
    let room = usize::from(inner.height).saturating_sub(lines.len());
    lines.extend(topic_lines(topic, form, inner.width, room, theme));
    lines.truncate(usize::from(inner.height));
    frame.render_widget(Paragraph::new(lines), inner);
}

fn topic_lines<'a>(
    topic: Topic,
    form: &Form,
    columns: u16,
    room: usize,
    theme: &Theme,
) -> Vec<Line<'a>> {
    match topic {
        Topic::Prompts => prompt_lines(form, columns, room, theme),
        Topic::Lanes => lane_lines(form, columns, theme),
        Topic::Model => {
            let mut lines = model_lines(form, columns, theme);
            let room = room.saturating_sub(lines.len());
            lines.extend(listed_models(form, columns, room, theme));
            lines
        }
    }
}

/// Whether the panel beside the field tells about the provider and its model.
fn is_about_model(field: Field) -> bool {
    use Field::{
        Address, Headers, KeyFrom, Model, Provider, Python, RequestsPerMinute, TokensPerMinute,
    };
    matches!(
        field,
        Provider
            | Address
            | KeyFrom
            | Headers
            | Python
            | Model
            | RequestsPerMinute
            | TokensPerMinute
    )
}

fn topic_title(topic: Topic, form: &Form) -> String {
    match (topic, &form.prompts) {
        (Topic::Model, _) => "model".to_owned(),
        (Topic::Lanes, _) => "lanes".to_owned(),
        (Topic::Prompts, Finding::Known(list)) => list_title(list, form.counts()),
        (Topic::Prompts, Finding::Asked | Finding::Failed(_)) => "prompts".to_owned(),
    }
}

/// How many prompts, and of how many tokens.
fn list_title(list: &PromptList, counts: Option<&PromptTokens>) -> String {
    let prompts = counted(list.prompts.len(), "prompt");
    let Some(counts) = counts.filter(|counts| !counts.rows.is_empty()) else { return prompts };
    let (counted_rows, rows) = (counts.rows.len(), list.prompts.len());
    // the mean of the counted prompts stands for the others
    let total = counts.total() * rows / counted_rows;
    let tokens = units::estimated(counted_rows < rows, counted(total, "token"));
    format!("{prompts}, {tokens}")
}

/// What the field in focus means, and what is wrong with it.
fn about_field<'a>(form: &Form, area: Rect, theme: &Theme) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    if form.focus != Field::Run {
        lines.extend(wrapped(form.focus.help(), area.width, 8, theme.roles.muted));
    }
    if let Some(reason) = form.error(form.focus) {
        lines.extend(wrapped(&format!("✗ {reason}"), area.width, 8, theme.roles.bad));
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

fn model_lines<'a>(form: &Form, columns: u16, theme: &Theme) -> Vec<Line<'a>> {
    let roles = &theme.roles;
    match &form.model {
        Finding::Asked => vec![Line::styled("… looking", roles.muted)],
        Finding::Failed(reason) => wrapped(&format!("! {reason}"), columns, 10, roles.warn),
        Finding::Known(ModelFacts { lines, .. }) => {
            lines.iter().flat_map(|line| wrapped(line, columns, 4, roles.text)).collect()
        }
    }
}

/// The models that the provider lists, around the one that is chosen.
fn listed_models<'a>(form: &Form, columns: u16, room: usize, theme: &Theme) -> Vec<Line<'a>> {
    let roles = &theme.roles;
    if form.models.is_empty() || room < 3 {
        return Vec::new();
    }
    let total = form.models.len();
    let chosen = form.models.iter().position(|model| model.name == form.provider().model);
    let rows = (room - 2).min(total);
    let top = chosen.unwrap_or(0).saturating_sub(rows / 2).min(total - rows);
    let title = match total > rows {
        true => format!("{} of {} listed, ← → choose:", rows, counted(total, "model")),
        false => format!("{} listed, ← → choose:", counted(total, "model")),
    };
    let shown = form.models.iter().enumerate().skip(top).take(rows).map(|(place, model)| {
        let is_chosen = chosen == Some(place);
        let mark = if is_chosen { "› " } else { "  " };
        let style = if is_chosen { roles.accent } else { roles.text };
        let facts = model.facts.join(", ");
        let room = usize::from(columns).saturating_sub(2);
        let text =
            if facts.is_empty() { model.name.clone() } else { format!("{}  {facts}", model.name) };
        Line::styled(format!("{mark}{}", text::fit(&text, room)), style)
    });
    let title = Line::styled(text::fit(&title, columns.into()), roles.muted);
    [Line::default(), title].into_iter().chain(shown).collect()
}

fn lane_lines<'a>(form: &Form, columns: u16, theme: &Theme) -> Vec<Line<'a>> {
    let Ok(lanes) = form.lanes() else { return Vec::new() };
    let rows = form.prompts.known().map(|list| list.prompts.len());
    let mut lines = Vec::new();
    for (place, lane) in lanes.iter().enumerate() {
        let name = format!("{} {}", place + 1, lane.label);
        lines.push(Line::styled(text::fit(&name, columns.into()), theme.lane(place)));
        lines.extend(wrapped(&what_lane_does(lane.mode, rows), columns, 3, theme.roles.text));
        if let Some(own) = &lane.provider {
            lines.extend(wrapped(&on_provider(own), columns, 2, theme.roles.muted));
        }
    }
    lines
}

/// Where a lane runs that has a provider of its own.
fn on_provider(own: &ProviderSpec) -> String {
    let model = if own.model.is_empty() { "its first model" } else { &own.model };
    let at = own.base_url.as_deref().map(|url| format!(" at {url}")).unwrap_or_default();
    format!("on {} {model}{at}", own.provider)
}

/// How a mode splits the list.
fn what_lane_does(mode: Mode, rows: Option<usize>) -> String {
    let rows_of = |per: usize| match rows {
        Some(rows) => {
            format!("{} of {}", counted(rows.div_ceil(per.max(1)), "call"), counted(per, "row"))
        }
        None => format!("calls of {}", counted(per, "row")),
    };
    let all = rows.map_or("all rows".to_owned(), |rows| counted(rows, "row"));
    match mode {
        Mode::Sequential => format!("{}, one at a time", rows_of(1)),
        Mode::Async { in_flight } => format!("{}, {in_flight} at once", rows_of(1)),
        Mode::Batched { batch_size } => {
            format!("1 call of {all}, {batch_size} generated at a time")
        }
        Mode::BatchedAsync { batch_size, in_flight } => {
            let rows = rows_of(mode.rows_per_call(rows.unwrap_or(0)));
            format!("{rows}, {in_flight} at once, each generating {batch_size} at a time")
        }
        Mode::Offline => format!("1 batch job of {all}, in the provider's own time"),
    }
}

/// The first rows of the list.
fn prompt_lines<'a>(form: &Form, columns: u16, room: usize, theme: &Theme) -> Vec<Line<'a>> {
    let roles = &theme.roles;
    match &form.prompts {
        Finding::Asked => vec![Line::styled("… loading", roles.muted)],
        // the reason already stands above where the list is in focus
        Finding::Failed(_) if form.focus == Field::Prompts => Vec::new(),
        Finding::Failed(reason) => wrapped(&format!("✗ {reason}"), columns, room, roles.bad),
        Finding::Known(list) => preview(list, form.counts(), columns, room, theme),
    }
}

/// A line for each of the first prompts: its number, its tokens where they are known, its text.
fn preview<'a>(
    list: &PromptList,
    counts: Option<&PromptTokens>,
    columns: u16,
    room: usize,
    theme: &Theme,
) -> Vec<Line<'a>> {
    let total = list.prompts.len();
    let shown = if total > room { room.saturating_sub(1) } else { total };
    let digits = shown.to_string().len().max(2);
    let tokens = |row: usize| match counts.and_then(|counts| counts.rows.get(row)) {
        Some(Some(tokens)) => format!("{tokens} tok"),
        Some(None) => "✗".to_owned(),
        None => String::new(),
    };
    let widest = (0..shown).map(|row| text::width(&tokens(row))).max().unwrap_or(0);
    let gap = if widest == 0 { 0 } else { 2 };
    let width = usize::from(columns).saturating_sub(digits + 2 + widest + gap);
    let rows = list.prompts.iter().take(shown).map(|prompt| {
        Line::from(vec![
            Span::styled(format!("{:>digits$}  ", prompt.index + 1), theme.roles.muted),
            Span::raw(text::column(prompt.content.display(), width)),
            Span::styled(
                format!("{:gap$}{:>widest$}", "", tokens(prompt.index)),
                theme.roles.muted,
            ),
        ])
    });
    let more = (total > shown)
        .then(|| Line::styled(format!("and {} more", total - shown), theme.roles.muted));
    rows.chain(more).collect()
}
