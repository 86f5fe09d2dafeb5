//! Loading a model: everything is checked first, then weights are read.
//!
//! This module decides what can run and in which form; it does not compute.

mod memory;

use std::num::NonZeroUsize;
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::arch::{self, Architecture, Decoder};
use super::gguf::{GgufFile, Metadata};
use super::runner::Runner;
use super::runners::candle::{Build, Form};
use super::runners::cpu::kernels::isa::Isa;
use super::runners::cpu::{self, CpuOptions, CpuRunner};
use super::runners::transformers::{self, TransformersRunner};
use super::runners::{AnyRunner, RunnerKind};
use super::source::{ModelSource, Weights};
use super::weights::{Inventory, StoredTensor, TensorFiles};
use super::{EngineError, device};

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Threads of the CPU; all of its cores where it is `None`. It sizes the team of the CPU
    /// runner, or the pool that the candle runner's loops and candle's matrix products run in. Candle's quantised products
    /// (models too large for f32) have a pool of their own for the whole process, which only
    /// the environment variable `RAYON_NUM_THREADS` sizes.
    pub threads: Option<NonZeroUsize>,
    /// The most bytes the weights may take; what the machine has available is the limit too.
    pub memory_limit: Option<u64>,
    /// Which code computes.
    pub kernels: Kernels,
}

/// Which code computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kernels {
    /// The fast CPU runner where this build computes on the CPU and the runner has the model's
    /// architecture, otherwise candle.
    #[default]
    Best,
    /// The fast CPU runner, whatever GPU there is, with the machine's best instruction set.
    Cpu,
    /// The fast CPU runner, told how to compute.
    CpuWith(CpuChoices),
    /// The candle runner, with this engine's own f32 loops where they are faster.
    Own,
    /// Candle's operations alone, as on a GPU: slower, and a row's result may differ in its
    /// last bits with its neighbours.
    Candle,
}

/// How the fast CPU runner computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuChoices {
    /// The instruction set; the machine's best where it is `None`.
    pub isa: Option<Isa>,
    /// Everything in f32, nothing rounded further: slow.
    pub exact: bool,
}

/// A model that is ready to run.
pub struct Loaded {
    /// Computes.
    pub runner: AnyRunner,
    /// What it is.
    pub description: ModelDescription,
    /// Where it computes.
    pub device: Device,
    /// Keys and values of the GGUF header, where the weights came from one.
    pub metadata: Option<Metadata>,
}

/// What is known of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDescription {
    /// `llama`, `qwen2`, `qwen3`, `gemma3`, `phi3`.
    pub architecture: String,
    /// Elements of all tensors.
    pub parameters: u64,
    /// How most weights are stored: `Q4_1`, `Q4_K`, `BF16`.
    pub quantization: String,
    /// The most tokens of a row, prompt and output together.
    pub context_length: usize,
    /// Entries of a logits row.
    pub vocabulary: usize,
    /// Which code computes: `cpu`, `candle`, `candle-transformers`.
    pub runner: String,
    /// The instruction set and the threads of the CPU runner: `avx512`, 2.
    pub team: Option<(String, usize)>,
    /// `cpu`, `cuda`, `metal`.
    pub device: String,
    /// Whether a greedy row is bit for bit the same whatever it is batched with.
    pub batch_invariant: bool,
}

