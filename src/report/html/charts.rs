//! Which charts the page has.

use super::chart::{
    Bar, LineChart, Range, Scale, Series, bars, close_card, fill, lines, open_card, ranges,
};
use super::markup::Html;
use super::{distribution, sweep};
use crate::bench::statistics::{Basis, Spread};
use crate::report::{Lane, Report, Spreads};
use crate::text::shortened;
use crate::units;

/// Most lanes that are drawn.
pub(super) const MOST_LANES: usize = 16;

pub(super) fn section(report: &Report, html: &mut Html) {
    let drawn = drawn(report);
    if drawn.iter().all(|(_, lane)| lane.figures.output_tokens_per_s.is_none()) {
        return;
    }
    html.raw("\n<h2>Charts</h2>\n");
    if report.lanes.len() > MOST_LANES {
        let note = format!("the first {MOST_LANES} of {} lanes are drawn", report.lanes.len());
        html.classed("p", "note", &note);
    }
    html.raw("<div class=\"cards\">");
    sweep::cards(report, html);
    throughput(&drawn, html);
    ttft(&drawn, html);
    distribution::cards(&drawn, html);
    throughput_over_time(&drawn, html);
    memory_over_time(&drawn, html);
    html.raw("</div>\n");
}

/// The lanes that are drawn, each with its place, which is its colour.
fn drawn(report: &Report) -> Vec<(usize, &Lane)> {
    report.lanes.iter().enumerate().take(MOST_LANES).collect()
}

/// The ends of a figure's interval, where there are repeats.
fn interval(lane: &Lane, read: fn(&Spreads) -> Option<Spread>) -> Option<(f64, f64)> {
    lane.spread.as_ref().and_then(read).map(|spread| (spread.low, spread.high))
}

/// What the whiskers are, where there are some.
fn whiskers(lanes: &[(usize, &Lane)]) -> &'static str {
    let mut spreads = lanes.iter().filter_map(|(_, lane)| lane.spread?.output_tokens_per_s);
    match spreads.next().map(|spread| spread.basis) {
        None => "",
        Some(Basis::Bootstrap95 | Basis::Rank95) => {
            "; whiskers: 95 % interval of the median of the repeats"
        }
        Some(Basis::Range) => "; whiskers: smallest to largest of the repeats",
    }
}

fn throughput(lanes: &[(usize, &Lane)], html: &mut Html) {
    let bar = |(place, lane): &(usize, &Lane)| {
        let value = lane.figures.output_tokens_per_s?;
        let told = units::estimated(lane.figures.estimated(), units::throughput(value));
        let name = lane.label.clone();
        let interval = interval(lane, |spread| spread.output_tokens_per_s);
        Some(Bar { series: *place, name, value, told, interval })
    };
    let all: Vec<Bar> = lanes.iter().filter_map(bar).collect();
    let note = format!("output tokens per second, higher is better{}", whiskers(lanes));
    open_card(html, "Throughput by lane", &note);
    bars(html, "throughput by lane", &all);
    close_card(html);
}

fn ttft(lanes: &[(usize, &Lane)], html: &mut Html) {
    let range = |(place, lane): &(usize, &Lane)| {
        let of = lane.figures.ttft_s?;
        let told = format!("{} · {}", units::duration(of.p50), units::duration(of.p95));
        let name = lane.label.clone();
        let interval = interval(lane, |spread| spread.ttft_p50_s);
        Some(Range { series: *place, name, from: of.p50, to: of.p95, told, interval })
    };
    let all: Vec<Range> = lanes.iter().filter_map(range).collect();
    if all.is_empty() {
        return;
    }
    let whiskers = whiskers(lanes);
    let note = format!("until the first text: median (dot) to 95th percentile{whiskers}");
    open_card(html, "TTFT by lane", &note);
    ranges(html, "time to first token by lane", &all, units::duration);
    close_card(html);
}

fn throughput_over_time(lanes: &[(usize, &Lane)], html: &mut Html) {
    let points = |lane: &Lane| {
        let over_time = lane.over_time.as_ref();
        over_time.map(|of| of.output_tokens_per_s.clone()).unwrap_or_default()
    };
    over_time(lanes, html, points, ("Throughput over time", "output tokens per second"), |rate| {
        units::rate(rate, "")
    });
}

fn memory_over_time(lanes: &[(usize, &Lane)], html: &mut Html) {
    let points = |lane: &Lane| {
        let over_time = lane.over_time.as_ref();
        let points = over_time.map(|of| of.memory_bytes.clone()).unwrap_or_default();
        points.into_iter().map(|(at, bytes)| (at, bytes as f64)).collect()
    };
    over_time(
        lanes,
        html,
        points,
        ("Memory over time", "of the GPUs, else of the process"),
        |of| units::bytes(of as u64),
    );
}

fn over_time(
    lanes: &[(usize, &Lane)],
    html: &mut Html,
    points: impl Fn(&Lane) -> Vec<(f64, f64)>,
    (title, what): (&str, &str),
    format: fn(f64) -> String,
) {
    let series = |(place, lane): &(usize, &Lane)| {
        let points = points(lane);
        let kept = points.len() > 1;
        kept.then_some(Series { series: *place, points, dots: false, ring: None })
    };
    let series: Vec<Series> = lanes.iter().filter_map(series).collect();
    let across = Scale::linear(series.iter().flat_map(|of| &of.points).map(|point| point.0), 5);
    let upright = Scale::linear(series.iter().flat_map(|of| &of.points).map(|point| point.1), 4);
    let Some((x, y)) = across.zip(upright) else { return };
    open_card(html, title, &format!("{what}; every lane counts from its own start"));
    let told = title;
    let (x_format, y_format) = (units::duration as fn(f64) -> String, format);
    lines(html, &LineChart { told, series, x, y, x_format, y_format, x_ticks: None });
    legend(lanes, html);
    close_card(html);
}

/// The names of the lanes beside their colours.
pub(super) fn legend(lanes: &[(usize, &Lane)], html: &mut Html) {
    html.raw("<ul class=\"legend\">");
    for (place, lane) in lanes {
        html.raw("<li>");
        html.empty("i", &[("class", &fill(*place))]);
        html.text(&shortened(&lane.label, 60));
        html.raw("</li>");
    }
    html.raw("</ul>");
}
