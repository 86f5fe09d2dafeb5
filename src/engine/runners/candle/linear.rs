//! Linear layers in the three forms that weights are kept in.

use candle_core::quantized::QMatMul;
use candle_core::{CpuStorage, CustomOp1, Layout, Module, Result, Shape, Tensor};

use super::build::tensor_bytes;
use super::panels::Panels;

/// A linear layer without bias.
#[derive(Debug)]
pub enum Linear {
    /// f32 on the CPU.
    Panels(Panels),
    /// Any device, in the type of the rows: `[outputs, inputs]`.
    Dense(Tensor),
    /// Blocks as in the file, for models that would not fit otherwise; the outputs of the
    /// parts stand side by side.
    Quantized(Vec<QMatMul>),
}

impl Linear {
    /// Multiplies rows `[rows, inputs]`; gives `[rows, outputs]`.
    ///
    /// # Errors
    /// Memory or device failures.
    pub fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        match self {
            Self::Panels(panels) => rows.apply_op1_no_bwd(&PanelProduct(panels)),
            Self::Dense(weights) => rows.matmul(&weights.t()?),
            Self::Quantized(parts) => {
                let parts: Vec<Tensor> =
                    parts.iter().map(|part| part.forward(rows)).collect::<Result<_>>()?;
                match parts.as_slice() {
                    [one] => Ok(one.clone()),
                    several => Tensor::cat(several, 1),
                }
            }
        }
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Panels(panels) => panels.bytes(),
            Self::Dense(weights) => tensor_bytes(weights),
            Self::Quantized(parts) => parts.iter().map(quantized_bytes).sum(),
        }
    }

    /// Multiplies rows and appends the f32 results to `out`.
    ///
    /// # Errors
    /// Memory or device failures.
    pub fn forward_into(&self, rows: &Tensor, out: &mut Vec<f32>) -> Result<()> {
        match self {
            Self::Panels(panels) => {
                let rows = rows.flatten_all()?.to_vec1::<f32>()?;
                let start = out.len();
                out.resize(start + rows.len() / panels.inputs() * panels.outputs(), 0.0);
                panels.multiply(&rows, &mut out[start..]);
                Ok(())
            }
            Self::Dense(_) | Self::Quantized(_) => {
                let result = self.forward(rows)?.to_dtype(candle_core::DType::F32)?;
                out.extend(result.flatten_all()?.to_vec1::<f32>()?);
                Ok(())
            }
        }
    }
}

fn quantized_bytes(part: &QMatMul) -> u64 {
    match part {
        QMatMul::QTensor(tensor) => tensor.storage_size_in_bytes() as u64,
        QMatMul::Tensor(tensor) | QMatMul::TensorF16(tensor) => tensor_bytes(tensor),
    }
}

struct PanelProduct<'a>(&'a Panels);

impl CustomOp1 for PanelProduct<'_> {
    fn name(&self) -> &'static str {
        "panel-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rows = super::slice(storage, layout)?;
        let count = rows.len() / self.0.inputs();
        let mut out = vec![0.0; count * self.0.outputs()];
        self.0.multiply(rows, &mut out);
        Ok((CpuStorage::F32(out), Shape::from((count, self.0.outputs()))))
    }
}
