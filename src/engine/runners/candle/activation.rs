//! The gated activation of the feed-forward part.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use pulp::NullaryFnOnce;
use rayon::prelude::*;

use super::lanes;

/// `silu(gate) * up` of rows that hold gate and up side by side: `[rows, 2 * ffn]` to
/// `[rows, ffn]`.
///
/// # Errors
/// Memory or device failures.
pub fn gated(gate_up: &Tensor) -> Result<Tensor> {
    if gate_up.device().is_cpu() && gate_up.dtype() == DType::F32 {
        return gate_up.apply_op1_no_bwd(&Gated);
    }
    let ffn = gate_up.dim(1)? / 2;
    gate_up.narrow(1, 0, ffn)?.silu()? * gate_up.narrow(1, ffn, ffn)?
}

struct Gated;

impl CustomOp1 for Gated {
    fn name(&self) -> &'static str {
        "gated-silu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = super::slice(storage, layout)?;
        let (rows, width) = layout.shape().dims2()?;
        let ffn = width / 2;
        let mut out = vec![0.0; rows * ffn];
        let arch = pulp::Arch::new();
        let pairs = values.par_chunks(width).zip(out.par_chunks_mut(ffn)).with_min_len(4);
        pairs.for_each(|(row, out)| {
            let (gate, up) = row.split_at(ffn);
            arch.dispatch(SiluProduct { gate, up, out });
        });
        Ok((CpuStorage::F32(out), Shape::from((rows, ffn))))
    }
}

struct SiluProduct<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl NullaryFnOnce for SiluProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        lanes::silu_product(self.gate, self.up, self.out);
    }
}
