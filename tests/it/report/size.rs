//! Time, memory and size of reports of 1, 32 and 100,000 rows, for docs/performance.md.

use std::time::Instant;

use batchgen::probe::Probe;
use batchgen::report::Format;

use super::run::Told;

/// `cargo test --release --test it report::size -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "measures, and asserts nothing"]
fn of_reports_of_1_32_and_100_000_rows() {
    for rows in [1, 32, 100_000] {
        let prompts: Vec<String> =
            (0..rows).map(|row| format!("Question {row}: why is the sky blue?")).collect();
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let mut told = Told::new(&["sequential", "async:8", "batched:16"], &prompts);
        let words = "The sky is blue since air scatters short waves of light more than long ones. ";
        for lane in 0..3 {
            told.start(lane, 0);
            for row in 0..rows {
                told.submit(row);
                told.output(row, &format!("{}{row}", words.repeat(3)));
            }
            told.end(None);
        }
        let before = Instant::now();
        let report = told.report();
        println!("{rows} rows of 3 lanes: built in {:?}", before.elapsed());
        for format in [Format::Json, Format::Csv, Format::Markdown, Format::Html] {
            let before = Instant::now();
            let bytes = format.render(&report).unwrap();
            println!("  {format:?}: {} bytes in {:?}", bytes.len(), before.elapsed());
        }
        let peak = Probe::new().peak().map(|reading| reading.bytes / 1_000_000);
        println!("  peak memory of the process so far: {peak:?} MB");
    }
}
