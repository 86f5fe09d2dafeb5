//! Attention by candle's operations: all decoding slots in one batched product, padded to the
//! longest and masked, and one product a prefill segment. Keys and values are read in place.

use candle_core::{DType, Device, Result, Tensor};

use super::super::batch::Segment;
use super::super::cache::LayerCache;
use super::Heads;

/// The masks and orders of one batch.
pub struct Plan {
    heads: Heads,
    decode: Option<Decode>,
    prefills: Vec<Prefill>,
    /// Where the result of each row is among the results of the decoding slots and the
    /// prefill segments.
    order: Tensor,
}

/// One row of each of the slots below `slots`; slots without a row compute something unused.
struct Decode {
    slots: usize,
    positions: usize,
    /// The row of each slot, `[slots]`.
    rows: Tensor,
    /// 0 or minus infinity, `[slots, 1, 1, positions]`.
    mask: Tensor,
}

struct Prefill {
    segment: Segment,
    /// 0 or minus infinity, `[1, 1, rows, positions]`.
    mask: Tensor,
}

impl Plan {
    pub fn new(heads: Heads, segments: &[Segment], device: &Device) -> Result<Self> {
        let (decoding, prefilling): (Vec<Segment>, Vec<Segment>) =
            segments.iter().partition(|segment| segment.rows == 1);
        let decode = Decode::new(heads, &decoding, device)?;
        let mut next = decode.as_ref().map_or(0, |decode| decode.slots as u32);
        let total = segments.iter().map(|segment| segment.rows).sum();
        let mut order = vec![0u32; total];
        for segment in &decoding {
            order[segment.first] = segment.slot as u32;
        }
        let mut prefills = Vec::new();
        for segment in prefilling {
            for row in &mut order[segment.first..segment.first + segment.rows] {
                *row = next;
                next += 1;
            }
            prefills.push(Prefill::new(heads, segment, device)?);
        }
        let order = Tensor::new(order, device)?;
        Ok(Self { heads, decode, prefills, order })
    }

    /// Attends with queries `[rows, heads, head_dim]`; gives `[rows, heads * head_dim]`.
    pub fn forward(&self, queries: &Tensor, cache: &LayerCache) -> Result<Tensor> {
        let mut results = Vec::with_capacity(1 + self.prefills.len());
        if let Some(decode) = &self.decode {
            results.push(decode.forward(self.heads, queries, cache)?);
        }
        for prefill in &self.prefills {
            results.push(prefill.forward(self.heads, queries, cache)?);
        }
        Tensor::cat(&results, 0)?.index_select(&self.order, 0)
    }
}

impl Decode {
    fn new(heads: Heads, segments: &[Segment], device: &Device) -> Result<Option<Self>> {
        let (Some(slots), Some(positions)) = (
            segments.iter().map(|segment| segment.slot + 1).max(),
            segments.iter().map(|segment| segment.start + 1).max(),
        ) else {
            return Ok(None);
        };
        let mut rows = vec![0u32; slots];
        // a slot without a row sees one position, so that its softmax stays finite
        let mut seen = vec![0..1; slots];
        for segment in segments {
            rows[segment.slot] = segment.first as u32;
            seen[segment.slot] = heads.first_seen(segment.start)..segment.start + 1;
        }
        let mask = seen.iter().flat_map(|seen| masked(seen.clone(), positions)).collect();
        let mask = Tensor::from_vec(mask, (slots, 1, 1, positions), device)?;
        let rows = Tensor::new(rows, device)?;
        Ok(Some(Self { slots, positions, rows, mask }))
    }

    fn forward(&self, heads: Heads, queries: &Tensor, cache: &LayerCache) -> Result<Tensor> {
        let group = heads.queries / heads.kv;
        let shape = (self.slots, heads.kv, group, heads.dim);
        let queries = queries.index_select(&self.rows, 0)?.reshape(shape)?;
        let view = |t: &Tensor| t.narrow(0, 0, self.slots)?.narrow(2, 0, self.positions);
        let scores = queries.matmul(&view(&cache.keys)?.t()?)?;
        let weights = softmax(&scores, heads, &self.mask)?;
        let result = weights.matmul(&view(&cache.values)?)?;
        result.reshape((self.slots, heads.queries * heads.dim))
    }
}

impl Prefill {
    fn new(heads: Heads, segment: Segment, device: &Device) -> Result<Self> {
        let end = segment.start + segment.rows;
        let mask = (segment.start..end)
            .flat_map(|position| masked(heads.first_seen(position)..position + 1, end))
            .collect();
        let mask = Tensor::from_vec(mask, (1, 1, segment.rows, end), device)?;
        Ok(Self { segment, mask })
    }

    fn forward(&self, heads: Heads, queries: &Tensor, cache: &LayerCache) -> Result<Tensor> {
        let Segment { slot, start, first, rows } = self.segment;
        let (group, end) = (heads.queries / heads.kv, start + rows);
        // [rows, kv, group, dim] to [kv, group * rows, dim]
        let queries = queries
            .narrow(0, first, rows)?
            .reshape((rows, heads.kv, group, heads.dim))?
            .permute((1, 2, 0, 3))?
            .reshape((heads.kv, group * rows, heads.dim))?;
        let view = |t: &Tensor| t.narrow(0, slot, 1)?.squeeze(0)?.narrow(1, 0, end);
        let scores = queries.matmul(&view(&cache.keys)?.t()?)?;
        let scores = scores.reshape((heads.kv, group, rows, end))?;
        let weights = softmax(&scores, heads, &self.mask)?;
        let weights = weights.reshape((heads.kv, group * rows, end))?;
        weights
            .matmul(&view(&cache.values)?)?
            .reshape((heads.kv, group, rows, heads.dim))?
            .permute((2, 0, 1, 3))?
            .reshape((rows, heads.queries * heads.dim))
    }
}

/// Scales, masks and normalises scores in f32; gives the type of the scores.
fn softmax(scores: &Tensor, heads: Heads, mask: &Tensor) -> Result<Tensor> {
    let dtype = scores.dtype();
    let scores = (scores.to_dtype(DType::F32)? * f64::from(heads.scale()))?.broadcast_add(mask)?;
    candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(dtype)
}

fn masked(seen: std::ops::Range<usize>, positions: usize) -> impl Iterator<Item = f32> {
    (0..positions).map(move |at| if seen.contains(&at) { 0.0 } else { f32::NEG_INFINITY })
}
