//! One row: its prompt, and the outputs of all lanes side by side.
//!
//! ```text
//! ┌ row 4 of 32 ─────────────────────────────────────┐
//! │ the prompt                                       │
//! ├ 1 sequential ──┬ 2 async 8 ─────┬ 3 batched 16 ──┤
//! │ the output     │                │ from the first │
//! │                │                │ difference on  │
//! │                │                │ marked         │
//! │ counts, times  │                │                │
//! └────────────────┴────────────────┴────────────────┘
//! ```

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect, Spacing};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::run::row_sign;
use super::{bold, counted, panel, wrapped};
use crate::bench::recorder::{RowRecord, RowState};
use crate::provider::FinishReason;
use crate::tui::app::App;
use crate::tui::session::{Place, Session, shown_text};
use crate::tui::text::{self, WrappedLine};
use crate::tui::theme::Theme;
use crate::units;

/// The narrowest lane, borders included.
const NARROWEST: u16 = 26;

/// The most places of what is looked for that are marked in one text.
const MOST_FOUND: usize = 10_000;

/// Lines of counts and times below each output.
const FACTS: u16 = 5;

struct Places {
    prompt: Rect,
    /// Lane indices with their areas; those that fit.
    lanes: Vec<(usize, Rect)>,
}

fn places(area: Rect, session: &Session) -> Places {
    let prompt = prompt_text(session);
    let columns = usize::from(area.width.saturating_sub(4));
    let most = usize::from(area.height / 4).max(1);
    let lines = text::wrap(prompt, columns, most).len().max(1);
    let height = u16::try_from(lines).unwrap_or(1) + 2;
    let [prompt, below] = Layout::vertical([Constraint::Length(height), Constraint::Fill(1)])
        .spacing(Spacing::Overlap(1))
        .areas(area);
    let count = session.recorder.lanes.len().max(1);
    let fit = usize::from((area.width / (NARROWEST - 1)).max(1)).min(count);
    let lanes = visible(count, fit, session.lane, session.recorder.reference);
    let areas = Layout::horizontal(vec![Constraint::Fill(1); fit])
        .spacing(Spacing::Overlap(1))
        .split(below);
    Places { prompt, lanes: lanes.into_iter().zip(areas.iter().copied()).collect() }
}

/// The lanes that are shown where only some fit: the reference, which the others are compared
/// with, and those from the one in focus on; where one fits, the one in focus.
fn visible(count: usize, fit: usize, focus: usize, reference: usize) -> Vec<usize> {
    if fit >= count {
        return (0..count).collect();
    }
    if fit == 1 || reference >= count {
        let first = focus.min(count - fit);
        return (first..first + fit).collect();
    }
    let others: Vec<usize> = (0..count).filter(|lane| *lane != reference).collect();
    let focused = others.iter().position(|lane| *lane == focus).unwrap_or(0);
    let first = focused.min(others.len() - (fit - 1));
    let mut lanes = others[first..first + fit - 1].to_vec();
    lanes.push(reference);
    lanes.sort_unstable();
    lanes
}

/// Draws the screen.
pub fn render(frame: &mut Frame, area: Rect, session: &Session, theme: &Theme) {
    let places = places(area, session);
    let hidden = session.recorder.lanes.len().saturating_sub(places.lanes.len());
    render_prompt(frame, places.prompt, session, hidden, theme);
    for (lane, area) in places.lanes {
        render_lane(frame, area, session, lane, theme);
    }
}

/// Lines of output that are visible.
pub fn page(app: &App) -> usize {
    let extent = || {
        let session = app.session.as_ref()?;
        let places = places(super::parts(app)?.body, session);
        places.lanes.first().map(|(_, area)| usize::from(text_area(*area).height))
    };
    extent().unwrap_or(1).max(1)
}

/// The lanes that are visible, with the columns of their outputs.
pub fn columns(app: &App) -> Vec<(usize, usize)> {
    let columns = || {
        let places = places(super::parts(app)?.body, app.session.as_ref()?);
        let lanes = places.lanes.into_iter();
        Some(lanes.map(|(lane, area)| (lane, usize::from(text_area(area).width))).collect())
    };
    columns().unwrap_or_default()
}

/// The lane under a position.
pub fn lane_at(app: &App, at: Position) -> Option<usize> {
    let session = app.session.as_ref()?;
    let places = places(super::parts(app)?.body, session);
    places.lanes.into_iter().find(|(_, area)| area.contains(at)).map(|(lane, _)| lane)
}

