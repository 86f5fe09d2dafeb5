//! The machine, as a report describes it.

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::Probe;

/// A machine; what could not be read is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system, its version and the processor's architecture.
    pub os: String,
    /// The processor's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Processors that this program may use, limits of containers included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<usize>,
    /// Memory of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The GPUs that could be found.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// The device's name.
    pub name: String,
    /// Its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// Cores that this program may use, limits of containers included; a core that runs two threads
/// counts once.
pub fn cores() -> Option<usize> {
    let processors = std::thread::available_parallelism().ok().map(usize::from);
    let physical = System::physical_core_count().ok().filter(|cores| *cores > 0);
    processors.into_iter().chain(physical).min()
}

/// This machine.
pub fn host() -> Host {
    let os = System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned());
    let kind = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kind).ok();
    let brand = system.as_ref().and_then(|system| Some(system.cpus().first()?.brand().to_owned()));
    let memory = system.map(|system| system.total_memory());
    let gpus = Probe::new().sample().gpus.into_iter();
    Host {
        os: format!("{os}, {}", std::env::consts::ARCH),
        cpu: brand.map(|brand| brand.trim().to_owned()).filter(|brand| !brand.is_empty()),
        cores: std::thread::available_parallelism().ok().map(usize::from),
        memory_bytes: memory.filter(|bytes| *bytes > 0),
        gpus: gpus.map(|gpu| Gpu { name: gpu.name, memory_bytes: gpu.total }).collect(),
    }
}
