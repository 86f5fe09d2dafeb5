//! A look at a model before it is loaded: whether it can run, what it is, how long prompts are.
//!
//! It reads the header and the vocabulary, not the weights.

use super::EngineError;
use super::chat_template::ChatTemplate;
use super::loader;
use super::prompt_encoding::encode_prompt;
use super::source::ModelSource;
use super::tokenizer::Tokenizer;
use super::weights::Inventory;
use crate::prompts::Content;

/// What is known of a model on this machine that is not loaded.
pub struct Inspection {
    /// `llama`, `qwen2`, `qwen3`, `phi3`.
    pub architecture: String,
    /// Elements of all tensors.
    pub parameters: u64,
    /// How most weights are stored: `Q4_1`, `Q4_K`, `BF16`.
    pub quantization: String,
    /// The most tokens of a row, prompt and output together.
    pub context_length: usize,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

impl Inspection {
    /// Looks at a model. Takes its time (a vocabulary is read): not for an async thread.
    ///
    /// # Errors
    /// All that [`loader::load`] would refuse before it allocates: a damaged file, an
    /// architecture or a type that is not supported, missing tensors, wrong shapes.
    pub fn take(source: &ModelSource) -> Result<Self, EngineError> {
        let loader::Opened { files, decoder, metadata } = loader::open(source)?;
        let inventory = Inventory::take(&files, &decoder)?;
        let tokenizer = Tokenizer::load(source, metadata.as_ref())?;
        let template = ChatTemplate::load(source, metadata.as_ref(), &tokenizer)?;
        Ok(Self {
            architecture: decoder.architecture.to_string(),
            parameters: inventory.parameters,
            quantization: loader::quantization(&files),
            context_length: loader::context_length(&decoder),
            tokenizer,
            template,
        })
    }

    /// How many tokens the model is given for a prompt, by the chat template unless `raw`.
    ///
    /// # Errors
    /// A prompt that this model cannot be given.
    pub fn tokens(&self, content: &Content, raw: bool) -> Result<usize, EngineError> {
        Ok(encode_prompt(&self.tokenizer, self.template.as_ref(), content, raw)?.len())
    }
}
