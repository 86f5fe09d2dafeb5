//! Phases over whole rows: norm and quantising, each thread its own rows.

use std::ops::Range;

use super::crew::{Crew, Shared};
use super::table::Kernels;
use super::team::share;
use crate::engine::runners::cpu::activations::Activations;
use crate::engine::runners::cpu::form::BLOCK;
use crate::engine::runners::cpu::matrix::Matrix;
use crate::engine::runners::cpu::panel::{self, PANEL_ROWS};

/// RMSNorm's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// As long as a row, rounded up to 32.
    pub weight: &'a [f32],
    /// Added under the root.
    pub eps: f32,
}

/// Where rows of activations are written, as addresses.
#[derive(Clone, Copy)]
pub(super) struct Output {
    records: Option<Shared<u8>>,
    blocks: usize,
    floats: Option<Shared<f32>>,
    stride: usize,
    rows: usize,
}

impl Output {
    /// In the shapes in which rows of these kernels are wanted.
    pub fn new(out: &mut Activations, kernels: &Kernels) -> Self {
        let wanted = out.wanted(kernels.in_bf16());
        let panels = out.panels.as_mut().filter(|_| wanted.panels);
        let floats = out.floats.as_mut().filter(|_| wanted.floats);
        let rows = [panels.as_ref().map(|it| it.rows()), floats.as_ref().map(|it| it.rows())];
        Self {
            rows: rows.into_iter().flatten().min().unwrap_or(0),
            blocks: panels.as_ref().map_or(0, |panels| panels.blocks),
            records: panels.map(|panels| Shared::new(panels.records.as_mut_ptr())),
            stride: floats.as_ref().map_or(0, |floats| floats.stride()),
            floats: floats.map(|floats| Shared::new(floats.as_mut_ptr())),
        }
    }

    /// Rows there is room for.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Writes `blocks` blocks of a row from block `at` on.
    ///
    /// # Safety
    /// `values` is good for `blocks * 32` elements; row and blocks exist, and no other thread
    /// writes them.
    pub unsafe fn write(
        self,
        kernels: &Kernels,
        values: *const f32,
        row: usize,
        at: usize,
        blocks: usize,
    ) {
        if let Some(floats) = self.floats {
            let place = floats.pointer().wrapping_add(row * self.stride + at * BLOCK);
            // SAFETY: the caller's promise; a row is padded to whole blocks.
            unsafe { std::ptr::copy_nonoverlapping(values, place, blocks * BLOCK) };
        }
        if let Some(records) = self.records {
            let place = self.record(kernels, records, row, at);
            // SAFETY: the caller's promise, and the kernels are those of this machine.
            unsafe { (kernels.quantise)(values, blocks, place, PANEL_ROWS * kernels.record) };
        }
    }

    /// Where the record of a row's block is.
    fn record(self, kernels: &Kernels, records: Shared<u8>, row: usize, block: usize) -> *mut u8 {
        let number = panel::first_record(row, self.blocks) + block * PANEL_ROWS;
        records.pointer().wrapping_add(number * kernels.record)
    }

    /// Writes block `at` of the first `rows` rows.
    ///
    /// # Safety
    /// `values` is good for 32 elements for each row; the block exists in all of them, and no
    /// other thread writes it.
    pub unsafe fn write_column(
        self,
        kernels: &Kernels,
        values: *const f32,
        rows: usize,
        at: usize,
    ) {
        if let Some(floats) = self.floats {
            for row in 0..rows {
                let place = floats.pointer().wrapping_add(row * self.stride + at * BLOCK);
                // SAFETY: the caller's promise; a row is padded to whole blocks.
                unsafe { std::ptr::copy_nonoverlapping(values.add(row * BLOCK), place, BLOCK) };
            }
        }
        if let Some(records) = self.records {
            for row in (0..rows).step_by(PANEL_ROWS) {
                let (some, place) =
                    (PANEL_ROWS.min(rows - row), self.record(kernels, records, row, at));
                let values = values.wrapping_add(row * BLOCK);
                // SAFETY: the caller's promise; in a panel the rows' records of a block lie side
                // by side, and the kernels are those of this machine.
                unsafe { (kernels.quantise)(values, some, place, kernels.record) };
            }
        }
    }
}

