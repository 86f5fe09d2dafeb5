//! Integrity, canaries, agreement and the verdict.

use batchgen::bench::verify::{
    Divergence, FindingKind, Outcome, Swapped, agreement, canary, integrity,
};
use batchgen::provider::{Event, Failure, FailureKind, FinishReason, Usage};

use super::run::{Told, eventful};

/// What agreement says of a second lane with these outputs.
fn agreed(
    prompts: &[&str],
    reference: &[&str],
    outputs: &[&str],
) -> batchgen::bench::verify::Agreement {
    let mut told = Told::new(&["sequential", "batched:2"], prompts);
    told.pass(0, 0, reference);
    told.pass(1, 0, outputs);
    let passes = [&told.record.lanes[1].passes[0]];
    agreement("sequential", &told.record.lanes[0].passes[0], &passes, &told.list)
}

#[test]
fn a_pass_whose_rows_all_end_once_has_integrity_whatever_their_order() {
    let mut told = Told::new(&["batched:2"], &["a", "b", "c"]);
    told.start(0, 0);
    for row in [0, 1, 2] {
        told.submit(row);
    }
    for (row, text) in [(2, "z"), (0, "x"), (1, "y")] {
        told.output(row, text);
    }
    told.end(None);
    assert!(integrity(&told.record.lanes[0].passes[0]).passed);
    let report = told.report();
    let texts: Vec<_> = report.lanes[0].rows.iter().map(|row| row.text.clone().unwrap()).collect();
    assert_eq!(texts, ["x", "y", "z"], "the report is in the order of the list");
}

#[test]
fn rows_that_end_twice_or_are_no_rows_violate_integrity() {
    let mut told = Told::new(&["sequential"], &["a"]);
    told.start(0, 0);
    told.submit(0);
    told.output(0, "x");
    told.output(0, "x");
    let (usage, reason) = (Usage::default(), FinishReason::Stop);
    told.provider(0, Event::Finished { row: 7, usage, reason });
    told.end(None);
    let found = integrity(&told.record.lanes[0].passes[0]);
    assert!(!found.passed);
    assert_eq!(
        found.violations,
        [
            "row 1 was given tokens after it had ended",
            "row 1 was finished after it had ended",
            "row 8 of 1 was finished: no such row"
        ]
    );
    assert_eq!(told.report().verdict.unwrap().outcome, Outcome::Failed);
}

#[test]
fn rows_missing_from_a_complete_pass_violate_integrity() {
    let mut told = Told::new(&["sequential"], &["a", "b", "c"]);
    told.start(0, 0);
    told.submit(1);
    told.output(1, "y");
    told.end(None);
    let found = integrity(&told.record.lanes[0].passes[0]);
    assert_eq!(found.violations, ["2 of 3 rows never ended: 1, 3"]);
    assert_eq!((found.passed, found.rows_missing), (false, 2));
}

#[test]
fn rows_missing_from_a_pass_that_was_stopped_or_failed_are_told_and_no_violation() {
    for failure in [Failure::cancelled(), Failure::new(FailureKind::Model, "gone")] {
        let mut told = Told::new(&["sequential"], &["a", "b"]);
        told.start(0, 0);
        told.submit(0);
        told.output(0, "x");
        told.end(Some(failure));
        let found = integrity(&told.record.lanes[0].passes[0]);
        assert_eq!((found.passed, found.rows_missing), (true, 1));
    }
}

#[test]
fn canary_words_tell_rows_apart() {
    let mut told = Told::canary(&["sequential"], &["AMBER-17", "basalt", "amber", "cobalt"]);
    let outputs = ["Amber 17!", "I cannot do that", "The word is cobalt.", "Cobalt"];
    told.pass(0, 0, &outputs);
    let found = canary(&told.record.lanes[0].passes[0], &told.list).unwrap();
    assert_eq!((found.checked, found.own), (4, 2));
    assert_eq!(
        found.violations,
        ["the output of row 3 contains the word of row 4 and not its own"]
    );
    let report = told.report();
    assert!(!report.lanes[0].integrity.as_ref().unwrap().passed);
    assert_eq!(report.verdict.unwrap().failures[0].kind, FindingKind::Integrity);
}

