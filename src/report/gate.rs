//! Gates for scripts: claims about a report that are checked at the end of a run.
//!
//! `batched.speedup >= 2` names a lane and a figure; `integrity` and `agreement` are claims
//! about the whole run. A stored report can be the bound too: see [`against`].

mod baseline;
mod figure;

use std::fmt;
use std::str::FromStr;

pub use baseline::{Tolerance, against};
use figure::{Figure, Unit};

use super::{Lane, Report};
use crate::bench::statistics::{Basis, Spread};
use crate::config::{LaneSpec, Plan};
use crate::text::{shortened, visible};

/// Longest label in a line, in characters.
const MOST_LABEL: usize = 60;

/// A time with its unit, such as `500ms`, in seconds.
pub fn seconds(text: &str) -> Option<f64> {
    Unit::Seconds.parse(text.trim())
}

/// A claim that is refused, and what it should look like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GateError(String);

/// A claim about a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    text: String,
    claim: Claim,
}

#[derive(Debug, Clone, PartialEq)]
enum Claim {
    /// Every row of every lane ended once, in its place.
    Integrity,
    /// Every compared output is the reference's.
    Agreement,
    /// A figure of a lane is within a bound.
    Bound { lane: Option<String>, figure: Figure, comparison: Comparison, bound: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    More,
    Less,
    Equal,
}

/// In the order they are looked for: the longer ones first.
const COMPARISONS: [(&str, Comparison); 5] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    (">", Comparison::More),
    ("<", Comparison::Less),
];

impl Comparison {
    fn holds(self, figure: f64, bound: f64) -> bool {
        match self {
            Comparison::AtLeast => figure >= bound,
            Comparison::AtMost => figure <= bound,
            Comparison::More => figure > bound,
            Comparison::Less => figure < bound,
            Comparison::Equal => figure == bound,
        }
    }
}

impl FromStr for Assertion {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let text = text.trim();
        let refused = |why: String| GateError(format!("\"{}\": {why}", visible(text)));
        let claim = match text {
            "integrity" => Claim::Integrity,
            "agreement" => Claim::Agreement,
            _ => bound(text).map_err(refused)?,
        };
        Ok(Self { text: text.to_owned(), claim })
    }
}

fn bound(text: &str) -> Result<Claim, String> {
    let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
        let (left, right) = text.split_once(sign)?;
        Some((left.trim(), *comparison, right.trim()))
    });
    let Some((left, comparison, right)) = found else {
        return Err("write integrity, agreement, or a bound such as 'batched.speedup >= 2'".into());
    };
    let (lane, figure) = Figure::at_the_end_of(left)
        .ok_or_else(|| format!("there is no figure of this name; figures are {}", Figure::NAMES))?;
    let bound = figure.unit().parse(right).ok_or_else(|| {
        format!("\"{}\" is no bound: write {}", visible(right), figure.unit().examples())
    })?;
    Ok(Claim::Bound { lane: lane.map(str::to_owned), figure, comparison, bound })
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub passed: bool,
    /// The claim, the figure, the bound and the interval in a line, safe to print.
    pub line: String,
}

impl Assertion {
    /// Checks that the plan has the lane that the claim is about.
    ///
    /// # Errors
    /// A lane that is not there, or that could be several.
    pub fn check(&self, plan: &Plan) -> Result<(), GateError> {
        let Claim::Bound { lane, .. } = &self.claim else { return Ok(()) };
        let lanes: Vec<(&str, &str)> = plan.lanes.iter().map(words_of).collect();
        let found = select(lane.as_deref(), &lanes);
        found.map(drop).map_err(|why| GateError(format!("\"{}\": {why}", visible(&self.text))))
    }

