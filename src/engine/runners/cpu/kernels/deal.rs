//! Which thread computes which piece of a phase.
//!
//! Each thread has pieces of its own, in the order in which its weights lie in memory. One that
//! is done goes on with what the others have not begun, since a thread may lose its processor to
//! somebody else at any moment. Who computes a piece does not change its result.

use std::iter::from_fn;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows from which pieces are taken a few at a time. With fewer, a piece takes no longer than it
/// takes to ask whose it is, and each thread takes all of its own at once.
const FEW_AT_A_TIME: usize = 4;
/// More pieces than there are.
const ALL: usize = 1 << 32;
/// Most pieces that are taken at a time: whoever takes waits until all that it has written has left
/// the processor.
const MOST: usize = 4;
/// One in so many of those left is taken at a time, so that the last ones are taken singly.
const SHARE: usize = 8;

/// How far each thread's pieces have been taken; reused from phase to phase.
#[derive(Debug)]
pub(super) struct Deal(Vec<Counter>);

/// A counter on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

impl Deal {
    /// For this many threads.
    pub fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Counter::default()).collect())
    }

    /// Begins a phase over this many rows, whose pieces are computed so many together.
    pub fn begin(&mut self, rows: usize, together: usize) -> Pieces<'_> {
        self.0.iter_mut().for_each(|counter| *counter.0.get_mut() = 0);
        Pieces { taken: &self.0, least: if rows < FEW_AT_A_TIME { ALL } else { together } }
    }
}

/// The pieces of a phase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces<'a> {
    taken: &'a [Counter],
    /// Least pieces that are taken at a time; only multiples of it are, but at the end.
    least: usize,
}

impl<'a> Pieces<'a> {
    /// Takes pieces for `thread` until none is left: its own ones, then those of the others in
    /// their order. `count` tells how many a thread has; what comes is whose they are, and which.
    /// Each piece comes once, whatever the number of threads that take.
    pub fn take(
        self,
        thread: usize,
        count: impl Fn(usize) -> usize + Copy + 'a,
    ) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        let others = (0..self.taken.len()).filter(move |other| *other != thread);
        std::iter::once(thread).chain(others).flat_map(move |owner| {
            let end = count(owner);
            from_fn(move || {
                let taken = &self.taken[owner].0;
                let left = end.saturating_sub(taken.load(Ordering::Relaxed));
                let some = (left / SHARE).min(MOST).max(self.least);
                let some = some - some % self.least;
                let begin = taken.fetch_add(some, Ordering::Relaxed);
                (begin < end).then(|| (owner, begin..end.min(begin.saturating_add(some))))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::engine::runners::cpu::kernels::team::Team;

    #[test]
    fn every_piece_is_taken_once_by_any_number_of_threads() {
        let counts = [40, 0, 7];
        let (mut deal, mut team) = (Deal::new(3), Team::new(3).unwrap());
        for rows in [1, 32] {
            for _ in 0..200 {
                let seen: [Vec<AtomicU32>; 3] =
                    counts.map(|count| (0..count).map(|_| AtomicU32::new(0)).collect());
                let pieces = deal.begin(rows, 1);
                team.run(&|thread| {
                    for (owner, pieces) in pieces.take(thread, |owner| counts[owner]) {
                        for piece in pieces {
                            seen[owner][piece].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
                let seen = seen.iter().flatten();
                assert!(seen.into_iter().all(|seen| seen.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_thread_alone_takes_its_own_pieces_and_then_those_of_others_in_order() {
        let mut deal = Deal::new(3);
        let taken: Vec<_> = deal.begin(8, 1).take(1, |owner| owner + 1).collect();
        let expected = [(1, 0..1), (1, 1..2), (0, 0..1), (2, 0..1), (2, 1..2), (2, 2..3)];
        assert_eq!(taken, expected);
        let own = |owner| if owner == 1 { 40 } else { 0 };
        let taken: Vec<_> = deal.begin(8, 1).take(1, own).map(|(_, pieces)| pieces.len()).collect();
        let expected = [[4, 4, 4].as_slice(), &[3, 3], &[2; 4], &[1; 14]].concat();
        assert_eq!(taken, expected);
        let taken: Vec<_> = deal.begin(8, 2).take(1, own).map(|(_, pieces)| pieces).collect();
        assert!(taken.iter().all(|pieces| pieces.start % 2 == 0 && pieces.len() % 2 == 0));
        assert_eq!(taken.iter().map(Range::len).sum::<usize>(), 40);
        let odd: Vec<_> = deal.begin(8, 2).take(0, |owner| 3 * owner).collect();
        assert_eq!(odd, [(1, 0..2), (1, 2..3), (2, 0..2), (2, 2..4), (2, 4..6)]);
        let taken: Vec<_> = deal.begin(1, 1).take(2, |owner| owner + 1).collect();
        assert_eq!(taken, [(2, 0..3), (0, 0..1), (1, 0..2)]);
    }
}
