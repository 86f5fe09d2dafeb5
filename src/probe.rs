//! Memory of this process and of the machine's GPUs, processor time and energy, each figure
//! with its source.
//!
//! What cannot be read is absent, never 0. This module does not know who asks.

mod amd;
mod available;
mod energy;
mod host;
mod load;
mod nvidia;
mod process;
mod small_file;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use available::{available_memory, available_memory_under};
pub use energy::EnergyReading;
pub use host::{Gpu, Host, cores, host};
pub use load::CpuTimes;

use amd::Amd;
use energy::Rapl;
use load::Load;
use nvidia::Nvidia;
use process::ProcessMemory;

/// What could be read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Resident memory of this process, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Reading>,
    /// One entry a GPU that could be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSample>,
    /// Processor time so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuTimes>,
    /// Energy so far, one entry a meter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub energy: Vec<EnergyReading>,
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
    /// `nvml`, `amdgpu sysfs`, `metal currentAllocatedSize`.
    pub source: String,
}

/// Reads memory from wherever it can be read; a sample costs well under a millisecond where
/// there are no GPUs.
#[derive(Debug)]
pub struct Probe {
    process: ProcessMemory,
    nvidia: Option<Nvidia>,
    amd: Amd,
    load: Load,
    rapl: Rapl,
}

impl Probe {
    /// Finds out once what can be read.
    pub fn new() -> Self {
        let nvidia = Nvidia::find(Path::new("/proc"));
        Self { nvidia, ..Self::under(Path::new("/")) }
    }

    /// Reads only the kernel's files, with `root` in place of `/`.
    pub fn under(root: &Path) -> Self {
        let (proc, sys) = (root.join("proc"), root.join("sys"));
        let process = ProcessMemory::find(&proc);
        let (load, rapl) = (Load::under(&proc, &sys), Rapl::find(&sys));
        Self { process, nvidia: None, amd: Amd::find(&sys, &proc), load, rapl }
    }

    /// Reads everything.
    pub fn sample(&mut self) -> Sample {
        let nvidia = self.nvidia.iter().flat_map(Nvidia::sample);
        let gpus = nvidia.chain(self.amd.sample()).collect();
        let meters = self.nvidia.iter().flat_map(Nvidia::energy);
        let energy = self.rapl.read().into_iter().chain(meters).collect();
        let (process, cpu) = (self.process.resident(), self.load.read());
        Sample { process, gpus, cpu, energy }
    }

    /// The most memory of this process that was ever resident, where the kernel keeps it.
    pub fn peak(&self) -> Option<Reading> {
        self.process.peak()
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}
