//! Series as lines over a common axis.

use std::fmt::Write;

use super::scale::{Scale, tick_label};
use super::{WIDTH, circle, fill, label, line, open_svg, round, stroke};
use crate::report::html::markup::Html;

/// Room for the labels of the upright axis, and around the drawing.
const LEFT: f64 = 54.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const HEIGHT: f64 = 170.0;

/// Lines over a common axis.
pub(in crate::report::html) struct LineChart<'a> {
    /// What it shows, for those who cannot see it.
    pub told: &'a str,
    /// The series, drawn in this order.
    pub series: Vec<Series>,
    /// Across.
    pub x: Scale,
    /// Upright.
    pub y: Scale,
    /// Formats a figure of the axis across.
    pub x_format: fn(f64) -> String,
    /// Formats a figure of the upright axis.
    pub y_format: fn(f64) -> String,
    /// Labels at these places across in place of the scale's ticks.
    pub x_ticks: Option<Vec<(f64, String)>>,
}

/// One line.
pub(in crate::report::html) struct Series {
    /// Which one, for its colour.
    pub series: usize,
    /// (across, upright).
    pub points: Vec<(f64, f64)>,
    /// Whether each point is a dot too.
    pub dots: bool,
    /// The point that gets a ring.
    pub ring: Option<(f64, f64)>,
}

/// Draws the lines.
pub(in crate::report::html) fn lines(html: &mut Html, chart: &LineChart<'_>) {
    open_svg(html, TOP + HEIGHT + 24.0, chart.told);
    let place = |(x, y): (f64, f64)| {
        let across = LEFT + chart.x.place(x) * (WIDTH - LEFT - RIGHT);
        (across, TOP + (1.0 - chart.y.place(y)) * HEIGHT)
    };
    axes(html, chart, &place);
    for series in &chart.series {
        let class = format!("line {}", stroke(series.series));
        let path = path(&series.points, &place);
        html.empty("path", &[("class", &class), ("d", &path)]);
        if series.dots {
            for point in &series.points {
                circle(html, fill(series.series), place(*point), 4.0);
            }
        }
        if let Some(point) = series.ring {
            circle(html, "knee", place(point), 8.0);
        }
    }
    html.close("svg");
}

fn axes(html: &mut Html, chart: &LineChart<'_>, place: &impl Fn((f64, f64)) -> (f64, f64)) {
    for tick in chart.y.ticks() {
        let (_, y) = place((0.0, tick));
        line(html, "grid", (LEFT, y), (WIDTH - RIGHT, y));
        let text = tick_label(&(chart.y_format)(tick));
        label(html, (LEFT - 6.0, y + 4.0), "end", "soft small", &text);
    }
    let ticks = match &chart.x_ticks {
        Some(ticks) => ticks.clone(),
        None => chart.x.ticks().iter().map(|tick| (*tick, (chart.x_format)(*tick))).collect(),
    };
    let last = ticks.len().saturating_sub(1);
    for (at, (tick, text)) in ticks.iter().enumerate() {
        let (x, _) = place((*tick, 0.0));
        let anchor = if at == last && x > WIDTH - 16.0 { "end" } else { "middle" };
        let x = if anchor == "end" { WIDTH - 2.0 } else { x };
        label(html, (x, TOP + HEIGHT + 18.0), anchor, "soft small", &tick_label(text));
    }
    line(html, "axis", (LEFT, TOP + HEIGHT), (WIDTH - RIGHT, TOP + HEIGHT));
}

fn path(points: &[(f64, f64)], place: &impl Fn((f64, f64)) -> (f64, f64)) -> String {
    let mut path = String::new();
    for (at, point) in points.iter().enumerate() {
        let (x, y) = place(*point);
        let letter = if at == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{} {}", round(x), round(y));
    }
    path
}
