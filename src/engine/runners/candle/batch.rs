//! The shape of one forward pass: which rows belong to which slot, and the tensors that
//! depend on the rows alone and are shared by all layers.

use candle_core::{DType, Device, Tensor};

use crate::engine::EngineError;
use crate::engine::runner::Row;

/// Consecutive rows of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The slot.
    pub slot: usize,
    /// Position of its first row.
    pub start: usize,
    /// Number of its first row in the batch.
    pub first: usize,
    /// Its rows.
    pub rows: usize,
}

/// Cuts packed rows into segments.
///
/// # Errors
/// Rows that break the contract of [`Runner::forward`](crate::engine::runner::Runner::forward),
/// given the tokens that every slot holds (`lengths`).
pub fn segments(
    rows: &[Row],
    lengths: &[usize],
    capacity: usize,
) -> Result<Vec<Segment>, EngineError> {
    let mut segments: Vec<Segment> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let broken = |what: &str| {
            let Row { slot, position, .. } = row;
            let message = format!("row {index} (slot {slot}, position {position}) {what}");
            Err(EngineError::Internal(message))
        };
        if row.position >= capacity {
            return broken("is past the capacity of the cache");
        }
        if let Some(last) = segments.last_mut().filter(|last| last.slot == row.slot) {
            if row.position != last.start + last.rows {
                return broken("does not follow the row before it");
            }
            last.rows += 1;
            continue;
        }
        if segments.iter().any(|segment| segment.slot == row.slot) {
            return broken("is apart from the other rows of its slot");
        }
        match lengths.get(row.slot) {
            None => return broken("has no slot in the cache"),
            Some(length) if row.position != 0 && row.position != *length => {
                return broken("does not continue its slot");
            }
            Some(_) => {}
        }
        segments.push(Segment { slot: row.slot, start: row.position, first: index, rows: 1 });
    }
    Ok(segments)
}

/// Cosines and sines of the rope at the rows' positions, each `[rows, 1, head_dim / 2]`.
///
/// # Errors
/// Memory or device failures.
pub fn rope_tables(
    rows: &[Row],
    frequencies: &[f32],
    dtype: DType,
    device: &Device,
) -> candle_core::Result<(Tensor, Tensor)> {
    let angles = rows
        .iter()
        .flat_map(|row| frequencies.iter().map(move |frequency| row.position as f32 * frequency));
    let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
    let shape = (rows.len(), 1, frequencies.len());
    let tensor =
        |values| Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device);
    Ok((tensor(cos)?, tensor(sin)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::runner::Want;

    fn row(slot: usize, position: usize) -> Row {
        Row { slot, position, token: 0, prompt: true, want: Want::Nothing }
    }

    #[test]
    fn rows_of_a_slot_form_one_segment() {
        let rows = [row(2, 5), row(0, 0), row(0, 1), row(1, 3)];
        let found = segments(&rows, &[9, 3, 5], 16).unwrap();
        let expected = [
            Segment { slot: 2, start: 5, first: 0, rows: 1 },
            Segment { slot: 0, start: 0, first: 1, rows: 2 },
            Segment { slot: 1, start: 3, first: 3, rows: 1 },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_that_break_the_contract_are_refused() {
        for rows in [
            vec![row(0, 2)],
            vec![row(0, 0), row(0, 2)],
            vec![row(0, 0), row(1, 0), row(0, 1)],
            vec![row(5, 0)],
            vec![row(1, 16)],
        ] {
            assert!(segments(&rows, &[0, 16], 16).is_err(), "{rows:?}");
        }
    }
}
