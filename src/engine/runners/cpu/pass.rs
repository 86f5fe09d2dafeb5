//! The shape of one forward pass: units of attention and how threads share them.

use super::kernels::attention::{Heads, Unit};
use crate::engine::EngineError;
use crate::engine::runner::Row;

/// Consecutive rows of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    slot: usize,
    row: usize,
    rows: usize,
    position: usize,
}

/// What attention has to do in a pass; reused from pass to pass.
#[derive(Debug, Default)]
pub struct Pass {
    runs: Vec<Run>,
    /// Positions that a slot has room for.
    pub capacity: usize,
    /// A few rows of a run with one key-value head each.
    pub units: Vec<Unit>,
    /// Whether a slot has several rows among those that were selected.
    pub several: bool,
    /// Where each thread's units begin, and where the last one's end.
    pub bounds: Vec<usize>,
}

impl Pass {
    /// Plans the packed `rows`, which continue slots of these `lengths`.
    ///
    /// # Errors
    /// Rows that break the contract of [`Runner::forward`](crate::engine::runner::Runner::forward).
    pub fn plan(
        &mut self,
        rows: &[Row],
        lengths: &[usize],
        capacity: usize,
    ) -> Result<(), EngineError> {
        self.runs.clear();
        self.capacity = capacity;
        for (index, row) in rows.iter().enumerate() {
            let broken = |what: &str| {
                let Row { slot, position, .. } = row;
                let message = format!("row {index} (slot {slot}, position {position}) {what}");
                Err(EngineError::Internal(message))
            };
            if row.position >= capacity {
                return broken("is past the capacity of the cache");
            }
            match self.runs.last_mut().filter(|run| run.slot == row.slot) {
                Some(_) if row.prompt && !rows[index - 1].prompt => {
                    return broken("is of a prompt and follows what was chosen");
                }
                Some(run) if row.position == run.position + run.rows => run.rows += 1,
                Some(_) => return broken("does not follow the row before it"),
                None => {
                    match lengths.get(row.slot) {
                        None => return broken("has no slot in the cache"),
                        Some(length) if row.position != 0 && row.position != *length => {
                            return broken("does not continue its slot");
                        }
                        Some(_) => {}
                    }
                    let Row { slot, position, .. } = *row;
                    self.runs.push(Run { slot, row: index, rows: 1, position });
                }
            }
        }
        self.refuse_scattered_slots()
    }

    fn refuse_scattered_slots(&mut self) -> Result<(), EngineError> {
        // sorted by slot, two runs of one slot are neighbours
        self.runs.sort_unstable_by_key(|run| run.slot);
        match self.runs.windows(2).find(|pair| pair[0].slot == pair[1].slot) {
            None => Ok(()),
            Some(pair) => Err(EngineError::Internal(format!(
                "the rows of slot {} are not together",
                pair[0].slot
            ))),
        }
    }

    /// Tokens that each slot of this pass holds after it.
    pub fn lengths(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.runs.iter().map(|run| (run.slot, run.position + run.rows))
    }

    /// Takes up the rows `begin..end` of the planned ones, numbered from 0, and shares them
    /// among the threads by what they cost. Who computes a unit does not change its result.
    pub fn select(&mut self, begin: usize, end: usize, heads: &Heads, threads: usize) {
        self.units.clear();
        self.several = false;
        let most = heads.tile_rows();
        for run in &self.runs {
            let (from, to) = (run.row.max(begin), (run.row + run.rows).min(end));
            self.several |= to.saturating_sub(from) > 1;
            for head in 0..heads.kv {
                self.units.extend((from..to).step_by(most).map(|row| Unit {
                    slot: run.slot,
                    head,
                    row: row - begin,
                    rows: most.min(to - row),
                    position: run.position + row - run.row,
                }));
            }
        }
        let total: usize = self.units.iter().map(cost).sum();
        self.bounds.clear();
        self.bounds.push(0);
        let mut spent = 0;
        for (at, unit) in self.units.iter().enumerate() {
            spent += cost(unit);
            // a thread ends with the unit that brings it closest to its share
            while self.bounds.len() < threads
                && (2 * spent - cost(unit)) * threads >= 2 * total * self.bounds.len()
            {
                self.bounds.push(at);
            }
        }
        self.bounds.resize(threads, self.units.len());
        self.bounds.push(self.units.len());
    }
}

/// Positions that a unit looks at, and something for its rows.
fn cost(unit: &Unit) -> usize {
    unit.rows * (unit.position + unit.rows / 2 + 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::runner::Want;

    fn row(slot: usize, position: usize) -> Row {
        Row { slot, position, token: 0, prompt: true, want: Want::Nothing }
    }

    fn plan(rows: &[Row]) -> Result<Pass, EngineError> {
        let mut pass = Pass::default();
        pass.plan(rows, &[9, 3, 5], 16).map(|()| pass)
    }

    #[test]
    fn every_row_is_in_one_unit_of_each_head() {
        let rows = [row(2, 5), row(0, 0), row(0, 1), row(0, 2), row(1, 3)];
        let mut pass = plan(&rows).unwrap();
        // two rows a unit
        let heads = Heads { queries: 12, kv: 2, dim: 8, exact: false };
        for threads in 1..5 {
            for end in 1..=rows.len() {
                pass.select(0, end, &heads, threads);
                assert_eq!(pass.several, end > 2);
                assert!(pass.units.iter().all(|unit| unit.rows <= 2));
                let mut seen = vec![0; 2 * end];
                for unit in &pass.units {
                    for at in 0..unit.rows {
                        assert_eq!(rows[unit.row + at].slot, unit.slot);
                        assert_eq!(rows[unit.row + at].position, unit.position + at);
                        seen[2 * (unit.row + at) + unit.head] += 1;
                    }
                }
                assert!(seen.iter().all(|count| *count == 1));
                assert_eq!(pass.bounds.len(), threads + 1);
                assert!(pass.bounds.is_sorted());
                assert_eq!((pass.bounds[0], pass.bounds[threads]), (0, pass.units.len()));
            }
        }
    }

    #[test]
    fn equal_units_are_shared_equally() {
        let rows: Vec<Row> = (0..8).map(|slot| row(slot, 0)).collect();
        let mut pass = Pass::default();
        pass.plan(&rows, &[0; 8], 16).unwrap();
        pass.select(0, 8, &Heads { queries: 9, kv: 3, dim: 8, exact: false }, 2);
        assert_eq!(pass.bounds, [0, 12, 24]);
    }

    #[test]
    fn rows_that_break_the_contract_are_refused() {
        let chosen = |slot, position| Row { prompt: false, ..row(slot, position) };
        assert!(plan(&[row(0, 0), chosen(0, 1)]).is_ok());
        let cases: [&[Row]; 6] = [
            &[chosen(0, 0), row(0, 1)],
            &[row(3, 0)],
            &[row(0, 4)],
            &[row(0, 0), row(0, 2)],
            &[row(0, 9), row(1, 3), row(0, 10)],
            &[row(0, 16)],
        ];
        for rows in cases {
            assert!(plan(rows).is_err(), "{rows:?}");
        }
    }
}
