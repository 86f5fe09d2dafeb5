//! The report as CSV: a header, then a row of the file for every row of every lane, RFC 4180.
//!
//! Spreadsheets run a cell that begins with `=`, `+`, `-` or `@` as a formula, also after
//! blanks, and prompts and outputs are not to be trusted. So a text cell whose first visible
//! character is one of these (or its full-width form) gets a `'` in front, as does one that
//! begins with `'` itself. To read a text back, take one leading `'` off. Numbers are never
//! touched. Control characters stay as they are: this is data, not a screen.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Lane, Report, Row};

/// The columns. The first six are of the lane, the others of the row.
const HEADER: [&str; 22] = [
    "lane",
    "provider",
    "model",
    "mode",
    "batch_size",
    "in_flight",
    "index",
    "id",
    "prompt",
    "text",
    "prompt_tokens",
    "output_tokens",
    "finish_reason",
    "submitted_s",
    "ttft_s",
    "e2e_s",
    "agreement",
    "error",
    "error_kind",
    "retries",
    "held_s",
    "cost_usd",
];

/// The report as CSV, UTF-8.
pub(super) fn render(report: &Report) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for lane in &report.lanes {
        let judged = judged(lane);
        for row in &lane.rows {
            let record = record(lane, row, &judged);
            writer.write_record(record.iter().map(|cell| cell.as_bytes()))?;
        }
    }
    Ok(writer.into_inner()?)
}

/// What agreement says of the rows that are not the same, by row.
fn judged(lane: &Lane) -> HashMap<usize, &'static str> {
    let found = lane.agreement.iter();
    let diverged = found.clone().flat_map(|found| &found.diverged).map(|at| (at.row, "diverged"));
    let swapped = found.flat_map(|found| &found.swapped).map(|at| (at.row, "swapped"));
    diverged.chain(swapped).collect()
}

fn record<'a>(
    lane: &'a Lane,
    row: &'a Row,
    judged: &HashMap<usize, &'static str>,
) -> [Cow<'a, str>; HEADER.len()] {
    let agreement = match (judged.get(&row.index), &lane.agreement) {
        (Some(word), _) => word,
        (None, Some(_)) if row.is_done() => "same",
        (None, _) => "",
    };
    let optional = |text: &'a Option<String>| text.as_deref().map_or(Cow::Borrowed(""), safe);
    let kind = row.error_kind.and_then(|kind| serde_json::to_value(kind).ok());
    [
        safe(&lane.label),
        safe(&lane.provider),
        safe(&lane.model),
        safe(&lane.mode),
        number(lane.batch_size),
        number(Some(lane.in_flight)),
        number(Some(row.index)),
        safe(&row.id),
        safe(&row.prompt),
        optional(&row.text),
        number(row.prompt_tokens),
        number(row.output_tokens),
        optional(&row.finish_reason),
        number(row.submitted_s),
        number(row.ttft_s),
        number(row.e2e_s),
        agreement.into(),
        optional(&row.error),
        kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().to_owned().into(),
        number(row.submitted_s.map(|_| row.retries.unwrap_or(0))),
        number(row.held_s),
        number(row.cost_usd),
    ]
}

/// A figure with all its digits, or nothing.
fn number(figure: Option<impl ToString>) -> Cow<'static, str> {
    figure.map_or(Cow::Borrowed(""), |figure| figure.to_string().into())
}

/// A text that no spreadsheet takes for a formula.
fn safe(text: &str) -> Cow<'_, str> {
    let blank = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    let formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    if text.starts_with('\'') || text.trim_start_matches(blank).starts_with(formula) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn formulas_are_defused_and_other_text_is_left_alone() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r\n=1", " =1", "＝1", "'quoted"] {
            assert_eq!(safe(text), format!("'{text}"));
        }
        for text in ["", "a=b", "1-2", "it's", "\u{1b}[2J"] {
            assert_eq!(safe(text), text);
        }
    }
}
