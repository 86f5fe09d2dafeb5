//! A comparison of reports as a page of its own.

use super::markup::Html;
use crate::report::compare::{Compared, Comparison};

/// The comparison as a page.
pub(in crate::report) fn comparison(of: &Comparison) -> String {
    super::page("Comparison of reports", |html| {
        html.classed("p", "kicker", "batchgen comparison");
        html.element("h1", &[], "Comparison of reports");
        html.raw("<section class=\"card\"><dl>");
        for head in &of.heads {
            html.element("dt", &[], &head.letter);
            html.element("dd", &[], &head.about);
        }
        html.raw("</dl></section>");
        html.raw("\n<h2>What changed in how they were made</h2>\n");
        if of.changed.is_empty() {
            html.classed("p", "note", "nothing: the same plan on the same machine");
        }
        lines(html, "reasons", &of.changed);
        for lane in &of.lanes {
            html.element("h2", &[], &lane.label);
            lines(html, "reasons", &lane.changed);
            table(lane, html);
            lines(html, "reasons", &lane.method);
            lines(html, "reasons", &lane.outputs);
        }
    })
}

fn lines(html: &mut Html, class: &'static str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    html.open("ul", &[("class", &class)]);
    lines.iter().for_each(|line| html.element("li", &[], line));
    html.raw("</ul>\n");
}

fn table(lane: &Compared, html: &mut Html) {
    if lane.figures.is_empty() {
        return;
    }
    html.raw("<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th></th>");
    lane.letters.iter().for_each(|letter| html.element("th", &[], letter));
    for letter in lane.letters.iter().skip(1) {
        html.element("th", &[], &format!("{letter}/{}", lane.letters[0]));
        html.raw("<th>shown</th>");
    }
    html.raw("</tr></thead>\n<tbody>");
    for row in &lane.figures {
        html.raw("<tr>");
        html.element("th", &[("scope", &"row")], row.name);
        row.values.iter().for_each(|value| html.element("td", &[], value));
        for ratio in &row.ratios {
            html.element("td", &[], &ratio.factor);
            let class = match ratio.better {
                Some(true) => "better",
                Some(false) => "worse",
                None => "soft",
            };
            let shown = ratio.shown.as_deref().unwrap_or("no interval");
            html.classed("td", class, shown);
        }
        html.raw("</tr>\n");
    }
    html.raw("</tbody></table></div>\n");
}
