//! How latencies are spread: for each lane, the share of rows that were no slower.

use super::chart::{LineChart, Scale, Series, close_card, lines, open_card};
use super::charts::legend;
use super::markup::Html;
use crate::report::{Lane, Row};
use crate::units;

/// Most points of a line.
const MOST_POINTS: usize = 100;
/// Fewest rows whose spread is worth a chart.
const FEWEST_ROWS: usize = 4;

pub(super) fn cards(lanes: &[(usize, &Lane)], html: &mut Html) {
    card(lanes, html, "TTFT distribution", |row| row.ttft_s);
    card(lanes, html, "e2e distribution", |row| row.e2e_s);
}

fn card(lanes: &[(usize, &Lane)], html: &mut Html, title: &str, read: fn(&Row) -> Option<f64>) {
    let spread: Vec<Series> =
        lanes.iter().filter_map(|(place, lane)| series(*place, lane, read)).collect();
    let times: Vec<f64> = spread.iter().flat_map(|of| &of.points).map(|point| point.0).collect();
    let Some(x) = Scale::fitting(&times, 4) else { return };
    let log = if x.is_log() { ", time in powers of ten" } else { "" };
    let note = format!("share of rows that took no longer{log}; further left is better");
    open_card(html, title, &note);
    let y = Scale::Linear { top: 1.0, step: 0.25 };
    let (x_format, y_format) = (units::duration as fn(f64) -> String, share as fn(f64) -> String);
    let told = title;
    lines(html, &LineChart { told, series: spread, x, y, x_format, y_format, x_ticks: None });
    legend(lanes, html);
    close_card(html);
}

fn share(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// The steps of a lane, thinned to a bounded number of points.
fn series(place: usize, lane: &Lane, read: fn(&Row) -> Option<f64>) -> Option<Series> {
    let done = lane.rows.iter().filter(|row| row.is_done());
    let mut times: Vec<f64> = done.filter_map(read).filter(|time| time.is_finite()).collect();
    if times.len() < FEWEST_ROWS {
        return None;
    }
    times.sort_by(f64::total_cmp);
    let last = times.len() - 1;
    let steps = last.min(MOST_POINTS);
    let point = |step: usize| {
        let rank = step * last / steps;
        (times[rank], (rank + 1) as f64 / times.len() as f64)
    };
    let first = (times[0], 0.0);
    let points = std::iter::once(first).chain((0..=steps).map(point)).collect();
    Some(Series { series: place, points, dots: false, ring: None })
}
