//! Two reports side by side.

use batchgen::report::compare;

use super::run::{Told, eventful};

#[test]
fn what_changed_is_listed_with_figures_and_outputs() {
    let prompts = ["Name a river", "Name a hill", "Name a town"];
    let mut a = Told::new(&["sequential", "async:2"], &prompts);
    a.pass(0, 0, &["The Nile", "The Ben", "Rome"]);
    a.pass(1, 0, &["The Nile", "The Ben", "Rome"]);
    let mut b = Told::new(&["sequential", "batched:2"], &prompts);
    b.plan.sampling.max_tokens = 128;
    b.info.model = "SmolLM2-360M-Instruct".into();
    b.pace = 4;
    b.pass(0, 0, &["The Rhine runs north", "The Ben", "Oslo"]);
    let (mut a, mut b) = (a.report(), b.report());
    b.run.id = "later".into();
    b.run.host.cores = Some(4);
    a.run.host.gpus.clear();
    insta::assert_snapshot!(compare(&a, &b));
}

#[test]
fn a_report_compared_with_itself_has_no_changes() {
    let report = eventful().report();
    let text = compare(&report, &report);
    assert!(!text.contains("changed"), "{text}");
    assert!(text.contains("outputs: 3 of 3 the same"), "{text}");
    assert!(text.contains("1.00×"), "{text}");
}

#[test]
fn rows_are_matched_by_id_when_the_list_was_reordered() {
    let mut a = Told::new(&["sequential"], &["one", "two"]);
    a.pass(0, 0, &["1", "2"]);
    let mut report = a.report();
    report.lanes[0].rows.reverse();
    assert!(compare(&a.report(), &report).contains("outputs: 2 of 2 the same"));
}

#[test]
fn rows_with_another_prompt_are_not_compared() {
    let mut a = Told::new(&["sequential"], &["one", "two"]);
    a.pass(0, 0, &["1", "2"]);
    let mut b = Told::new(&["sequential"], &["one", "three"]);
    b.pass(0, 0, &["1", "3"]);
    let text = compare(&a.report(), &b.report());
    assert!(text.contains("outputs: 1 of 1 the same"), "{text}");
    assert!(text.contains("rows that are not done in both, or have another prompt: 1"), "{text}");
}

#[test]
fn rows_whose_ids_are_not_unique_are_matched_by_place() {
    let mut a = Told::new(&["sequential"], &["one", "two"]);
    for place in 0..2 {
        let mut prompt = (*a.list.prompts[place]).clone();
        prompt.id = "same".into();
        a.list.prompts[place] = prompt.into();
    }
    a.pass(0, 0, &["1", "2"]);
    assert!(compare(&a.report(), &a.report()).contains("outputs: 2 of 2 the same"));
}

#[test]
fn nothing_in_a_hostile_report_steers_the_terminal() {
    let hostile = "\u{1b}]0;x\u{7}\u{202e}\r\n";
    let mut a = eventful().report();
    let mut b = a.clone();
    for lane in &mut b.lanes {
        lane.model = hostile.into();
        lane.rows.iter_mut().for_each(|row| row.text = Some(hostile.into()));
        lane.details[0].name = hostile.into();
    }
    for (report, name) in [(&mut a, "a"), (&mut b, "b")] {
        report.run.id = format!("{hostile}{name}");
        report.run.plan = serde_json::json!({ "name": hostile, hostile: name });
        report.lanes[0].label = hostile.into();
        report.lanes[0].rows.iter_mut().for_each(|row| row.id.push_str(hostile));
    }
    b.lanes[1].label = format!("{hostile}only");
    let text = compare(&a, &b);
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(steers), "{text:?}");
    assert!(text.contains("only in A") && text.contains("only in B"), "{text}");
}
