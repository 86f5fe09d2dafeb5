//! A model that is loaded and ready: its tokenizer, its chat template and the thread that
//! computes it.

use std::sync::Arc;

use candle_core::Device;

use super::call::{Call, Pushed, RowText};
use super::chat_template::ChatTemplate;
use super::detokenizer::Detokenizer;
use super::device::{self, DeviceMemory};
use super::error::EngineError;
use super::loader::{self, LoadOptions, Loaded, ModelDescription};
use super::prompt_encoding::encode_prompt;
use super::runner::Runner;
use super::scheduler::SchedulerOptions;
use super::source::ModelSource;
use super::stop::StopStrings;
use super::tokenizer::Tokenizer;
use super::worker::Worker;
use crate::prompts::Content;
use crate::sampling::Sampling;

/// Most prompt tokens computed in one step: enough to keep the matrix units busy, few enough
/// not to hold up the decoding rows for long.
const PREFILL_TOKENS: usize = 512;

/// A loaded model. Dropping it ends its thread and frees its memory.
#[derive(Debug)]
pub struct Model {
    worker: Worker,
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    description: ModelDescription,
    device: Device,
    weight_bytes: u64,
    max_slots: Option<usize>,
}

impl Model {
    /// Loads a model. Takes its time: not for an async thread.
    ///
    /// # Errors
    /// What cannot be run, and why, before anything large is allocated.
    pub fn load(source: &ModelSource, options: &LoadOptions) -> Result<Self, EngineError> {
        let Loaded { runner, description, device, metadata } = loader::load(source, options)?;
        let tokenizer = Tokenizer::load(source, metadata.as_ref())?;
        let template = ChatTemplate::load(source, metadata.as_ref(), &tokenizer)?;
        let scheduling = SchedulerOptions {
            prefill_tokens: PREFILL_TOKENS,
            share_prefixes: true,
            context_length: description.context_length,
            end_ids: tokenizer.end_ids().to_vec(),
            available_memory: crate::probe::available_memory,
        };
        let (weight_bytes, max_slots) = (runner.weight_bytes(), runner.max_slots());
        let worker = Worker::spawn(runner, scheduling)?;
        let tokenizer = Arc::new(tokenizer);
        Ok(Self { worker, tokenizer, template, description, device, weight_bytes, max_slots })
    }

    /// What was loaded.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// What the device's driver says of this process's memory; `None` where it says nothing.
    pub fn device_memory(&self) -> Option<DeviceMemory> {
        device::memory(&self.device)
    }

    /// Bytes of the weights.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// The most rows that can share a forward pass; `None` is no limit but memory.
    pub fn max_slots(&self) -> Option<usize> {
        self.max_slots
    }

    /// The token ids of a prompt, by the chat template unless `raw`.
    ///
    /// # Errors
    /// A prompt that this model cannot be given.
    pub fn encode(&self, content: &Content, raw: bool) -> Result<Vec<u32>, EngineError> {
        encode_prompt(&self.tokenizer, self.template.as_ref(), content, raw)
    }

    /// The text side of a row with these parameters.
    pub fn text(&self, sampling: &Sampling) -> Box<dyn RowText> {
        Box::new(ModelText {
            tokenizer: self.tokenizer.clone(),
            decoder: Detokenizer::new(),
            stops: StopStrings::new(&sampling.stop),
        })
    }

    /// Hands a call to the model's thread.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn submit(&self, call: Call) -> Result<(), EngineError> {
        self.worker.submit(call)
    }

    /// Why the model's thread is gone.
    pub fn gone(&self) -> EngineError {
        self.worker.gone()
    }
}

/// Turns a row's tokens into text up to its first stop string.
struct ModelText {
    tokenizer: Arc<Tokenizer>,
    decoder: Detokenizer,
    stops: StopStrings,
}

impl RowText for ModelText {
    fn push(&mut self, id: u32) -> Pushed {
        let text = self.decoder.push(&self.tokenizer, id);
        let text = self.stops.push(&text);
        Pushed { text, stopped: self.stops.stopped() }
    }

    fn finish(&mut self) -> String {
        let rest = self.decoder.finish();
        let mut text = self.stops.push(&rest);
        if !self.stops.stopped() {
            text.push_str(&self.stops.finish());
        }
        text
    }
}
