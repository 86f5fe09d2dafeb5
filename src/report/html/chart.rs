//! Charts as inline SVG: bars, ranges and lines. They know figures and colours, not reports.
//!
//! A chart has a place of 420 units across whatever the screen; its texts are as wide as its
//! figures, so that it reads on a phone as on a desk.

mod bars;
mod lines;
mod scale;

pub(super) use bars::{Bar, Range, bars, ranges};
pub(super) use lines::{LineChart, Series, lines};
pub(super) use scale::Scale;

use super::markup::Html;

/// Width of every chart, in its own units.
const WIDTH: f64 = 420.0;

/// Colours there are; further series begin again with the first.
const COLOURS: usize = 8;

const FILLS: [&str; COLOURS] = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"];
const STROKES: [&str; COLOURS] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// Class that fills with the colour of a series.
pub(super) fn fill(series: usize) -> &'static str {
    FILLS[series % COLOURS]
}

/// Class that draws lines in the colour of a series.
fn stroke(series: usize) -> &'static str {
    STROKES[series % COLOURS]
}

/// Opens a card with a heading and what it shows in a line.
pub(super) fn open_card(html: &mut Html, title: &str, note: &str) {
    html.raw("\n<section class=\"card\">");
    html.element("h3", &[], title);
    html.classed("p", "note", note);
}

pub(super) fn close_card(html: &mut Html) {
    html.raw("</section>");
}

/// Opens the drawing; `told` is what it shows for those who cannot see it.
fn open_svg(html: &mut Html, height: f64, told: &str) {
    let view = format!("0 0 {WIDTH} {}", round(height));
    html.open("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &told)]);
}

/// A text in the drawing.
fn label(html: &mut Html, (x, y): (f64, f64), anchor: &str, class: &str, text: &str) {
    let at: [(&'static str, &dyn std::fmt::Display); 4] =
        [("x", &round(x)), ("y", &round(y)), ("text-anchor", &anchor), ("class", &class)];
    html.element("text", &at, text);
}

fn line(html: &mut Html, class: &str, from: (f64, f64), to: (f64, f64)) {
    html.empty(
        "line",
        &[
            ("class", &class),
            ("x1", &round(from.0)),
            ("y1", &round(from.1)),
            ("x2", &round(to.0)),
            ("y2", &round(to.1)),
        ],
    );
}

fn circle(html: &mut Html, class: &str, (x, y): (f64, f64), radius: f64) {
    html.empty(
        "circle",
        &[("class", &class), ("cx", &round(x)), ("cy", &round(y)), ("r", &round(radius))],
    );
}

/// Places do not need more than a tenth of a unit.
fn round(place: f64) -> f64 {
    if place.is_finite() { (place * 10.0).round() / 10.0 } else { 0.0 }
}