/// Loads a model.
///
/// # Errors
/// Before anything is allocated: a file that cannot be read or is damaged, an architecture, a
/// setting or a type that is not supported, tensors that are missing or have wrong shapes, and
/// weights that do not fit in memory.
pub fn load(source: &ModelSource, options: &LoadOptions) -> Result<Loaded, EngineError> {
    let Opened { files, decoder, metadata } = open(source)?;
    let inventory = Inventory::take(&files, &decoder)?;
    let device = options.kernels.device()?;
    let plan = Plan::make(&files, &inventory, &decoder, options, &device)?;
    let device = if matches!(plan, Plan::Cpu(_)) { Device::Cpu } else { device };
    let (parameters, quantization) = (inventory.parameters, quantization(&files));
    let pool = thread_pool(options)?;
    // our own loops compute each row alone; candle's products choose their way by the batch
    let batch_invariant =
        matches!(plan, Plan::Cpu(_) | Plan::Own(Form::Panels) | Plan::Transformers);
    let runner = match plan {
        Plan::Own(form) => {
            let files = Arc::new(files);
            let (decoder, inventory, device) = (&decoder, &inventory, device.clone());
            let build = Build { decoder, inventory, files: &files, form, device, pool };
            AnyRunner::Candle(build.run()?)
        }
        Plan::Cpu(choices) => {
            let files = Arc::new(files);
            let CpuChoices { isa, exact } = choices;
            let options = CpuOptions { threads: options.threads, isa, exact };
            let runner = CpuRunner::load(&decoder, &inventory, &files, options)?;
            AnyRunner::Cpu(Box::new(runner))
        }
        Plan::Transformers => {
            let (decoder, inventory, files) = (&decoder, &inventory, &files);
            let (dtype, device) = (transformers_type(files, &device), device.clone());
            let inputs = transformers::Inputs { decoder, inventory, files, dtype, device, pool };
            AnyRunner::Transformers(TransformersRunner::load(&inputs)?)
        }
    };
    let description = ModelDescription {
        architecture: decoder.architecture.to_string(),
        parameters,
        quantization,
        context_length: context_length(&decoder),
        vocabulary: runner.vocabulary(),
        runner: runner.kind().word().to_string(),
        team: runner.team(),
        device: device::word(&device).to_string(),
        batch_invariant,
    };
    Ok(Loaded { runner, description, device, metadata })
}

pub(super) struct Opened {
    pub(super) files: TensorFiles,
    pub(super) decoder: Decoder,
    pub(super) metadata: Option<Metadata>,
}

pub(super) fn open(source: &ModelSource) -> Result<Opened, EngineError> {
    match &source.weights {
        Weights::Gguf(path) => {
            let mut file = GgufFile::open(path)?;
            let decoder = arch::from_gguf(file.metadata(), path)?;
            let metadata = Some(file.take_metadata());
            Ok(Opened { files: TensorFiles::from_gguf(file), decoder, metadata })
        }
        Weights::Safetensors { config, shards } => {
            let decoder = arch::from_config(config)?;
            let files = TensorFiles::open_safetensors(config, shards)?;
            Ok(Opened { files, decoder, metadata: None })
        }
    }
}

/// What runs the model, and in which form.
enum Plan {
    Own(Form),
    Cpu(CpuChoices),
    Transformers,
}

impl Plan {
    fn make(
        files: &TensorFiles,
        inventory: &Inventory,
        decoder: &Decoder,
        options: &LoadOptions,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let budget = memory::Budget::read(options.memory_limit);
        if decoder.architecture == Architecture::Phi3 {
            if matches!(options.kernels, Kernels::Cpu | Kernels::CpuWith(_)) {
                return Err(EngineError::Unsupported {
                    reason: "the cpu runner does not have the architecture phi3".into(),
                    instead: "leave the runner out, or use --runner candle".into(),
                });
            }
            transformers::check(decoder, files.naming)?;
            let dtype = transformers_type(files, device);
            let needed = transformers::weight_bytes(files, inventory, dtype);
            budget.check(needed, &files.source)?;
            return Ok(Self::Transformers);
        }
        let needs = memory::Needs::of(files, inventory);
        if decoder.architecture == Architecture::Gemma3 {
            return Self::cpu_only(files, inventory, options, budget);
        }
        if !device.is_cpu() {
            return Ok(Self::Own(Form::Dense(device_type(files))));
        }
        match options.kernels {
            Kernels::Best | Kernels::Cpu => {
                Self::cpu(files, inventory, CpuChoices::default(), budget)
            }
            Kernels::CpuWith(choices) => Self::cpu(files, inventory, choices, budget),
            Kernels::Candle => {
                budget.check(needs.f32, &files.source)?;
                Ok(Self::Own(Form::Dense(DType::F32)))
            }
            Kernels::Own if needs.f32 > budget.bytes && needs.blocks < needs.f32 => {
                budget.check(needs.blocks, &files.source)?;
                Ok(Self::Own(Form::Quantized))
            }
            Kernels::Own => {
                budget.check(needs.f32, &files.source)?;
                Ok(Self::Own(Form::Panels))
            }
        }
    }
}

