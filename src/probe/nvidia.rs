//! NVIDIA GPUs through NVML, which the driver brings and which is loaded at run time.
//!
//! A machine without the library is normal and has no NVIDIA GPUs as far as this module knows.

use std::path::Path;

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

use super::{EnergyReading, GpuSample, small_file};

/// The inode of the first pid namespace of a Linux kernel (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The driver's library and what does not change.
#[derive(Debug)]
pub(super) struct Nvidia {
    nvml: Nvml,
    gpus: Vec<Gpu>,
    /// Absent in a container: NVML speaks of the host's process ids.
    pid: Option<u32>,
}

#[derive(Debug)]
struct Gpu {
    index: u32,
    name: String,
}

impl Nvidia {
    /// The GPUs of this machine; `None` without the driver or without GPUs.
    pub(super) fn find(proc: &Path) -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let count = nvml.device_count().ok()?;
        let gpu = |index| {
            let name = nvml.device_by_index(index).ok()?.name();
            let name = name.unwrap_or_else(|_| format!("NVIDIA GPU {index}"));
            Some(Gpu { index, name })
        };
        let gpus: Vec<Gpu> = (0..count).filter_map(gpu).collect();
        (!gpus.is_empty()).then(|| Self { pid: pid_outside(proc), gpus, nvml })
    }

    /// What every GPU says now; a figure it does not give is absent.
    pub(super) fn sample(&self) -> Vec<GpuSample> {
        self.gpus.iter().map(|gpu| self.sample_of(gpu)).collect()
    }

    /// What every GPU has used since its driver was loaded; GPUs without the meter are absent.
    pub(super) fn energy(&self) -> Vec<EnergyReading> {
        let reading = |gpu: &Gpu| {
            let device = self.nvml.device_by_index(gpu.index).ok()?;
            let joules = device.total_energy_consumption().ok()? as f64 / 1e3;
            let name = format!("{} {}", gpu.name, gpu.index);
            Some(EnergyReading { name, joules, wraps_at: None, source: "nvml".to_owned() })
        };
        self.gpus.iter().filter_map(reading).collect()
    }

    fn sample_of(&self, gpu: &Gpu) -> GpuSample {
        let device = self.nvml.device_by_index(gpu.index).ok();
        let memory = device.as_ref().and_then(|device| device.memory_info().ok());
        let total = memory.as_ref().and_then(|memory| small_file::plausible(memory.total));
        let total = total.filter(|total| *total > 0);
        let used = memory.map(|memory| memory.used);
        let used = used.filter(|used| total.is_some_and(|total| *used <= total));
        let this_process = match (&device, self.pid, total) {
            (Some(device), Some(pid), Some(total)) => used_by(pid, &processes(device), total),
            _ => None,
        };
        GpuSample { name: gpu.name.clone(), total, used, this_process, source: "nvml".to_owned() }
    }
}

/// The id of this process as NVML knows it; `None` in a pid namespace of its own.
fn pid_outside(proc: &Path) -> Option<u32> {
    let first = match std::fs::read_link(proc.join("self/ns/pid")) {
        Ok(namespace) => namespace == Path::new(FIRST_PID_NAMESPACE),
        // Not Linux, or a kernel without namespaces.
        Err(_) => !cfg!(target_os = "linux"),
    };
    first.then(std::process::id)
}

fn processes(device: &Device<'_>) -> Vec<ProcessInfo> {
    let mut all = device.running_compute_processes().unwrap_or_default();
    all.extend(device.running_graphics_processes().unwrap_or_default());
    all
}

/// Bytes of one process. It is listed once for compute and once for graphics, with the same
/// figure; drivers that cannot tell say so or give all ones.
fn used_by(pid: u32, processes: &[ProcessInfo], total: u64) -> Option<u64> {
    let own = processes.iter().filter(|process| process.pid == pid);
    let used = own.filter_map(|process| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    });
    used.filter(|bytes| *bytes <= total).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, used_gpu_memory: UsedGpuMemory) -> ProcessInfo {
        ProcessInfo { pid, used_gpu_memory, gpu_instance_id: None, compute_instance_id: None }
    }

    #[test]
    fn a_process_in_both_lists_counts_once() {
        let listed = [
            process(7, UsedGpuMemory::Used(5)),
            process(8, UsedGpuMemory::Used(9)),
            process(7, UsedGpuMemory::Used(5)),
        ];
        assert_eq!(used_by(7, &listed, 100), Some(5));
    }

    #[test]
    fn unavailable_absurd_and_unlisted_are_none() {
        let listed = [
            process(1, UsedGpuMemory::Unavailable),
            process(2, UsedGpuMemory::Used(u64::MAX)),
            process(3, UsedGpuMemory::Used(101)),
        ];
        for pid in 1..=4 {
            assert_eq!(used_by(pid, &listed, 100), None, "{pid}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn in_a_pid_namespace_of_its_own_no_process_id_is_compared() {
        let proc = tempfile::tempdir().unwrap();
        let namespace = proc.path().join("self/ns/pid");
        std::fs::create_dir_all(namespace.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("pid:[4026532999]", &namespace).unwrap();
        assert_eq!(pid_outside(proc.path()), None);
        std::fs::remove_file(&namespace).unwrap();
        std::os::unix::fs::symlink(FIRST_PID_NAMESPACE, &namespace).unwrap();
        assert_eq!(pid_outside(proc.path()), Some(std::process::id()));
    }
}
