//! Local generation: the model store, loading, tokenizer, chat template, architectures,
//! scheduler, sampler, detokenizer and runners.
//!
//! It knows nothing of providers, benches or screens; `provider::local` adapts it.

pub mod arch;
pub mod call;
pub mod chat_template;
pub mod detokenizer;
pub mod device;
pub mod error;
pub mod gguf;
pub mod inspection;
pub mod loader;
pub mod model;
pub mod prompt_encoding;
pub mod runner;
pub mod runners;
pub mod sampler;
pub mod scheduler;
pub mod source;
pub mod stop;
pub mod store;
pub mod tokenizer;
pub mod weights;
pub mod worker;

pub use error::EngineError;
pub use source::{ModelSource, Weights};
pub use store::Store;
