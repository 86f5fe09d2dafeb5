//! Local generation: the model store, loading, tokenizer, chat template, architectures,
//! scheduler, sampler, detokenizer and runners.
//!
//! It knows nothing of providers, benches or screens; `provider::local` adapts it.

pub mod error;
pub mod runner;
pub mod source;

pub use error::EngineError;
pub use source::{ModelSource, Weights};
