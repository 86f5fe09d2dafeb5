//! Batch sizes side by side: throughput with its knee, and what it costs in latency.

use super::chart::{LineChart, Scale, Series, close_card, lines, open_card};
use super::markup::Html;
use crate::report::sweep::{Sweep, knee_words};
use crate::report::{Lane, Report};
use crate::units;

pub(super) fn cards(report: &Report, html: &mut Html) {
    let Some(sweep) = Sweep::of(report) else { return };
    let knee = sweep.knee().map(|(size, _)| size);
    let words = knee_words(report).unwrap_or_default();
    let ringed = if knee.is_some() { ", ringed" } else { "" };
    let about = format!("output tokens per second; {words}{ringed}");
    card(
        html,
        &sweep,
        ("Throughput by batch size", &about),
        knee,
        |lane| lane.figures.output_tokens_per_s,
        |rate| units::rate(rate, ""),
    );
    let about = "95th percentile of the time until a row's first text";
    card(
        html,
        &sweep,
        ("TTFT by batch size", about),
        knee,
        |lane| Some(lane.figures.ttft_s?.p95),
        units::duration,
    );
    let about = "95th percentile of the time until a row is finished";
    card(
        html,
        &sweep,
        ("e2e by batch size", about),
        knee,
        |lane| Some(lane.figures.e2e_s?.p95),
        units::duration,
    );
}

fn card(
    html: &mut Html,
    sweep: &Sweep<'_>,
    (title, note): (&str, &str),
    knee: Option<usize>,
    read: fn(&Lane) -> Option<f64>,
    y_format: fn(f64) -> String,
) {
    // sizes stand side by side in equal steps: they are nearly always powers of two
    let places = sweep.points.iter().enumerate();
    let known = places
        .clone()
        .filter_map(|(place, (size, _, lane))| Some((place as f64 + 0.5, read(lane)?, *size)));
    let known: Vec<(f64, f64, usize)> = known.collect();
    let Some(y) = Scale::linear(known.iter().map(|(_, value, _)| *value), 4) else { return };
    let ring = known.iter().find(|(_, _, size)| Some(*size) == knee).map(|(x, y, _)| (*x, *y));
    let points = known.iter().map(|(x, y, _)| (*x, *y)).collect();
    let ticks = places.map(|(place, (size, _, _))| (place as f64 + 0.5, size.to_string()));
    open_card(html, title, note);
    lines(
        html,
        &LineChart {
            told: title,
            series: vec![Series { series: 0, points, dots: true, ring }],
            x: Scale::Linear { top: sweep.points.len() as f64, step: 1.0 },
            y,
            x_format: |_| String::new(),
            y_format,
            x_ticks: Some(ticks.collect()),
        },
    );
    close_card(html);
}
