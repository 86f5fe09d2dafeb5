//! Local generation: the model store, loading, tokenizer, chat template, architectures,
//! scheduler, sampler, detokenizer and runners.
//!
//! It knows nothing of providers, benches or screens; `provider::local` adapts it.

pub mod arch;
pub mod device;
pub mod error;
pub mod gguf;
pub mod loader;
pub mod runner;
pub mod runners;
pub mod source;
pub mod weights;

pub use error::EngineError;
pub use source::{ModelSource, Weights};