#[test]
fn a_word_that_its_own_prompt_contains_or_several_rows_share_is_no_mix_up() {
    let mut told = Told::canary(&["sequential"], &["red", "red", "blue"]);
    let text = "Repeat blue, not red".to_owned();
    let mut prompt = (*told.list.prompts[2]).clone();
    prompt.content = batchgen::prompts::Content::Text(text);
    told.list.prompts[2] = prompt.into();
    told.pass(0, 0, &["red", "Red.", "not red"]);
    let found = canary(&told.record.lanes[0].passes[0], &told.list).unwrap();
    assert_eq!((found.own, found.violations.len()), (2, 0));
}

#[test]
fn lists_without_expected_words_have_no_canary() {
    let mut told = Told::new(&["sequential"], &["a"]);
    told.pass(0, 0, &["x"]);
    assert_eq!(canary(&told.record.lanes[0].passes[0], &told.list), None);
}

#[test]
fn the_first_difference_is_told_in_characters_and_tokens() {
    let found = agreed(&["a", "b"], &["grün ist schön", "x"], &["grün war schön", "x"]);
    assert_eq!(found.same, 1);
    // the ids of these outputs are the lengths of their words: the second words have the same
    let expected = Divergence {
        row: 0,
        repeat: 0,
        at: 5,
        at_token: Some(3),
        reference: "grün ist schön".into(),
        text: "grün war schön".into(),
    };
    assert_eq!(found.diverged, [expected]);
}

#[test]
fn a_text_that_ends_early_diverges_where_it_ends() {
    let found = agreed(&["a"], &["one two three"], &["one two "]);
    assert_eq!((found.diverged[0].at, found.diverged[0].at_token), (8, Some(2)));
}

#[test]
fn long_texts_are_cut_around_the_difference() {
    let same = "é".repeat(500);
    let (reference, output) = (format!("{same}A{same}"), format!("{same}B{same}"));
    let found = agreed(&["a"], &[&reference], &[&output]);
    let excerpt = &found.diverged[0].text;
    assert_eq!(found.diverged[0].at, 500);
    assert!(excerpt.starts_with("…é") && excerpt.contains("éBé") && excerpt.ends_with("é…"));
    assert!(excerpt.chars().count() < 110);
}

#[test]
fn rows_that_hold_each_others_outputs_are_swapped() {
    let found = agreed(&["a", "b", "c"], &["one", "two", "three"], &["two", "one", "three"]);
    let swapped = |row, equals_row| Swapped { row, repeat: 0, equals_row };
    assert_eq!(found.swapped, [swapped(0, 1), swapped(1, 0)]);
    assert_eq!((found.same, found.diverged.len()), (1, 0));
}

#[test]
fn duplicate_prompts_with_the_same_output_are_no_swap() {
    let found = agreed(&["a", "a", "b"], &["one", "one", "two"], &["one", "one", "two"]);
    assert_eq!((found.same, found.swapped.len()), (3, 0));
    // a duplicate whose reference happened to differ: its text is its twin's, which is no swap
    let found = agreed(&["a", "a"], &["one", "two"], &["two", "two"]);
    assert_eq!((found.diverged.len(), found.swapped.len()), (1, 0));
    // but the text of either twin in another prompt's row is one
    let found = agreed(&["a", "a", "b"], &["one", "one", "two"], &["one", "one", "one"]);
    assert_eq!(found.swapped, [Swapped { row: 2, repeat: 0, equals_row: 0 }]);
}

#[test]
fn a_text_that_many_prompts_share_or_that_is_blank_proves_no_swap() {
    let found = agreed(&["a", "b", "c"], &["yes", "yes", "no"], &["yes", "yes", "yes"]);
    assert_eq!((found.swapped.len(), found.diverged.len()), (0, 1));
    let found = agreed(&["a", "b"], &["", "x"], &["", ""]);
    assert_eq!((found.swapped.len(), found.diverged.len()), (0, 1));
}

#[test]
fn only_rows_that_are_done_in_both_are_compared() {
    let report = eventful().report();
    let batched = report.lanes[1].agreement.as_ref().unwrap();
    assert_eq!((batched.same, batched.diverged.len()), (1, 1));
    let cancelled = report.lanes[2].agreement.as_ref().unwrap();
    assert_eq!((cancelled.same, cancelled.diverged.len()), (1, 0));
    assert_eq!(report.lanes[0].agreement, None, "the reference is not compared with itself");
}