fn prompt_text(session: &Session) -> &str {
    session.prompts.prompts.get(session.row).map_or("", |prompt| prompt.content.display())
}

fn record(session: &Session, lane: usize) -> Option<&RowRecord> {
    session.recorder.lanes.get(lane)?.pass()?.rows.get(session.row)
}

fn render_prompt(frame: &mut Frame, area: Rect, session: &Session, hidden: usize, theme: &Theme) {
    let id = session.prompts.prompts.get(session.row).map_or("", |prompt| &prompt.id);
    let id = text::fit(id, usize::from(area.width / 3));
    let title = format!(" row {} of {} · {id} ", session.row + 1, session.recorder.rows());
    let mut block = panel(title, theme);
    if hidden > 0 {
        let more = format!(" {} more: tab ", counted(hidden, "lane"));
        block = block.title_top(Line::styled(more, theme.roles.muted).right_aligned());
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let most = usize::from(inner.height);
    let mut lines = wrapped(prompt_text(session), inner.width, most + 1, theme.roles.text);
    if lines.len() > most {
        lines.truncate(most.saturating_sub(1));
        lines.push(Line::styled("… the prompt goes on", theme.roles.muted));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Where the output is, above the facts.
fn text_area(area: Rect) -> Rect {
    Rect {
        x: area.x.saturating_add(2),
        y: area.y.saturating_add(1),
        width: area.width.saturating_sub(4),
        height: area.height.saturating_sub(2 + FACTS),
    }
}

fn render_lane(frame: &mut Frame, area: Rect, session: &Session, lane: usize, theme: &Theme) {
    let record = record(session, lane);
    let is_reference = lane == session.recorder.reference;
    let (sign, style) = row_sign(record, is_reference, theme);
    let label = &session.recorder.lanes[lane].spec.label;
    let room = usize::from(area.width).saturating_sub(10);
    // what is copied is that of the lane in focus
    let focused = lane == session.lane && session.recorder.lanes.len() > 1;
    let title_style = match focused {
        true => bold(theme.lane(lane)).patch(theme.roles.selected),
        false => bold(theme.lane(lane)),
    };
    let title = Line::from(vec![
        Span::styled(format!(" {} {} ", lane + 1, text::fit(label, room)), title_style),
        Span::styled(format!("{sign} "), style),
    ]);
    frame.render_widget(panel(title, theme), area);
    let Some(record) = record else { return };
    let inside = text_area(area);
    let mark = session.differences.first(lane);
    let columns = usize::from(inside.width);
    let height = usize::from(inside.height);
    let start = session.line_start(lane, columns, session.scroll);
    let rest = start.map(|start| text::wrapped_from(shown_text(record), start, columns));
    let lines: Vec<WrappedLine> =
        rest.into_iter().flatten().take(height).map(|(_, line)| line).collect();
    let marks = Marks {
        first: mark.map(|mark| mark.byte),
        differing: session.differences.of_lane(lane),
        found: session.search.places(&record.text, MOST_FOUND),
    };
    let mut shown: Vec<Line> = lines.iter().map(|line| marked_line(line, &marks, theme)).collect();
    if mark.is_some_and(|mark| mark.byte == record.text.len())
        && lines.len() < height
        && !shown.is_empty()
    {
        // the text ends where the other one goes on
        let end = Span::styled("∎", first_difference_style(theme));
        if let Some(line) = shown.last_mut() {
            line.spans.push(end);
        }
    }
    frame.render_widget(Paragraph::new(shown), inside);
    let below = Rect {
        y: inside.bottom(),
        height: area.bottom().saturating_sub(inside.bottom() + 1),
        ..inside
    };
    frame.render_widget(Paragraph::new(facts(record, mark, below.width, theme)), below);
}

fn first_difference_style(theme: &Theme) -> Style {
    theme.roles.difference.add_modifier(Modifier::REVERSED)
}

/// What is marked in a text.
struct Marks<'a> {
    /// The first difference.
    first: Option<usize>,
    /// Words that the other text does not have.
    differing: &'a [Range<usize>],
    /// Places of what is looked for.
    found: Vec<Range<usize>>,
}

fn within(ranges: &[Range<usize>], at: usize) -> bool {
    let next = ranges.partition_point(|range| range.end <= at);
    ranges.get(next).is_some_and(|range| range.contains(&at))
}

/// A line whose differing words are marked, the first difference most.
fn marked_line(line: &WrappedLine<'_>, marks: &Marks<'_>, theme: &Theme) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    for cluster in line {
        let style = if marks.first == Some(cluster.at) {
            first_difference_style(theme)
        } else if within(&marks.found, cluster.at) {
            theme.roles.selected
        } else if within(marks.differing, cluster.at) {
            theme.roles.difference
        } else {
            theme.roles.text
        };
        match spans.last_mut().filter(|span| span.style == style) {
            Some(span) => span.content.to_mut().push_str(&cluster.shown),
            None => spans.push(Span::styled(cluster.shown.to_string(), style)),
        }
    }
    Line::from(spans)
}

/// Counts, times, how it ended, and where it differs.
fn facts(
    record: &RowRecord,
    mark: Option<Place>,
    columns: u16,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let columns = usize::from(columns);
    let roles = &theme.roles;
    let seconds = |time: Option<std::time::Duration>| {
        units::known(time.map(|time| time.as_secs_f64()), units::duration)
    };
    let prompt = record.usage.prompt_tokens.map(|tokens| format!("prompt {tokens}"));
    let mut figures = vec![counted(record.output_tokens(), "token")];
    figures.extend(prompt);
    figures.push(format!("TTFT {}", seconds(record.ttft())));
    figures.push(format!("e2e {}", seconds(record.e2e())));
    figures.push(format!("ITL {}", seconds(record.itl())));
    let verdict = match (mark, record.same_as_reference) {
        (Some(at), _) => {
            let text = format!("≠ from character {} on", at.characters + 1);
            Line::styled(text::fit(&text, columns), roles.warn)
        }
        (None, Some(true)) => Line::styled("= same as the reference", roles.good),
        (None, Some(false) | None) => Line::default(),
    };
    let figures = text::flow(figures.iter().map(String::as_str), " · ", columns);
    let figures = figures.into_iter().map(|line| Line::styled(line, roles.muted));
    [verdict, ending(record, columns, theme)].into_iter().chain(figures).collect()
}

/// How the row ended, in words.
fn ending(record: &RowRecord, columns: usize, theme: &Theme) -> Line<'static> {
    let roles = &theme.roles;
    let (text, style) = match (record.state, &record.reason, &record.failure) {
        (RowState::Waiting, ..) => ("waiting".to_owned(), roles.muted),
        (RowState::Running, ..) => ("running".to_owned(), roles.accent),
        (RowState::NotRun, ..) => ("not run".to_owned(), roles.muted),
        (RowState::Failed, _, Some(failure)) => (format!("✗ {}", failure.message), roles.bad),
        (RowState::Failed, _, None) => ("✗ failed".to_owned(), roles.bad),
        (RowState::Done, Some(reason), _) => (reason_words(reason), roles.muted),
        (RowState::Done, None, _) => ("ended".to_owned(), roles.muted),
    };
    Line::styled(text::fit(&text, columns), style)
}

