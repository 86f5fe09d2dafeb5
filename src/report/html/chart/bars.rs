//! One line a series: a bar from nothing to its figure, or a range from one figure to another.

use super::{Scale, WIDTH, circle, fill, label, line, open_svg, round, stroke};
use crate::report::html::markup::Html;
use crate::text::shortened;

/// Height of a series: its name above, its bar below.
const ROW: f64 = 42.0;
/// Longest name, in characters.
const MOST_NAME: usize = 30;

/// A figure of a series.
pub(in crate::report::html) struct Bar {
    /// Which series, for its colour.
    pub series: usize,
    /// Its name.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// The figure formatted.
    pub told: String,
    /// The ends of its interval.
    pub interval: Option<(f64, f64)>,
}

/// Two figures of a series, such as median and tail.
pub(in crate::report::html) struct Range {
    /// Which series, for its colour.
    pub series: usize,
    /// Its name.
    pub name: String,
    /// The figure that is a dot.
    pub from: f64,
    /// The figure that the line reaches to.
    pub to: f64,
    /// Both formatted.
    pub told: String,
    /// The ends of the interval of the first figure.
    pub interval: Option<(f64, f64)>,
}

/// Draws bars from 0; nothing where no figure is positive.
pub(in crate::report::html) fn bars(html: &mut Html, told: &str, bars: &[Bar]) {
    let ends = bars.iter().flat_map(|bar| [Some(bar.value), bar.interval.map(|(_, high)| high)]);
    let Some(scale) = Scale::linear(ends.flatten(), 4) else { return };
    open_svg(html, ROW * bars.len() as f64, told);
    for (place, bar) in bars.iter().enumerate() {
        let top = place as f64 * ROW;
        names(html, top, &bar.name, &bar.told);
        rectangle(html, "track", top, WIDTH);
        rectangle(html, fill(bar.series), top, scale.place(bar.value) * WIDTH);
        whisker(html, top, scale, bar.interval);
    }
    html.close("svg");
}

/// Draws ranges on one axis, which is in powers of ten where the figures lie far apart.
pub(in crate::report::html) fn ranges(
    html: &mut Html,
    told: &str,
    ranges: &[Range],
    format: fn(f64) -> String,
) {
    let all: Vec<f64> = ranges.iter().flat_map(|range| [range.from, range.to]).collect();
    let Some(scale) = Scale::fitting(&all, 4) else { return };
    let bottom = ROW * ranges.len() as f64;
    open_svg(html, bottom + 22.0, told);
    // room for half a dot at both ends
    let x = |value| 6.0 + scale.place(value) * (WIDTH - 12.0);
    let ticks = scale.ticks();
    for (place, tick) in ticks.iter().enumerate() {
        line(html, "grid", (x(*tick), 0.0), (x(*tick), bottom));
        let anchor = match place {
            0 => "start",
            last if last + 1 == ticks.len() => "end",
            _ => "middle",
        };
        let text = super::scale::tick_label(&format(*tick));
        label(html, (x(*tick), bottom + 16.0), anchor, "soft small", &text);
    }
    for (place, range) in ranges.iter().enumerate() {
        let top = place as f64 * ROW;
        names(html, top, &range.name, &range.told);
        let middle = top + 27.0;
        let class = format!("range {}", stroke(range.series));
        line(html, &class, (x(range.from), middle), (x(range.to), middle));
        circle(html, fill(range.series), (x(range.to), middle), 3.0);
        circle(html, fill(range.series), (x(range.from), middle), 5.5);
        if let Some((low, high)) = range.interval {
            interval(html, (x(low), x(high)), middle);
        }
    }
    html.close("svg");
}

/// The name to the left and the figure to the right, above the bar.
fn names(html: &mut Html, top: f64, name: &str, told: &str) {
    label(html, (0.0, top + 13.0), "start", "", &shortened(name, MOST_NAME));
    label(html, (WIDTH, top + 13.0), "end", "value", told);
}

fn rectangle(html: &mut Html, class: &str, top: f64, width: f64) {
    html.empty(
        "rect",
        &[
            ("class", &class),
            ("x", &0),
            ("y", &round(top + 20.0)),
            ("width", &round(width)),
            ("height", &13),
            ("rx", &3),
        ],
    );
}

fn whisker(html: &mut Html, top: f64, scale: Scale, ends: Option<(f64, f64)>) {
    let Some((low, high)) = ends else { return };
    interval(html, (scale.place(low) * WIDTH, scale.place(high) * WIDTH), top + 26.5);
}

fn interval(html: &mut Html, (low, high): (f64, f64), middle: f64) {
    line(html, "whisker", (low, middle), (high, middle));
    line(html, "whisker", (low, middle - 4.0), (low, middle + 4.0));
    line(html, "whisker", (high, middle - 4.0), (high, middle + 4.0));
}
