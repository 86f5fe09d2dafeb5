//! Which passes of two lanes were run in turns.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::bench::statistics::{FEWEST_PAIRS, MOST};
use crate::report::{Lane, Repeat};

/// Passes of two lanes, one of each.
pub(super) type Pairs<'a> = Vec<(&'a Repeat, &'a Repeat)>;

/// The passes of two lanes pair by pair, in the order in which they ran, where they were run in
/// turns: no two at a time, and both of a repeat before either of the next. What slowed the machine
/// for a while slowed both of a pair. `None` also where there are too few pairs to tell more than
/// their passes do by themselves.
pub(super) fn pairs<'a>(a: &'a Lane, b: &'a Lane) -> Option<Pairs<'a>> {
    let of_b: HashMap<usize, &Repeat> = ended(b).map(|pass| (pass.repeat, pass)).collect();
    let mut pairs: Pairs<'a> =
        ended(a).filter_map(|pass| Some((pass, *of_b.get(&pass.repeat)?))).collect();
    pairs.sort_by_key(|(pass, _)| pass.repeat);
    let spans: Option<Vec<[Span; 2]>> =
        pairs.iter().map(|(a, b)| Some(in_order(span(a)?, span(b)?))).collect();
    let spans: Vec<Span> = spans?.into_iter().flatten().collect();
    let in_turns = spans.windows(2).all(|of| of[0].1 <= of[1].0);
    (in_turns && pairs.len() >= FEWEST_PAIRS).then_some(pairs)
}

/// Passes that came to their end, no more than are compared.
fn ended(lane: &Lane) -> impl Iterator<Item = &Repeat> {
    lane.repeats.iter().filter(|pass| pass.failure.is_none()).take(MOST)
}

/// From when to when a pass ran.
type Span = (Timestamp, Timestamp);

fn span(pass: &Repeat) -> Option<Span> {
    Some((pass.started_at?, pass.ended_at?)).filter(|(start, end)| start < end)
}

fn in_order(a: Span, b: Span) -> [Span; 2] {
    if a.0 <= b.0 { [a, b] } else { [b, a] }
}