/// Elements up to which the calling thread is done sooner alone than the others have begun.
const ALONE: usize = 2048;

impl Crew {
    /// Runs `job` with each thread's number and rows, or with all rows where there is little to
    /// do; who computes a row does not change its result.
    fn share_rows(
        &mut self,
        rows: usize,
        columns: usize,
        job: &(dyn Fn(usize, Range<usize>) + Sync),
    ) {
        if rows * columns <= ALONE {
            return job(0, 0..rows);
        }
        let threads = self.team.size();
        self.team.run(&|thread| job(thread, share(rows, thread, threads)));
    }

    /// Normalises row `rows[i]` of `x` into row i of `out`.
    pub fn norm(&mut self, x: &Matrix, rows: &[usize], norm: Norm<'_>, out: &mut Activations) {
        let (columns, stride) = (x.columns(), x.stride());
        let blocks = columns.div_ceil(BLOCK);
        assert!(norm.weight.len() >= blocks * BLOCK && out.columns == columns, "shapes differ");
        assert!(rows.iter().all(|row| *row < x.rows()), "a row that does not exist");
        let kernels = self.kernels;
        let out = Output::new(out, kernels);
        assert!(out.rows() >= rows.len(), "the result has no room");
        let scratch = self.scratch.parts(blocks * BLOCK);
        let x = Shared::new(x.as_ptr().cast_mut());
        self.share_rows(rows.len(), columns, &|thread, mine| {
            let values = scratch.part(thread);
            for row in mine {
                let from = x.pointer().wrapping_add(rows[row] * stride).cast_const();
                // SAFETY: the row exists and is padded with zeros; the scratch is this thread's
                // and long enough; this thread alone has this row of the result.
                unsafe {
                    let weight = norm.weight.as_ptr();
                    (kernels.norm)(from, weight, columns, norm.eps, values);
                    out.write(kernels, values, row, 0, blocks);
                }
            }
        });
    }

    /// Normalises the first `rows` rows of `x` and adds them to those of `out`.
    pub fn add_normed(&mut self, x: &Matrix, rows: usize, norm: Norm<'_>, out: &mut Matrix) {
        let (columns, stride) = (x.columns(), x.stride());
        let padded = columns.next_multiple_of(BLOCK);
        assert!(norm.weight.len() >= padded && out.columns() == columns, "shapes differ");
        assert!(x.rows() >= rows && out.rows() >= rows, "a row that does not exist");
        let kernels = self.kernels;
        let scratch = self.scratch.parts(padded);
        let (x, out_stride) = (Shared::new(x.as_ptr().cast_mut()), out.stride());
        let out = Shared::new(out.as_mut_ptr());
        self.share_rows(rows, columns, &|thread, mine| {
            let values = scratch.part(thread);
            for row in mine {
                let from = x.pointer().wrapping_add(row * stride).cast_const();
                let to = out.pointer().wrapping_add(row * out_stride);
                // SAFETY: the row exists in both and is padded with zeros; the scratch is this
                // thread's and long enough; this thread alone has this row of the result.
                let (values, to) = unsafe {
                    (kernels.norm)(from, norm.weight.as_ptr(), columns, norm.eps, values);
                    let values = std::slice::from_raw_parts(values.cast_const(), columns);
                    (values, std::slice::from_raw_parts_mut(to, columns))
                };
                to.iter_mut().zip(values).for_each(|(to, value)| *to += value);
            }
        });
    }

    /// Takes over the first `rows` rows of `x`.
    pub fn take(&mut self, x: &Matrix, rows: usize, out: &mut Activations) {
        let (blocks, stride) = (x.columns().div_ceil(BLOCK), x.stride());
        assert!(out.columns == x.columns() && x.rows() >= rows, "shapes differ");
        let (kernels, columns) = (self.kernels, x.columns());
        let out = Output::new(out, kernels);
        assert!(out.rows() >= rows, "the result has no room");
        let x = Shared::new(x.as_ptr().cast_mut());
        self.share_rows(rows, columns, &|_, mine| {
            for row in mine {
                let from = x.pointer().wrapping_add(row * stride).cast_const();
                // SAFETY: the row exists, and this thread alone has this row of the result.
                unsafe { out.write(kernels, from, row, 0, blocks) };
            }
        });
    }
}
