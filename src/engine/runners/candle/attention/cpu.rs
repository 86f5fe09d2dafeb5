//! Attention over slices: one unit of work is a row and a key-value head, with all query
//! heads of its group.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape};
use pulp::NullaryFnOnce;
use rayon::prelude::*;

use super::super::batch::Segment;
use super::super::{lanes, slice};
use super::Heads;

/// Slot and position of every row.
pub struct Plan {
    heads: Heads,
    rows: Vec<(usize, usize)>,
}

impl Plan {
    pub fn new(heads: Heads, segments: &[Segment]) -> Self {
        let rows = segments
            .iter()
            .flat_map(|segment| (0..segment.rows).map(|row| (segment.slot, segment.start + row)));
        Self { heads, rows: rows.collect() }
    }

    /// Units that are worth a task of their own: some ten thousand multiplications.
    fn units_per_task(&self) -> usize {
        let positions: usize = self.rows.iter().map(|(_, position)| position + 1).sum();
        let mean = positions / self.rows.len().max(1) + 1;
        let unit = mean * self.heads.dim * (self.heads.queries / self.heads.kv) * 2;
        (40_000 / unit).max(1)
    }
}

impl CustomOp3 for Plan {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        keys: &CpuStorage,
        keys_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Heads { queries: count, kv, dim, .. } = self.heads;
        let queries = slice(queries, queries_layout)?;
        let keys = slice(keys, keys_layout)?;
        let values = slice(values, values_layout)?;
        let capacity = keys_layout.shape().dims4()?.2;
        let group = count / kv * dim;
        let arch = pulp::Arch::new();
        let mut out = vec![0.0; queries.len()];
        out.par_chunks_mut(group)
            .zip(queries.par_chunks(group))
            .enumerate()
            .with_min_len(self.units_per_task())
            .for_each_init(Vec::new, |scores, (unit, (out, queries))| {
                let (slot, position) = self.rows[unit / kv];
                let first = self.heads.first_seen(position);
                let start = (slot * kv + unit % kv) * capacity;
                let seen = (start + first) * dim..(start + position + 1) * dim;
                let (keys, values) = (&keys[seen.clone()], &values[seen]);
                let heads = self.heads;
                arch.dispatch(Group { heads, queries, keys, values, scores, out });
            });
        Ok((CpuStorage::F32(out), Shape::from((self.rows.len(), count * dim))))
    }
}

/// Attention of a group of query heads over the keys and values `[positions, dim]` they see.
struct Group<'a> {
    heads: Heads,
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// Reused memory.
    scores: &'a mut Vec<f32>,
    out: &'a mut [f32],
}

impl NullaryFnOnce for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { heads, queries, keys, values, scores, out } = self;
        let (dim, scale) = (heads.dim, heads.scale());
        scores.resize(keys.len() / dim, 0.0);
        for (query, out) in queries.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            for (score, key) in scores.iter_mut().zip(keys.chunks_exact(dim)) {
                *score = lanes::dot(query, key) * scale;
            }
            let sum = lanes::exponentials(scores);
            for (score, value) in scores.iter().zip(values.chunks_exact(dim)) {
                lanes::add_scaled(out, value, *score);
            }
            for out in out {
                *out /= sum;
            }
        }
    }
}
