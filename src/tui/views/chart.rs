//! A line chart in braille: one line a lane, each marked with its number.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::{Canvas, Context, Line as Stroke};

use crate::tui::text;
use crate::tui::theme::Theme;
use crate::units;

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Series {
    /// The lane's number as it is shown.
    pub label: String,
    /// The lane's style.
    pub style: Style,
    /// (seconds, value), in order of time.
    pub points: Vec<(f64, f64)>,
    /// Moments to mark: (seconds, what happened).
    pub marks: Vec<(f64, String)>,
    /// Signs at places: (x, value, sign).
    pub signs: Vec<(f64, f64, &'static str)>,
}

/// What the axis across shows.
#[derive(Debug, Clone, Default)]
pub enum Across {
    /// Seconds from 0 to the end of the longest line.
    #[default]
    Seconds,
    /// These names at these places.
    Named(Vec<(f64, String)>),
}

/// A chart: lines over seconds, or over named places.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// The lines.
    pub series: Vec<Series>,
    /// A level drawn as a dashed line, with its name.
    pub limit: Option<(f64, String)>,
    /// The axis across.
    pub across: Across,
    /// The top of the value axis, where it is known.
    pub top: Option<f64>,
}

impl Chart {
    /// Both ends of the axis across. Named places keep off the edges.
    fn span(&self) -> (f64, f64) {
        match &self.across {
            Across::Seconds => {
                let ends = self.series.iter().filter_map(|series| series.points.last());
                let end = ends.map(|(at, _)| *at).filter(|at| *at > 0.0).reduce(f64::max);
                (0.0, end.unwrap_or(1.0))
            }
            Across::Named(places) => {
                let first = places.iter().map(|(at, _)| *at).fold(f64::MAX, f64::min);
                let last = places.iter().map(|(at, _)| *at).fold(f64::MIN, f64::max);
                let rim = ((last - first) * 0.06).max(0.1);
                if places.is_empty() { (0.0, 1.0) } else { (first - rim, last + rim) }
            }
        }
    }

    /// The top of the value axis.
    fn top(&self) -> f64 {
        if let Some(top) = self.top {
            return top;
        }
        let values = self.series.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
        let highest = values.fold(0.0, f64::max);
        let limit = self.limit.as_ref().map(|(level, _)| *level);
        // a limit far above everything would flatten the lines
        let limit = limit.filter(|limit| *limit < highest * 4.0).unwrap_or(0.0);
        round_up(highest.max(limit) * 1.05)
    }

    fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }
}

/// The next number of one digit, or of two that end in 5, that is no smaller.
fn round_up(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let unit = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    steps.into_iter().map(|step| step * unit).find(|top| *top >= value).unwrap_or(unit * 10.0)
}

