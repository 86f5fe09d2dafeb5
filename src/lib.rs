//! Batch generation with large language models: one list of prompts, run sequentially,
//! asynchronously and batched over one backend layer, with proof that every output belongs
//! to its prompt.
//!
//! The layers, from the bottom up; each knows only those above it in this list:
//!
//! | module | what it is | what it does not know |
//! |---|---|---|
//! | [`sampling`] | the parameters of generation, one set for a list | everything else |
//! | [`prompts`] | prompt lists: files, built-in lists, templates | models |
//! | [`engine`] | local generation over candle, and the model store | providers, benches, screens |
//! | [`provider`] | the [`Provider`](provider::Provider) trait, its events and failures, one file a provider | benches, screens |
//! | [`config`] | settings, presets, the plan of a run | how a plan is run |
//! | [`probe`] | memory of this process and of the GPUs | who asks |
//! | [`bench`] | the runner, the recorder, verification, the journal | implementations of providers |
//! | [`units`] | numbers for people: digits, units | what they measure |
//! | [`report`] | the report and its exporters | providers |
//! | [`tui`] | the workbench on the terminal | how tokens are made |
//! | [`cli`] | commands and flags | |

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
