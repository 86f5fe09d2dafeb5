//! Memory of this process and of the machine's GPUs, each figure with its source.
//!
//! What cannot be read is absent, never 0. This module does not know who asks.

use serde::{Deserialize, Serialize};

/// What could be read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Resident memory of this process, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Reading>,
    /// One entry a GPU that could be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSample>,
}

/// A figure and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Bytes.
    pub bytes: u64,
    /// Such as `/proc/self/status VmRSS`.
    pub source: String,
}

/// Memory of one GPU, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSample {
    /// The device's name.
    pub name: String,
    /// Capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Used on the whole device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Used by this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub this_process: Option<u64>,
    /// `nvml`, `amdgpu sysfs`, `metal`.
    pub source: String,
}

/// Reads memory from wherever it can be read.
#[derive(Debug, Default)]
pub struct Probe;

impl Probe {
    /// Finds out once what can be read.
    pub fn new() -> Self {
        Self
    }

    /// Reads everything.
    pub fn sample(&mut self) -> Sample {
        Sample::default()
    }
}