    /// Whether it holds for a report.
    pub fn judge(&self, report: &Report) -> Verdict {
        let (passed, found) = match &self.claim {
            Claim::Integrity => integrity(report),
            Claim::Agreement => agreement(report),
            Claim::Bound { lane, figure, comparison, bound } => {
                let words: Vec<(&str, &str)> = report
                    .lanes
                    .iter()
                    .map(|lane| (lane.label.as_str(), lane.mode.as_str()))
                    .collect();
                match select(lane.as_deref(), &words) {
                    Err(why) => (false, why),
                    Ok(place) => bounded(&report.lanes[place], *figure, *comparison, *bound),
                }
            }
        };
        let word = if passed { "holds" } else { "fails" };
        Verdict { passed, line: format!("{word}: {}: {found}", visible(&self.text)) }
    }
}

fn words_of(lane: &LaneSpec) -> (&str, &str) {
    (&lane.label, lane.mode.word())
}

/// The lane of this label, else the only one of this mode; without a name the only lane.
fn select(name: Option<&str>, lanes: &[(&str, &str)]) -> Result<usize, String> {
    let labels = || {
        let labels: Vec<String> = lanes
            .iter()
            .take(12)
            .map(|(label, _)| shortened(&visible(label), MOST_LABEL))
            .collect();
        labels.join(", ")
    };
    let Some(name) = name else {
        return match lanes {
            [_] => Ok(0),
            _ => Err(format!("say which lane's, as in 'LANE.figure'; there are {}", labels())),
        };
    };
    if let Some(place) = lanes.iter().position(|(label, _)| *label == name) {
        return Ok(place);
    }
    let of_mode: Vec<usize> = (0..lanes.len()).filter(|place| lanes[*place].1 == name).collect();
    match of_mode[..] {
        [place] => Ok(place),
        [] => Err(format!("there is no such lane; there are {}", labels())),
        _ => Err(format!("several lanes are {name}: name one of {}", labels())),
    }
}

fn integrity(report: &Report) -> (bool, String) {
    let violations = report.lanes.iter().map(|lane| match &lane.integrity {
        Some(integrity) => integrity.violations.len(),
        None => 0,
    });
    let violations: usize = violations.sum();
    let missing: usize = report.lanes.iter().map(missing).sum();
    let passed = violations == 0 && missing == 0;
    (passed, format!("{violations} violations, {missing} rows did not end"))
}

fn missing(lane: &Lane) -> usize {
    match &lane.integrity {
        Some(integrity) => integrity.rows_missing,
        None => lane.figures.rows_total,
    }
}

fn agreement(report: &Report) -> (bool, String) {
    let found: Vec<_> = report.lanes.iter().filter_map(|lane| lane.agreement.as_ref()).collect();
    let same: usize = found.iter().map(|of| of.same).sum();
    let compared: usize = found.iter().map(|of| of.compared()).sum();
    match compared {
        0 => (false, "no output was compared: the run is not greedy, or has one lane".into()),
        _ => (same == compared, format!("{same} of {compared} outputs are the reference's")),
    }
}

fn bounded(lane: &Lane, figure: Figure, comparison: Comparison, bound: f64) -> (bool, String) {
    let spread = figure.spread(lane);
    // the median of the repeats where there are some, else the one figure
    let Some(value) = spread.map(|of| of.median).or_else(|| figure.read(lane)) else {
        return (false, "the figure is not known".into());
    };
    let passed = comparison.holds(value, bound);
    let interval = spread.map(|of| format!(", {}", interval(&of, figure.unit())));
    let within = spread.is_some_and(|of| of.low <= bound && bound <= of.high);
    let doubt = if within { "; the bound lies within it" } else { "" };
    let told = figure.unit().format(value);
    (passed, format!("{told}{}{doubt}", interval.unwrap_or_default()))
}

/// The interval in words.
fn interval(of: &Spread, unit: Unit) -> String {
    let (low, high) = (unit.format(of.low), unit.format(of.high));
    match of.basis {
        Basis::Bootstrap95 | Basis::Rank95 => {
            format!("95 % interval {low} to {high}, {} repeats", of.repeats)
        }
        Basis::Range => format!("{low} to {high} in {} repeats", of.repeats),
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
