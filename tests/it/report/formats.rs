//! CSV and Markdown: how they look, and that no text breaks them.

use batchgen::report::{Format, Report};
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::run::{Told, eventful};

fn render(format: Format, report: &Report) -> String {
    String::from_utf8(format.render(report).unwrap()).unwrap()
}

#[test]
fn csv_of_an_eventful_run() {
    let csv = render(Format::Csv, &eventful().report());
    insta::assert_snapshot!(csv.replace('\u{1b}', "<ESC>"));
}

#[test]
fn markdown_of_an_eventful_run() {
    insta::assert_snapshot!(render(Format::Markdown, &eventful().report()));
}

#[test]
fn markdown_of_a_verified_run() {
    let mut told = Told::new(&["sequential", "batched:2"], &["a", "b"]);
    told.pass(0, 0, &["one two", "three four"]);
    told.start(1, 0);
    told.submit(0);
    told.submit(1);
    told.output(0, "one two");
    told.output(1, "three four");
    told.end(None);
    insta::assert_snapshot!(render(Format::Markdown, &told.report()));
}

#[test]
fn json_keeps_the_names_of_the_contract() {
    let text = render(Format::Json, &eventful().report());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let lane = value["lanes"][1].as_object().unwrap();
    for name in [
        "label",
        "provider",
        "model",
        "model_sha256",
        "device",
        "mode",
        "batch_size",
        "in_flight",
        "batching",
        "rows_total",
        "rows_ok",
        "rows_failed",
        "prompt_tokens",
        "output_tokens",
        "token_counts",
        "wall_s",
        "output_tokens_per_s",
        "rows_per_s",
        "speedup",
        "ttft_s",
        "itl_s",
        "e2e_s",
        "mean_rows_per_step",
        "occupancy",
        "peak_memory_bytes",
        "memory_source",
        "integrity",
        "agreement",
        "rows",
    ] {
        assert!(lane.contains_key(name), "{name}");
    }
    assert_eq!(value["schema"], "batchgen-report/1");
    assert_eq!(value["run"]["started_at"], "2026-11-23T18:00:38Z");
}

#[test]
fn estimates_and_unknown_figures_are_marked_as_such() {
    let mut told = Told::new(&["async:2", "sequential"], &["a"]);
    told.info.token_counts = batchgen::provider::TokenCounts::Estimated;
    told.pass(0, 0, &["one two"]);
    let text = render(Format::Markdown, &told.report());
    assert!(text.contains("| ≈100 tok/s |"), "{text}");
    assert!(text.contains("| sequential | – | – | – |"), "{text}");
}

#[test]
fn markdown_fits_a_comment_whatever_is_in_the_report() {
    let lanes: Vec<String> =
        (0..200).map(|lane| format!("{}{lane}=async:2", "|".repeat(90))).collect();
    let lanes: Vec<&str> = lanes.iter().map(String::as_str).collect();
    let long = "`|<b>@x ".repeat(200);
    let mut told = Told::new(&lanes, &["a", "b"]);
    for lane in 0..lanes.len() {
        told.info.model = format!("{long}{lane}");
        told.start(lane, 0);
        told.submit(0);
        told.output(0, &format!("{lane}{long}"));
        told.fail(1, &long);
        told.end(None);
    }
    let text = render(Format::Markdown, &told.report());
    assert!(text.chars().count() < 65_536, "{}", text.chars().count());
}

/// A run whose every text is this one.
fn filled(text: &str) -> Report {
    let label = "sequential";
    let mut told = Told::new(&[label, "batched:2"], &[text, "b"]);
    let mut prompt = (*told.list.prompts[0]).clone();
    prompt.id = text.into();
    told.list.prompts[0] = prompt.into();
    told.plan.name = text.into();
    told.info.model = text.into();
    told.pass(0, 0, &[&format!("{text}1"), "x"]);
    told.start(1, 0);
    told.submit(0);
    told.submit(1);
    told.output(0, &format!("{text}2"));
    told.fail(1, text);
    told.end(None);
    let mut report = told.report();
    report.lanes[1].label = text.into();
    report
}

/// Takes off the quote that keeps a spreadsheet from running a text.
fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').unwrap_or(cell)
}

/// The cells of a table and everything that is not text, code or structure of ours.
fn parsed(markdown: &str) -> (Vec<Vec<String>>, Vec<String>) {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let (mut rows, mut foreign) = (Vec::new(), Vec::new());
    let mut cell = None;
    for event in Parser::new_ext(markdown, options) {
        match event {
            Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(Vec::new()),
            Event::Start(Tag::TableCell) => cell = Some(String::new()),
            Event::End(TagEnd::TableCell) => rows.last_mut().unwrap().extend(cell.take()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(cell) = &mut cell {
                    cell.push_str(&text);
                }
            }
            Event::InlineHtml(html) if matches!(&*html, "<code>" | "</code>") => {}
            Event::Html(html) if html.contains("details>") => {}
            Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::Emphasis | Tag::Strong)
            | Event::InlineHtml(_)
            | Event::Html(_)
            | Event::Rule
            | Event::HardBreak => foreign.push(format!("{event:?}")),
            _ => {}
        }
    }
    (rows, foreign)
}

/// Text with everything that has a meaning somewhere.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any::<String>(),
        "[-=+@|`*_#<>&\\[\\]()!~$:\"',;\r\n\t \\\\]{0,12}",
        Just("<script>".to_owned()),
        Just("&#124;".to_owned()),
        Just("\\|".to_owned()),
        Just("\u{1b}]0;x\u{7}".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("http://a.b ".to_owned()),
        Just("@me #1 ".to_owned()),
        Just("plain words ".to_owned()),
    ];
    proptest::collection::vec(pieces, 0..5).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn csv_gives_every_text_back_and_no_cell_is_a_formula(text in nasty()) {
        let report = filled(&text);
        let csv = render(Format::Csv, &report);
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let header = reader.headers().unwrap().clone();
        let column = |name| header.iter().position(|header| header == name).unwrap();
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(records.len(), 4);
        for cell in records.iter().flat_map(|record| record.iter()) {
            let first = cell.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
            prop_assert!(!first.starts_with(['=', '+', '-', '@']), "{:?}", cell);
        }
        prop_assert_eq!(unguarded(&records[2][column("lane")]), &text);
        prop_assert_eq!(unguarded(&records[0][column("prompt")]), &text);
        prop_assert_eq!(unguarded(&records[0][column("id")]), &text);
        prop_assert_eq!(unguarded(&records[2][column("text")]), format!("{text}2"));
        prop_assert_eq!(unguarded(&records[3][column("error")]), &text);
    }

    #[test]
    fn no_text_gets_out_of_its_place_in_markdown(text in nasty()) {
        let markdown = render(Format::Markdown, &filled(&text));
        let (rows, foreign) = parsed(&markdown);
        prop_assert!(foreign.is_empty(), "{:?} in\n{}", foreign, markdown);
        prop_assert_eq!(rows.len(), 3, "{}", &markdown);
        prop_assert!(rows.iter().all(|row| row.len() == 11), "{:?}", rows);
        let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        prop_assert!(!markdown.contains(steers));
        if text.chars().count() <= 60 && !text.chars().any(|c| c.is_control() || !c.is_ascii()) {
            let shown = if text.trim().is_empty() { "(blank)" } else { &text };
            prop_assert_eq!(&rows[2][0], shown, "{}", markdown);
        }
    }
}