impl Plan {
    /// For architectures that the candle runner does not have.
    fn cpu_only(
        files: &TensorFiles,
        inventory: &Inventory,
        options: &LoadOptions,
        budget: memory::Budget,
    ) -> Result<Self, EngineError> {
        match options.kernels {
            Kernels::Best | Kernels::Cpu => {
                Self::cpu(files, inventory, CpuChoices::default(), budget)
            }
            Kernels::CpuWith(choices) => Self::cpu(files, inventory, choices, budget),
            Kernels::Own | Kernels::Candle => Err(EngineError::Unsupported {
                reason: "the candle runner does not have the architecture gemma3".into(),
                instead: "leave the runner out, or use --runner cpu".into(),
            }),
        }
    }

    fn cpu(
        files: &TensorFiles,
        inventory: &Inventory,
        choices: CpuChoices,
        budget: memory::Budget,
    ) -> Result<Self, EngineError> {
        budget.check(cpu::packed_bytes(files, inventory, choices.exact), &files.source)?;
        Ok(Self::Cpu(choices))
    }
}

impl Kernels {
    /// Where it computes.
    fn device(self) -> Result<Device, EngineError> {
        match self {
            Self::Cpu | Self::CpuWith(_) => Ok(Device::Cpu),
            Self::Best | Self::Own | Self::Candle => device::select(),
        }
    }
}

/// On a GPU weights keep their type, and quantised ones become f16.
fn device_type(files: &TensorFiles) -> DType {
    match commonest_type(files) {
        Some(GgmlDType::F32) => DType::F32,
        Some(GgmlDType::BF16) => DType::BF16,
        _ => DType::F16,
    }
}

/// The type of dense weights in candle-transformers.
fn transformers_type(files: &TensorFiles, device: &Device) -> DType {
    if device.is_cpu() { DType::F32 } else { device_type(files) }
}

/// The type that holds the most elements of matrices.
fn commonest_type(files: &TensorFiles) -> Option<GgmlDType> {
    let matrices = || files.iter().filter(|tensor| tensor.shape.len() > 1);
    let total = |dtype: GgmlDType| -> u64 {
        matrices().filter(|tensor| tensor.dtype == dtype).map(StoredTensor::elements).sum()
    };
    matrices().map(|tensor| tensor.dtype).max_by_key(|dtype| total(*dtype))
}

pub(super) fn quantization(files: &TensorFiles) -> String {
    let word = match commonest_type(files) {
        None => return "none".into(),
        Some(GgmlDType::F32) => "F32",
        Some(GgmlDType::F16) => "F16",
        Some(GgmlDType::BF16) => "BF16",
        Some(GgmlDType::Q4_0) => "Q4_0",
        Some(GgmlDType::Q4_1) => "Q4_1",
        Some(GgmlDType::Q5_0) => "Q5_0",
        Some(GgmlDType::Q5_1) => "Q5_1",
        Some(GgmlDType::Q8_0) => "Q8_0",
        Some(GgmlDType::Q8_1) => "Q8_1",
        Some(GgmlDType::Q2K) => "Q2_K",
        Some(GgmlDType::Q3K) => "Q3_K",
        Some(GgmlDType::Q4K) => "Q4_K",
        Some(GgmlDType::Q5K) => "Q5_K",
        Some(GgmlDType::Q6K) => "Q6_K",
        Some(GgmlDType::Q8K) => "Q8_K",
    };
    word.into()
}

pub(super) fn context_length(decoder: &Decoder) -> usize {
    match decoder.architecture {
        Architecture::Phi3 => transformers::context_length(decoder),
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Gemma3 => {
            decoder.context
        }
    }
}

fn thread_pool(options: &LoadOptions) -> Result<Arc<ThreadPool>, EngineError> {
    let threads = options.threads.map_or(0, NonZeroUsize::get);
    let builder = ThreadPoolBuilder::new().num_threads(threads);
    let pool = builder.thread_name(|index| format!("engine-{index}")).build();
    pool.map(Arc::new).map_err(|error| {
        EngineError::Internal(format!("cannot start the engine's threads: {error}"))
    })
}

impl RunnerKind {
    /// Its name as the screen and the report write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Candle => "candle",
            Self::Cpu => "cpu",
            Self::Transformers => "candle-transformers",
        }
    }
}