fn reason_words(reason: &FinishReason) -> String {
    match reason {
        FinishReason::Stop => "ended by itself".to_owned(),
        FinishReason::Length => "ended at the token limit".to_owned(),
        FinishReason::Filter => "withheld by the provider's filter".to_owned(),
        FinishReason::Tool => "asked for a tool".to_owned(),
        FinishReason::Other(word) => format!("ended: {word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn the_reference_stays_beside_the_lane_in_focus() {
        assert_eq!(visible(4, 4, 3, 0), [0, 1, 2, 3]);
        assert_eq!(visible(4, 3, 0, 0), [0, 1, 2]);
        assert_eq!(visible(4, 3, 3, 0), [0, 2, 3]);
        assert_eq!(visible(5, 2, 3, 1), [1, 3]);
        assert_eq!(visible(5, 2, 1, 1), [0, 1]);
        assert_eq!(visible(4, 1, 2, 0), [2]);
        for (count, fit, focus, reference) in [(6, 3, 5, 2), (6, 2, 0, 5), (3, 2, 2, 9)] {
            let lanes = visible(count, fit, focus, reference);
            assert!(lanes.len() == fit && lanes.contains(&focus), "{lanes:?}");
            assert!(lanes.is_sorted() && lanes.iter().all(|lane| *lane < count), "{lanes:?}");
        }
    }
}
