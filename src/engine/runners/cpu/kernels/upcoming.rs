//! Keys and values that attention reads next, brought near while products are computed.
//!
//! Attention waits for memory, which the products of many rows leave idle. So each thread asks
//! for the keys and values of its own units while it multiplies, a few lines with each block of weights.
//! The unit that is computed first is asked for last: a cache that does not hold all of them loses
//! what it has not seen for longest, and what attention reads then would drive out what it reads next.
//! On x86-64; elsewhere nothing is asked for.

use std::ops::Range;

use super::attention::{Heads, Unit};
use super::heads::{POSITIONS, blocks_seen};
use super::near::{self, Lines};
use crate::engine::runners::cpu::form::LINE;

/// Least of what [`most`] gives: what Zen 4's cache of the second level holds. A smaller one passes
/// on to the third what it cannot keep.
const LEAST: usize = 1 << 20;
/// Whether lines are asked for on this kind of machine.
pub(super) const ASKS: bool = cfg!(target_arch = "x86_64");

/// Most bytes that a thread brings near for a layer.
fn most() -> usize {
    near::second_level_bytes().map_or(LEAST, |bytes| bytes.max(LEAST))
}

/// What a layer's attention is going to read of the cache.
#[derive(Debug, Clone, Copy)]
pub struct Upcoming<'a> {
    /// Sizes of attention.
    pub heads: Heads,
    /// The layer.
    pub layer: usize,
    /// A token sees this many tokens, itself included.
    pub window: Option<usize>,
    /// The units, and where each thread's begin and end.
    pub units: &'a [Unit],
    /// One more than there are threads.
    pub bounds: &'a [usize],
    /// The addresses of the slots.
    pub bases: &'a [usize],
    /// Positions that a slot has room for.
    pub capacity: usize,
}

impl<'a> Upcoming<'a> {
    /// The units of a thread.
    fn units_of(&self, thread: usize) -> &'a [Unit] {
        &self.units[self.bounds[thread]..self.bounds[thread + 1]]
    }

    /// The bytes of its slot that a unit reads.
    fn bytes(&self, unit: &Unit) -> Range<usize> {
        let block = self.heads.cache_bytes(POSITIONS);
        let begin = self.heads.offset(self.layer, unit.head, self.capacity);
        let window = self.window.unwrap_or(usize::MAX);
        let seen = blocks_seen(unit.position + 1, unit.rows, window);
        begin + seen.start * block..begin + seen.end * block
    }
}

/// What a thread has still to bring near.
#[derive(Debug)]
pub(super) struct Errand<'a> {
    upcoming: Option<Upcoming<'a>>,
    /// Units to come, of which the last one is the next.
    units: &'a [Unit],
    /// What is left of the present unit.
    present: Lines,
    /// Lines that are still to be asked for, of all units.
    left: usize,
    /// Steps to come.
    steps: usize,
}

impl<'a> Errand<'a> {
    /// What `thread` brings near in this many steps, if anything is upcoming: of its first units those
    /// that fit, and no more than there are steps.
    pub fn new(upcoming: Option<Upcoming<'a>>, thread: usize, steps: usize) -> Self {
        let Some(upcoming) = upcoming else {
            return Self { upcoming, units: &[], present: Lines::NONE, left: 0, steps };
        };
        let (units, most) = (upcoming.units_of(thread), most());
        let (mut count, mut bytes) = (0, 0);
        for unit in units.iter().take(steps) {
            let more = upcoming.bytes(unit).len();
            if count > 0 && bytes + more > most {
                break;
            }
            (count, bytes) = (count + 1, bytes + more);
        }
        let left = bytes.min(most) / LINE;
        Self { upcoming: Some(upcoming), units: &units[..count], present: Lines::NONE, left, steps }
    }

    /// The next lines, all of one unit.
    pub fn step(&mut self) -> Lines {
        if self.present.count == 0 {
            self.present = self.next_unit();
        }
        let count = self.left.div_ceil(self.steps.max(1)).min(self.present.count);
        self.left -= count;
        self.steps = self.steps.saturating_sub(1);
        let step = Lines { count, ..self.present };
        self.present.address = step.address.wrapping_add(count * LINE);
        self.present.count -= count;
        step
    }

