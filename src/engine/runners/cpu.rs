//! The fast CPU runner: our own kernels over packed weights.
//!
//! A row's result does not depend on the rows beside it, on how a prompt is cut into chunks or on
//! the number of threads, bit for bit: lanes are output columns, every sum has one fixed order, and
//! threads split outputs only. It does not depend on the instruction set either, but that AMX computes
//! in bf16, where weights have no more bits: all rows where they are bf16, and of quantised ones those of
//! prompts.
//!
//! This module does not read files and does not choose tokens, except the greedy ones, which
//! it finds without storing logits.

pub mod activations;
pub mod cache;
pub mod form;
pub mod kernels;
pub mod matrix;
pub mod model;
pub mod pack;
pub mod sketch;
pub mod weights;

mod blocks;
mod forward;
mod panel;
mod pass;
mod unpack;
mod workspace;

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;

use self::cache::{CpuCache, Pool};
use self::kernels::crew::Crew;
use self::kernels::isa::Isa;
use self::model::{Build, Model};
use self::pack::Source;
use self::workspace::Workspace;
use super::super::EngineError;
use super::super::arch::Decoder;
use super::super::runner::{Answers, Row, Runner};
use super::super::weights::{Inventory, TensorFiles};
use crate::probe;

/// Bytes that the packed weights of a model take.
pub fn packed_bytes(files: &TensorFiles, inventory: &Inventory, exact: bool) -> u64 {
    let source = Source { files, exact };
    let layers = inventory.layers.iter().flat_map(|layer| {
        layer.qkv.iter().chain(&layer.gate_up).chain([&layer.output, &layer.down])
    });
    let head = inventory.head.as_ref().unwrap_or(&inventory.embedding);
    layers.chain([head]).map(|tensor| source.bytes(tensor)).sum()
}

/// How the CPU runner computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Threads; all physical cores where it is `None`.
    pub threads: Option<NonZeroUsize>,
    /// The instruction set; the machine's best where it is `None`.
    pub isa: Option<Isa>,
    /// Weights, activations, keys and values in f32: slow, and as exact as f32 is.
    pub exact: bool,
}

/// A decoder with its weights and the threads that compute it.
#[derive(Debug)]
pub struct CpuRunner {
    model: Model,
    workspace: RefCell<Workspace>,
    /// Memory for caches.
    pool: Pool,
}

impl CpuRunner {
    /// Packs the weights.
    ///
    /// # Errors
    /// Memory failures, and an instruction set that this machine has not.
    pub fn load(
        decoder: &Decoder,
        inventory: &Inventory,
        files: &Arc<TensorFiles>,
        options: CpuOptions,
    ) -> Result<Self, EngineError> {
        let threads = options.threads.map(NonZeroUsize::get).or_else(probe::cores).unwrap_or(1);
        let crew = Crew::new(threads, options.isa.unwrap_or_else(Isa::best))?;
        let build = Build { decoder, inventory, files, exact: options.exact, threads };
        let model = build.run()?;
        files.release();
        let workspace = RefCell::new(Workspace::new(&model, crew)?);
        Ok(Self { model, workspace, pool: Pool::default() })
    }

    /// The instruction set that computes.
    pub fn isa(&self) -> Isa {
        self.workspace.borrow().crew.isa()
    }

    /// The threads that compute.
    pub fn threads(&self) -> usize {
        self.workspace.borrow().crew.threads()
    }
}

impl Runner for CpuRunner {
    type Cache = CpuCache;

    fn new_cache(&self, capacity: usize) -> Result<CpuCache, EngineError> {
        let (heads, layers) = (&self.model.heads, self.model.layers.len());
        Ok(CpuCache::new(heads, layers, capacity, self.pool.clone()))
    }

    fn forward(
        &self,
        cache: &mut CpuCache,
        rows: &[Row],
        answers: &mut Answers,
    ) -> Result<(), EngineError> {
        self.workspace.borrow_mut().forward(&self.model, cache, rows, answers)
    }

    fn vocabulary(&self) -> usize {
        self.model.vocabulary
    }

    fn weight_bytes(&self) -> u64 {
        self.model.weights.bytes()
    }

    fn slot_bytes(&self, capacity: usize) -> u64 {
        cache::slot_bytes(&self.model.heads, self.model.layers.len(), capacity) as u64
    }

    fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        self.workspace.borrow_mut().crew.each(items, work);
    }
}
