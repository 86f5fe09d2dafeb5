//! Two reports side by side.

use batchgen::report::{Form, Report};

use super::run::{Told, eventful};

/// Two reports compared, for a terminal.
fn compare(a: &Report, b: &Report) -> String {
    batchgen::report::compare(&[a.clone(), b.clone()]).render(Form::Text)
}

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

/// A run of this many repeats whose tokens come at these paces, milliseconds.
fn paced(paces: &[u64]) -> Report {
    let mut told = Told::new(&["sequential"], &["a", "b"]).repeats(paces.len());
    for (repeat, pace) in paces.iter().enumerate() {
        told.pace = *pace;
        told.pass(0, repeat, &["one two three", "four five six"]);
    }
    told.report()
}

#[test]
fn with_repeats_a_difference_is_shown_or_it_is_said_that_none_is() {
    let before = paced(&[100, 101, 99, 100, 102, 98, 100, 101, 99, 100]);
    let slower = paced(&[105, 106, 104, 105, 107, 103, 105, 106, 104, 105]);
    let same = paced(&[101, 100, 99, 98, 102, 100, 100, 99, 101, 100]);
    let text = compare(&before, &slower);
    let throughput = text.lines().find(|line| line.contains("throughput")).unwrap();
    assert!(throughput.ends_with(": less") && throughput.contains("0.95"), "{text}");
    let text = compare(&before, &same);
    let throughput = text.lines().find(|line| line.contains("throughput")).unwrap();
    assert!(throughput.ends_with("no difference shown"), "{text}");
    let exact = paced(&[1000, 1001, 999, 1000, 1002, 1001, 1000, 999, 1001, 1000]);
    let same = paced(&[1002, 1003, 1001, 1002, 1004, 1003, 1002, 1001, 1003, 1002]);
    let text = compare(&exact, &same);
    let throughput = text.lines().find(|line| line.contains("throughput")).unwrap();
    assert!(throughput.ends_with("the same within 1 %"), "{text}");
    let text = compare(&paced(&[100, 101]), &paced(&[105, 106]));
    assert!(text.contains("too few repeats to tell"), "{text}");
}

/// Its passes begin at these moments, milliseconds, and take half a second.
fn timed(mut report: Report, starts: impl Iterator<Item = i64>) -> Report {
    for (pass, at) in report.lanes[0].repeats.iter_mut().zip(starts) {
        pass.started_at = Some(jiff::Timestamp::from_millisecond(at).unwrap());
        pass.ended_at = Some(jiff::Timestamp::from_millisecond(at + 500).unwrap());
    }
    report
}

#[test]
fn passes_in_turns_are_compared_pair_by_pair() {
    // the machine's speed wanders by a third, the second run takes 5 % longer than the first
    let before = paced(&[100, 120, 140, 100, 120, 140, 100, 120, 140, 100]);
    let after = paced(&[105, 126, 147, 105, 126, 147, 106, 126, 147, 105]);
    let before = timed(before, (0..).map(|pass| 1000 * pass));
    let in_turns = timed(after.clone(), (0..).map(|pass| 1000 * pass + 500));
    let text = compare(&before, &in_turns);
    let throughput = text.lines().find(|line| line.contains("throughput")).unwrap();
    assert!(throughput.ends_with(": less") && throughput.contains("0.952×"), "{text}");
    let told = "run in turns: ratios of 10 pairs of passes";
    assert!(text.contains(told), "{text}");
    let compared = batchgen::report::compare(&[before.clone(), in_turns.clone()]);
    assert!(compared.render(Form::Markdown).contains(&format!("- {told}")));
    assert!(compared.render(Form::Html).contains(&format!("<li>{told}</li>")));

    // a pair without a figure is none of that figure's, and five are too few
    let mut without = in_turns.clone();
    without.lanes[0].repeats[3].figures.itl_s = None;
    let itl = |text: &str| text.lines().find(|line| line.contains("ITL")).unwrap().to_owned();
    assert!(itl(&compare(&before, &without)).ends_with(": more"));
    without.lanes[0].repeats[..5].iter_mut().for_each(|pass| pass.figures.itl_s = None);
    assert!(itl(&compare(&before, &without)).ends_with("too few repeats to tell"));

    let at_once = timed(after.clone(), (0..).map(|pass| 1000 * pass + 400));
    let one_after_another = timed(after.clone(), (0..).map(|pass| 1000 * pass + 20_000));
    let mut backwards = in_turns.clone();
    backwards.lanes[0].repeats[4].ended_at = Some(jiff::Timestamp::MIN);
    let mut twice = in_turns.clone();
    twice.lanes[0].repeats.iter_mut().for_each(|pass| pass.repeat = 0);
    for other in [after, at_once, one_after_another, backwards, twice] {
        let text = compare(&before, &other);
        let throughput = text.lines().find(|line| line.contains("throughput")).unwrap();
        assert!(throughput.ends_with("no difference shown"), "{text}");
        assert!(!text.contains("in turns"), "{text}");
    }
}

#[test]
fn several_reports_are_compared_with_the_first() {
    let reports = [paced(&[100]), paced(&[50]), paced(&[200])];
    let compared = batchgen::report::compare(&reports);
    let text = compared.render(Form::Text);
    assert!(text.contains("B/A") && text.contains("C/A"), "{text}");
    assert!(text.contains("2.00×") && text.contains("0.500×"), "{text}");
    let markdown = compared.render(Form::Markdown);
    assert!(markdown.contains("| throughput |"), "{markdown}");
    let page = compared.render(Form::Html);
    assert!(page.contains("<th scope=\"row\">throughput</th>"), "{page}");
}

#[test]
fn another_plan_and_another_machine_are_named_first() {
    let before = paced(&[100]);
    let mut after = before.clone();
    after.run.host.cores = Some(64);
    after.run.plan["sampling"]["max_tokens"] = 7.into();
    let text = compare(&before, &after);
    let work = text.find("not the same work").unwrap();
    let machine = text.find("not the same machine").unwrap();
    assert!(work < machine && machine < text.find("host.cores").unwrap(), "{text}");
}
