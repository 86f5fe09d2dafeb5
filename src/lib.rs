//! Batch generation with large language models: one list of prompts, run sequentially,
//! asynchronously and batched over one backend layer, with proof that every output belongs
//! to its prompt.
//!
//! ```no_run
//! use batchgen::client::{BatchOptions, Client};
//! use batchgen::provider::{BatchSize, ProviderSpec};
//!
//! # async fn example() -> Result<(), batchgen::provider::Failure> {
//! // the quickstart model, fetched if need be; any GGUF file, folder or hub repository works
//! let spec = ProviderSpec { model: "smollm2-135m-instruct".into(), ..ProviderSpec::default() };
//! let client = Client::open(&spec).await?;
//!
//! let prompts = ["Name a river.", "Name a mountain.", "Name a lake."];
//! let options = BatchOptions { batch_size: BatchSize::new(8), ..BatchOptions::default() };
//! for response in client.batch_generate(prompts, &options).await? {
//!     println!("{}: {}", prompts[response.index], response.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Responses are in prompt order, and the first failure ends the call;
//! [`batch_generate_each`](client::Client::batch_generate_each) keeps failures with their
//! prompts instead. [`client::blocking`] is the same without an async runtime. Where a provider
//! cannot batch, the call is refused with the reason and what to use instead.
//!
//! The layers, from the bottom up; each knows only those above it in this list:
//!
//! | module | what it is | what it does not know |
//! |---|---|---|
//! | [`sampling`] | the parameters of generation, one set for a list | everything else |
//! | [`units`], [`text`] | numbers and untrusted text for people | what they are about |
//! | [`prompts`] | prompt lists: files, built-in lists, templates | models |
//! | [`batch_file`] | batch files: requests and results as JSON Lines | what is compared |
//! | [`probe`] | memory of this process and of the GPUs | who asks |
//! | [`engine`] | local generation over candle, and the model store | providers, benches, screens |
//! | [`provider`] | the [`Provider`](provider::Provider) trait, its events and failures, one file a provider | benches, screens |
//! | [`config`] | settings, presets, the plan of a run | how a plan is run |
//! | [`client`] | the front of this library | runs, records, reports |
//! | [`mod@bench`] | the runner, the recorder, verification, the journal | implementations of providers |
//! | [`report`] | the report and its exporters | providers |
//! | [`tui`] | the workbench on the terminal | how tokens are made |
//! | [`cli`] | commands and flags | |

pub mod batch_file;
pub mod bench;
pub mod cli;
pub mod client;
pub mod config;
pub mod engine;
pub mod probe;
pub mod prompts;
pub mod provider;
pub mod report;
pub mod sampling;
pub mod text;
pub mod tui;
pub mod units;
mod web;
