//! How the figures of a report were made, in sentences that hold for this run.

use serde_json::Value;

use super::{Report, Slo};
use crate::bench::statistics::FEWEST;
use crate::bench::sweep::RESAMPLES;
use crate::units;

/// A term and what it means here.
pub(super) type Term = (&'static str, String);

/// The method, in the order it is read.
pub(super) fn terms(report: &Report) -> Vec<Term> {
    let plan = &report.run.plan;
    let number = |key: &str| plan.get(key).and_then(Value::as_u64);
    let mut terms: Vec<Term> = vec![
        (
            "throughput",
            "output tokens over the time from the first submission to the last end of a row".into(),
        ),
        (
            "TTFT",
            "from a row's submission to its first non-empty text. All rows of a batched call are \
             submitted when the call is made, so waiting for a place in the batch is part of it"
                .into(),
        ),
        ("ITL", "(last token − first text) / (tokens − 1), one figure a row".into()),
        ("e2e", "from a row's submission to its end".into()),
        (
            "speedup",
            "output throughput over that of the first sequential lane with the same provider and \
             model"
                .into(),
        ),
        (
            "percentiles",
            "over the rows that ended well, by linear interpolation between the two nearest ranks \
             (type 7 of Hyndman and Fan, the default of NumPy and R)"
                .into(),
        ),
    ];
    if report.lanes.iter().any(|lane| !lane.jobs.is_empty()) {
        terms.push(("offline", offline()));
    }
    terms.push(("order", order(number("repeats"))));
    if number("repeats").is_some_and(|repeats| repeats > 1) {
        terms.push(("intervals", intervals()));
    }
    if let Some(slo) = report.run.slo {
        terms.push(("limits", limits(slo)));
    }
    if report.batch_sizes.is_some() {
        terms.push(("knee", knee()));
    }
    terms.push(("warm-up", warm_up(number("warmup"))));
    terms.push((
        "integrity",
        "every row ends exactly once, nothing is missing, doubled or out of place".into(),
    ));
    if report.lanes.iter().any(|lane| lane.agreement.is_some()) {
        let same = "each greedy output is compared with the reference lane's, text by text";
        terms.push(("agreement", same.into()));
    }
    terms
}

fn order(repeats: Option<u64>) -> String {
    let alone = "lanes run one after another, since they would disturb each other's figures";
    match repeats {
        Some(repeats @ 2..) => format!(
            "{alone}; the plan has {repeats} repeats of every lane, every second one in reverse \
             order; figures are those of the pass with the median throughput"
        ),
        Some(_) | None => alone.into(),
    }
}

fn offline() -> String {
    "the list is one batch job in the provider's own time. Its rows end together, when its results \
     are here, so e2e is the job's time, its wait in the provider's queue with it; what was waited \
     after its end by a session that came later is not in it. TTFT and ITL are not known. Its \
     throughput says what a job brings and not how fast the model is"
        .into()
}

fn intervals() -> String {
    format!(
        "medians over the repeats with 95 % intervals by the percentile bootstrap, from \
         {FEWEST} repeats on; below, the smallest and the largest value. Where the interval of a \
         ratio holds 1, no difference is shown, which does not mean that there is none; where all \
         of it lies within 1 % of 1, it is the same within 1 %"
    )
}

fn limits(slo: Slo) -> String {
    let limit = |name: &str, limit: Option<f64>| {
        limit.map(|limit| format!("{name} of at most {}", units::duration(limit)))
    };
    let limits = [limit("TTFT", slo.ttft_s), limit("e2e", slo.e2e_s)];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let limits = limits.join(" and ");
    format!("a row counts for goodput when it ended well with {limits}")
}

fn knee() -> String {
    format!(
        "the batch size whose throughput is farthest above the straight line from the smallest to \
         the largest size (Kneedle, on the mean of the repeats); none where batching brings less \
         than 10 % or the line is hardly bent. How sure it is: the share of {RESAMPLES} resamples \
         of the repeats' noise that have the same knee"
    )
}

fn warm_up(rows: Option<u64>) -> String {
    match rows {
        None => "unknown".into(),
        Some(0) => "none: the first lane pays for cold caches".into(),
        Some(1) => "the first row is run once per provider, unmeasured".into(),
        Some(rows) => format!("the first {rows} rows are run once per provider, unmeasured"),
    }
}
