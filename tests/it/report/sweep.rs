//! A sweep's knee: one method, on the screen, without it, and in every report.

use batchgen::bench::sweep::{Knee, knee, points, words};
use batchgen::report::Format;

use super::run::Told;
use super::schema;

/// Five batch sizes that ever less is gained by, each with this many repeats.
fn sweep(repeats: usize) -> Told {
    let sizes = ["batched:1", "batched:2", "batched:4", "batched:8", "batched:16"];
    let mut told = Told::new(&sizes, &["a", "b"]).repeats(repeats);
    for repeat in 0..repeats {
        for (lane, pace) in [800, 440, 250, 180, 170].into_iter().enumerate() {
            told.pace = pace + (repeat as u64 + lane as u64) % 3;
            told.pass(lane, repeat, &["one two three", "four five six"]);
        }
    }
    told
}

#[test]
fn the_knee_of_a_report_is_that_of_the_screen() {
    for repeats in [1, 5] {
        let told = sweep(repeats);
        let Knee::At { place, confidence } = knee(&points(&told.record)) else {
            panic!("no knee of {repeats} repeats")
        };
        assert_eq!(points(&told.record)[place].batch_size, 8);
        let report = told.report();
        let sizes = report.batch_sizes.unwrap();
        assert_eq!((sizes.knee, sizes.knee_confidence), (Some(8), confidence));
        assert_eq!(confidence.is_some(), repeats > 1);
        let told_words = words(&points(&told.record));
        assert_eq!(batchgen::report::knee_words(&report).as_ref(), Some(&told_words));
        let value = schema::check(&report);
        assert_eq!(value["batch_sizes"]["knee"], 8);
        let page = String::from_utf8(Format::Html.render(&report).unwrap()).unwrap();
        assert!(page.contains(&told_words) && page.contains("Kneedle"), "{told_words}");
    }
}

#[test]
fn sizes_that_only_get_slower_have_no_knee_in_a_report() {
    let mut told = Told::new(&["batched:1", "batched:2", "batched:4"], &["a"]);
    for (lane, pace) in [100, 200, 300].into_iter().enumerate() {
        told.pace = pace;
        told.pass(lane, 0, &["one two three"]);
    }
    let report = told.report();
    assert_eq!(report.batch_sizes.unwrap().knee, None);
    let words = batchgen::report::knee_words(&report).unwrap();
    assert_eq!(words, "no knee: batching brings less than 10 % here");
}