    /// The lines of the next unit.
    fn next_unit(&mut self) -> Lines {
        let (Some(upcoming), Some((unit, units))) = (self.upcoming, self.units.split_last()) else {
            return Lines::NONE;
        };
        self.units = units;
        let bytes = upcoming.bytes(unit);
        let base = std::ptr::without_provenance::<u8>(upcoming.bases[unit.slot]);
        Lines { address: base.wrapping_add(bytes.start), count: bytes.len() / LINE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: Heads = Heads { queries: 6, kv: 2, dim: 32, exact: false };

    fn unit(slot: usize, head: usize, position: usize) -> Unit {
        Unit { slot, head, row: slot, rows: 1, position }
    }

    /// The lines that a thread asks for in so many steps.
    fn lines(upcoming: Upcoming<'_>, thread: usize, steps: usize) -> Vec<usize> {
        let mut errand = Errand::new(Some(upcoming), thread, steps);
        let each = errand.left.div_ceil(steps);
        let mut lines = Vec::new();
        for step in 1..=steps {
            let Lines { address, count } = errand.step();
            lines.extend((0..count).map(|line| address.addr() + line * LINE));
            assert!(lines.len() <= step * each, "{} lines after {step} of {steps}", lines.len());
        }
        lines
    }

    #[test]
    fn each_thread_asks_once_for_every_line_that_its_units_read() {
        let units = [unit(0, 0, 40), unit(0, 1, 40), unit(1, 0, 31), unit(1, 1, 31)];
        let (bases, bounds) = ([1 << 20, 1 << 24], [0, 3, 4]);
        let upcoming = Upcoming {
            heads: HEADS,
            layer: 2,
            window: None,
            units: &units,
            bounds: &bounds,
            bases: &bases,
            capacity: 100,
        };
        // a block of 32 positions: keys and values of 32 elements in f16
        let (block, region) = (32 * 2 * 32 * 2, 4 * 32 * 2 * 32 * 2);
        let all = |unit: &Unit, blocks: Range<usize>| -> Vec<usize> {
            let begin = bases[unit.slot] + (2 * 2 + unit.head) * region;
            (begin + blocks.start * block..begin + blocks.end * block).step_by(64).collect()
        };
        let expected = [all(&units[2], 0..1), all(&units[1], 0..2), all(&units[0], 0..2)].concat();
        for steps in [7, 64, 1000] {
            assert_eq!(lines(upcoming, 0, steps), expected, "{steps} steps");
            assert_eq!(lines(upcoming, 1, steps), all(&units[3], 0..1));
        }
        // a step does not go from one unit to the next
        assert_eq!(lines(upcoming, 0, 1), all(&units[0], 0..2));
        // in f32, heads padded to 32, a block takes twice the bytes
        let exact = Heads { dim: 20, exact: true, ..HEADS };
        let twice = lines(Upcoming { heads: exact, ..upcoming }, 1, 7);
        assert_eq!((twice[0], twice.len()), (bases[1] + 5 * 2 * region, 2 * block / 64));
        // of position 40 only 33 to 40 are seen
        let windowed = Upcoming { window: Some(8), ..upcoming };
        assert_eq!(lines(windowed, 0, 7)[2 * block / 64..][..64], all(&units[0], 1..2));
    }

    #[test]
    fn the_first_units_that_a_cache_holds_are_asked_for_and_nothing_where_nothing_comes() {
        // a position has 128 bytes of keys and values
        let all = most() / 128;
        let asked = |positions: usize| -> Vec<usize> {
            let units = [0, 1].map(|head| unit(0, head, positions - 1));
            let upcoming = Upcoming {
                heads: HEADS,
                layer: 0,
                window: None,
                units: &units,
                bounds: &[0, 2],
                bases: &[0],
                capacity: positions,
            };
            let lines = lines(upcoming, 0, 1000);
            let head = |line: &usize| line / HEADS.cache_bytes(positions);
            [0, 1].map(|number| lines.iter().filter(|line| head(line) == number).count()).into()
        };
        assert_eq!(asked(all / 2), [most() / 2 / LINE; 2]);
        assert_eq!(asked(all / 2 + POSITIONS), [most() / 2 / LINE + 2 * POSITIONS, 0]);
        assert_eq!(asked(all), [most() / LINE, 0]);
        assert_eq!(asked(2 * all), [most() / LINE, 0]);
        assert_eq!(Errand::new(None, 0, 10).step().count, 0);
    }
}
