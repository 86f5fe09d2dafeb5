//! The memory of a forward pass, kept from pass to pass.

use std::cell::OnceCell;

use super::activations::Activations;
use super::kernels::crew::Crew;
use super::kernels::head::{Goal, Winners};
use super::kernels::sketch::Bounds;
use super::matrix::Matrix;
use super::model::Model;
use super::pass::Pass;
use super::sketch::Sketch;
use crate::engine::EngineError;
use crate::engine::runner::{Row, Want};
use crate::probe;

/// Rows that go through all layers together; a longer pass is cut. Enough to use each weight
/// many times, few enough for the activations to stay in the caches near the cores.
pub const MAX_ROWS: usize = 128;

/// Rows that do where they are computed in bf16: there each quantised weight is made ready for the rows
/// first, which takes as long as the products with some forty of them, and others are read from memory.
pub const MAX_BF16_ROWS: usize = 512;

/// Which rows are computed in bf16, where an instruction set does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InBf16 {
    /// None.
    None,
    /// Those of prompts: some weights are quantised, and have to be made ready for it.
    Prompts,
    /// All: no weights are quantised, and some are bf16.
    All,
}

impl InBf16 {
    /// Those of a model's layers.
    fn of_layers(model: &Model, crew: &Crew) -> Self {
        if !crew.has_bf16() || !model.wanted_in_bf16.any_panels() {
            Self::None
        } else if model.wanted.any_panels() {
            Self::Prompts
        } else {
            Self::All
        }
    }
}

/// Memory for the rows that go through all layers together.
#[derive(Debug)]
pub struct Workspace {
    pub(super) crew: Crew,
    pub(super) pass: Pass,
    /// The residual stream.
    pub(super) stream: Matrix,
    pub(super) normed: Activations,
    pub(super) qkv: Matrix,
    pub(super) angles: Matrix,
    /// Of the layers that see a window, where they turn otherwise.
    pub(super) local_angles: Option<Matrix>,
    /// What is normalised before it is added to the stream.
    pub(super) product: Option<Matrix>,
    pub(super) heads: Matrix,
    pub(super) attended: Activations,
    pub(super) gated: Activations,
    /// Numbers of the rows, 0, 1, 2 and on.
    pub(super) rows: Vec<usize>,
    pub(super) bases: Vec<usize>,
    /// Which rows go through the layers in bf16.
    pub(super) in_bf16: InBf16,
    /// The rows that are computed together, where prompts are computed by themselves.
    pub(super) part: Vec<Row>,
    pub(super) head: HeadWorkspace,
    /// That of the head, once it has been of use; `None` where it has none.
    pub(super) sketch: OnceCell<Option<Sketch>>,
}

/// Memory for the rows that want an answer; it grows with them.
#[derive(Debug)]
pub struct HeadWorkspace {
    pub(super) stream: Matrix,
    pub(super) normed: Activations,
    pub(super) rows: Vec<usize>,
    pub(super) goals: Vec<Goal>,
    pub(super) winners: Winners,
    /// Whether this pass goes by way of the sketch.
    pub(super) sketched: bool,
    pub(super) bounds: Option<Bounds>,
}

impl Workspace {
    /// Memory for this model.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new(model: &Model, mut crew: Crew) -> Result<Self, EngineError> {
        let Model { heads, hidden, ffn, .. } = model;
        let queries = heads.queries * heads.dim;
        let qkv = model.layers.first().and_then(|layer| layer.qkv.columns.last().copied());
        let in_bf16 = InBf16::of_layers(model, &crew);
        let (other, bf16) = match in_bf16 {
            InBf16::None => (model.wanted, model.wanted),
            InBf16::Prompts => (model.wanted, model.wanted_in_bf16),
            InBf16::All => (model.wanted_in_bf16, model.wanted_in_bf16),
        };
        let rows = if in_bf16 == InBf16::None { MAX_ROWS } else { MAX_BF16_ROWS };
        crew.reserve(Crew::gate_scratch(rows).max(hidden + 64))?;
        crew.reserve_spread(queries.max(*hidden).max(*ffn))?;
        Ok(Self {
            crew,
            pass: Pass::default(),
            stream: Matrix::zeros(rows, *hidden)?,
            normed: Activations::of_both(rows, *hidden, other.normed, bf16.normed)?,
            qkv: Matrix::zeros(rows, qkv.unwrap_or(0))?,
            angles: Matrix::zeros(rows, heads.dim)?,
            local_angles: match &model.local_frequencies {
                None => None,
                Some(_) => Some(Matrix::zeros(rows, heads.dim)?),
            },
            product: match model.layers.iter().any(|layer| layer.post_norms.is_some()) {
                false => None,
                true => Some(Matrix::zeros(rows, *hidden)?),
            },
            heads: Matrix::zeros(rows, queries)?,
            attended: Activations::of_both(rows, queries, other.attended, bf16.attended)?,
            gated: Activations::of_both(rows, *ffn, other.gated, bf16.gated)?,
            rows: (0..rows).collect(),
            bases: Vec::new(),
            in_bf16,
            part: Vec::new(),
            head: HeadWorkspace::new(model, 1)?,
            sketch: OnceCell::new(),
        })
    }

    /// Makes room for the answers to these rows, and for attention over this capacity.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn reserve(
        &mut self,
        model: &Model,
        rows: &[Row],
        capacity: usize,
    ) -> Result<(), EngineError> {
        let mut wants = rows.iter().map(|row| row.want).filter(|want| want.anything());
        let answers = wants.clone().count();
        self.crew.reserve(model.heads.scratch(capacity))?;
        if answers > self.head.stream.rows() {
            self.head = HeadWorkspace::new(model, answers.next_power_of_two())?;
        }
        let quantised = model.wanted_by_head.panels;
        let bounded = answers > 0
            && wants.all(|want| want == Want::Best)
            && self.crew.sketches(answers, quantised);
        let sketch =
            bounded.then(|| self.sketch.get_or_init(|| sketch_of(model)).as_ref()).flatten();
        self.head.sketched = sketch.is_some();
        if let Some(sketch) = sketch {
            self.crew.reserve_rounded(sketch)?;
            if self.head.bounds.is_none() {
                let rows = self.head.stream.rows();
                self.head.bounds = Some(Bounds::new(rows, &model.head, sketch)?);
            }
        }
        Ok(())
    }
}

/// The sketch of a model's head, where there is room enough: without it the same tokens are found.
fn sketch_of(model: &Model) -> Option<Sketch> {
    let bytes = Sketch::bytes(&model.head)?;
    let fits = probe::available_memory().is_none_or(|available| bytes <= available / 4);
    fits.then(|| Sketch::new(&model.head, &model.weights, &model.norm).ok()).flatten()
}

impl HeadWorkspace {
    fn new(model: &Model, rows: usize) -> Result<Self, EngineError> {
        Ok(Self {
            stream: Matrix::zeros(rows, model.hidden)?,
            normed: Activations::new(rows, model.hidden, model.wanted_by_head)?,
            rows: (0..rows).collect(),
            goals: Vec::with_capacity(rows),
            winners: Winners::default(),
            sketched: false,
            bounds: None,
        })
    }
}