/// A number of an axis: as short as it can be.
fn axis(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Draws a chart; the value axis is labelled with its top, the time axis with its end.
pub fn render(frame: &mut Frame, area: Rect, chart: &Chart, theme: &Theme) {
    if area.height < 2 || area.width < 12 {
        return;
    }
    if chart.is_empty() {
        frame.render_widget(Line::styled(" nothing yet", theme.roles.muted), area);
        return;
    }
    let (top, span) = (chart.top(), chart.span());
    let labels = values(top, area.height - 1);
    let widest = labels.iter().map(|(_, label)| text::width(label)).max().unwrap_or(0);
    let gutter = u16::try_from(widest).unwrap_or(6).min(area.width / 3);
    let [plot_area, time_area] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let [value_area, plot_area] =
        Layout::horizontal([Constraint::Length(gutter), Constraint::Fill(1)]).areas(plot_area);
    render_values(frame, value_area, &labels, theme);
    match &chart.across {
        Across::Seconds => render_times(frame, time_area, gutter, span.1, theme),
        Across::Named(places) => render_names(frame, time_area, gutter, places, span, theme),
    }
    let background = theme.roles.text.bg.unwrap_or(Color::Reset);
    let canvas = Canvas::default()
        .marker(Marker::Braille)
        .background_color(background)
        .x_bounds([span.0, span.1])
        .y_bounds([0.0, top])
        .paint(|context| paint(context, chart, (span, top), plot_area.width, theme));
    frame.render_widget(canvas, plot_area);
}

/// The labels of the value axis with their lines from the top: the top, 0, and between them the half
/// and the quarters where there is room and the label says the value exactly.
fn values(top: f64, height: u16) -> Vec<(u16, String)> {
    let parts = match height {
        0 | 1 => return vec![(0, axis(top))],
        2..6 => 1,
        6..14 => 2,
        14.. => 4,
    };
    let label = |part: u32| {
        let share = f64::from(part) / f64::from(parts);
        let value = top * share;
        let label = if part == 0 { "0".to_owned() } else { axis(value) };
        let exact = label.parse().is_ok_and(|said: f64| (said - value).abs() <= value * 1e-9);
        let line = (1.0 - share) * f64::from(height - 1);
        (exact || part == parts).then(|| (line.round() as u16, label))
    };
    (0..=parts).rev().filter_map(label).collect()
}

fn render_values(frame: &mut Frame, area: Rect, labels: &[(u16, String)], theme: &Theme) {
    let width = usize::from(area.width);
    for (line, label) in labels {
        let place = Rect { y: area.y + line, height: 1, ..area };
        frame.render_widget(Line::styled(format!("{label:>width$}"), theme.roles.muted), place);
    }
}

fn render_times(frame: &mut Frame, area: Rect, gutter: u16, end: f64, theme: &Theme) {
    let [_, area] =
        Layout::horizontal([Constraint::Length(gutter), Constraint::Fill(1)]).areas(area);
    let end = units::duration(end);
    let width = usize::from(area.width).saturating_sub(3);
    let line = Line::styled(format!("0 s{end:>width$}"), theme.roles.muted);
    frame.render_widget(line, area);
}

/// Each name below its place; those that would touch the one before are left out.
fn render_names(
    frame: &mut Frame,
    area: Rect,
    gutter: u16,
    places: &[(f64, String)],
    (start, end): (f64, f64),
    theme: &Theme,
) {
    let room = usize::from(area.width.saturating_sub(gutter));
    let mut line = " ".repeat(usize::from(gutter));
    let mut used = 0;
    for (at, name) in places {
        let width = text::width(name);
        let middle = (at - start) / (end - start) * room.saturating_sub(1) as f64;
        let column = (middle.round() as usize).saturating_sub(width / 2);
        let column = column.min(room.saturating_sub(width));
        if used > 0 && column <= used || column + width > room {
            continue;
        }
        line.push_str(&" ".repeat(column - used));
        line.push_str(name);
        used = column + width;
    }
    frame.render_widget(Line::styled(line, theme.roles.muted), area);
}

fn paint(
    context: &mut Context,
    chart: &Chart,
    size: ((f64, f64), f64),
    columns: u16,
    theme: &Theme,
) {
    let ((start, end), top) = size;
    if let Some((level, name)) = chart.limit.as_ref().filter(|(level, _)| *level <= top) {
        paint_limit(context, *level, name, (start, end), columns, theme);
    }
    for series in &chart.series {
        let color = series.style.fg.unwrap_or(Color::Reset);
        for pair in series.points.windows(2) {
            let ((x1, y1), (x2, y2)) = (pair[0], pair[1]);
            context.draw(&Stroke { x1, y1, x2, y2, color });
        }
    }
    context.layer();
    for series in &chart.series {
        for (at, what) in &series.marks {
            context.draw(&Stroke {
                x1: *at,
                y1: 0.0,
                x2: *at,
                y2: top,
                color: series.style.fg.unwrap_or(Color::Reset),
            });
            context.print(*at, top, Span::styled(what.clone(), series.style));
        }
        for (at, value, sign) in &series.signs {
            context.print(*at, *value, Span::styled(*sign, super::bold(series.style)));
        }
        if let Some((at, value)) = series.points.last().filter(|_| !series.label.is_empty()) {
            // kept off the edge, where it would not be drawn
            let at = at.min(end - (end - start) / f64::from(columns.max(2)));
            context.print(
                at,
                *value,
                Span::styled(series.label.clone(), super::bold(series.style)),
            );
        }
    }
}

fn paint_limit(
    context: &mut Context,
    level: f64,
    name: &str,
    (start, end): (f64, f64),
    columns: u16,
    theme: &Theme,
) {
    let color = theme.roles.warn.fg.unwrap_or(Color::Reset);
    let dashes = u32::from(columns / 2).max(1);
    let step = (end - start) / f64::from(dashes);
    for dash in 0..dashes {
        let x1 = start + f64::from(dash) * step;
        context.draw(&Stroke { x1, y1: level, x2: x1 + step / 2.0, y2: level, color });
    }
    context.print(start, level, Span::styled(name.to_owned(), theme.roles.warn));
}

/// A line of eighth blocks of at most `columns`, scaled to its highest value.
pub fn sparkline(values: &[f64], columns: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = &values[values.len().saturating_sub(columns)..];
    let highest = values.iter().copied().fold(0.0, f64::max);
    if highest <= 0.0 || !highest.is_finite() {
        return String::new();
    }
    let block = |value: &f64| BLOCKS[((value / highest * 7.0).round() as usize).min(7)];
    values.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_axis_ends_at_a_round_number() {
        let tops = [0.0, 0.7, 64.8, 213.0, 999.0, 1e9, f64::NAN].map(round_up);
        assert_eq!(tops[..6], [1.0, 0.8, 80.0, 250.0, 1000.0, 1e9]);
        assert_eq!(tops[6], 1.0);
    }

    #[test]
    fn the_value_axis_names_only_what_its_labels_say_exactly() {
        let shown = |top, height| {
            let labels = values(top, height).into_iter();
            labels.map(|(line, label)| format!("{line}:{label}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(80.0, 1), "0:80");
        assert_eq!(shown(80.0, 4), "0:80 3:0");
        assert_eq!(shown(80.0, 9), "0:80 4:40 8:0");
        assert_eq!(shown(80.0, 17), "0:80 4:60 8:40 12:20 16:0");
        // 0.75 and 37.5 would be rounded
        assert_eq!(shown(1.5, 9), "0:1.5 8:0");
        assert_eq!(shown(150.0, 17), "0:150 8:75 16:0");
    }

    #[test]
    fn a_sparkline_is_scaled_to_its_highest_value() {
        assert_eq!(sparkline(&[0.0, 50.0, 100.0], 10), "▁▅█");
        assert_eq!(sparkline(&[1.0, 0.0, 50.0, 100.0], 2), "▅█");
        assert_eq!(sparkline(&[0.0], 10), "");
        assert_eq!(sparkline(&[f64::NAN, f64::INFINITY], 10), "");
    }
}