#[test]
fn all_passes_are_compared_and_a_row_is_told_once() {
    let mut told = Told::new(&["sequential", "batched:2"], &["a", "b"]).repeats(3);
    for repeat in 0..3 {
        told.pass(0, repeat, &["x", "y"]);
    }
    told.pass(1, 0, &["x", "y"]);
    told.pass(1, 1, &["x", "other"]);
    told.pass(1, 2, &["x", "another"]);
    let report = told.report();
    let found = report.lanes[1].agreement.as_ref().unwrap();
    assert_eq!((found.same, found.diverged.len(), found.diverged[0].repeat), (1, 1, 1));
}

#[test]
fn divergence_is_a_failure_only_where_the_provider_promises_invariance() {
    for (invariant, outcome) in [(true, Outcome::Failed), (false, Outcome::Verified)] {
        let mut told = Told::new(&["sequential", "batched:2"], &["a"]);
        told.info.batch_invariant = invariant;
        told.pass(0, 0, &["x"]);
        told.pass(1, 0, &["y"]);
        let verdict = told.report().verdict.unwrap();
        assert_eq!(verdict.outcome, outcome);
        let place = if invariant { &verdict.failures } else { &verdict.information };
        assert_eq!(place[0].message, "differs from sequential in row 1");
    }
}

#[test]
fn divergence_between_two_models_is_information_and_sampled_runs_are_not_compared() {
    let mut told = Told::new(&["sequential", "batched:2"], &["a"]);
    told.pass(0, 0, &["x"]);
    told.info.model = "other".into();
    told.pass(1, 0, &["y"]);
    assert_eq!(told.report().verdict.unwrap().outcome, Outcome::Verified);
    told.plan.sampling.temperature = 0.7;
    assert_eq!(told.report().lanes[1].agreement, None);
}

#[test]
fn a_swap_is_a_failure_with_any_provider() {
    let mut told = Told::new(&["sequential", "batched:2"], &["a", "b"]);
    told.info.batch_invariant = false;
    told.pass(0, 0, &["one", "two"]);
    told.pass(1, 0, &["two", "one"]);
    let verdict = told.report().verdict.unwrap();
    assert_eq!(verdict.failures[0].kind, FindingKind::Swapped);
    assert_eq!(verdict.outcome, Outcome::Failed);
}

#[test]
fn a_hundred_thousand_rows_are_judged_row_by_row() {
    const ROWS: usize = 100_000;
    let words: Vec<String> = (0..ROWS).map(|row| format!("word {row}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut told = Told::canary(&["sequential", "batched:16"], &words);
    told.pass(0, 0, &words);
    let mut rotated = words.clone();
    rotated.rotate_left(1);
    told.pass(1, 0, &rotated);
    let report = told.report();
    let lane = &report.lanes[1];
    assert_eq!(lane.agreement.as_ref().unwrap().swapped.len(), ROWS);
    assert_eq!(lane.agreement.as_ref().unwrap().swapped[ROWS - 1].equals_row, 0);
    assert_eq!(lane.canary.as_ref().unwrap().violations.len(), ROWS);
    assert_eq!(report.lanes[0].canary.as_ref().unwrap().own, ROWS);
    assert!(lane.integrity.as_ref().unwrap().violations.len() <= 101, "the list is bounded");
    let verdict = report.verdict.as_ref().unwrap();
    let message = &verdict.failures.last().unwrap().message;
    assert_eq!(message, "holds another row's output in 100000 rows: 1-100000");
    for format in [batchgen::report::Format::Json, batchgen::report::Format::Csv] {
        assert!(format.render(&report).unwrap().len() > ROWS * 50);
    }
}

#[test]
fn a_coincidence_between_two_engines_is_no_swap_and_a_lost_row_is() {
    // two engines that answer the last prompt differently, the second as the first its neighbour's
    let of = |outputs: [&str; 3], other: bool| {
        let mut told = Told::new(&["sequential", "batched:2"], &["a", "b", "c"]);
        told.pass(0, 0, &["same", "To solve this", "To compute this"]);
        if other {
            told.info.provider = "openai".into();
        }
        told.pass(1, 0, &outputs);
        told.report().lanes[1].agreement.clone().unwrap()
    };
    let chance = ["same", "To solve this", "To solve this"];
    let found = of(chance, true);
    assert_eq!((found.same, found.diverged.len(), found.swapped.len()), (2, 1, 0));
    assert_eq!(of(chance, false).swapped.len(), 1, "one engine has no such chance");
    let lost = of(["same", "To compute this", "To solve this"], true);
    assert_eq!(lost.swapped.len(), 2, "both rows have lost their own text");
}
