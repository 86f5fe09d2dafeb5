//! Memory of this process: `/proc/self/status` on Linux, sysinfo elsewhere.

use std::path::{Path, PathBuf};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Reading, small_file};

/// Where this process' memory is read.
#[derive(Debug)]
pub(super) enum ProcessMemory {
    /// The `status` file of the process.
    Status(PathBuf),
    /// The platform's own interface.
    Platform(Box<System>, Pid),
    /// Nowhere.
    Nowhere,
}

impl ProcessMemory {
    /// Finds out where it can be read.
    pub(super) fn find(proc: &Path) -> Self {
        let status = proc.join("self/status");
        if status.is_file() {
            return Self::Status(status);
        }
        match sysinfo::get_current_pid() {
            Ok(pid) => match System::new_with_specifics(sysinfo::RefreshKind::nothing()) {
                Ok(system) => Self::Platform(Box::new(system), pid),
                Err(_) => Self::Nowhere,
            },
            Err(_) => Self::Nowhere,
        }
    }

    /// Resident memory now.
    pub(super) fn resident(&mut self) -> Option<Reading> {
        match self {
            Self::Status(path) => of_status(path, "VmRSS"),
            Self::Platform(system, pid) => {
                let kind = ProcessRefreshKind::nothing().with_memory();
                system.refresh_processes_specifics(ProcessesToUpdate::Some(&[*pid]), true, kind);
                let bytes = system.process(*pid)?.memory();
                (bytes > 0).then(|| Reading { bytes, source: "sysinfo".to_owned() })
            }
            Self::Nowhere => None,
        }
    }

    /// The most that was ever resident, where the kernel keeps it.
    pub(super) fn peak(&self) -> Option<Reading> {
        match self {
            Self::Status(path) => of_status(path, "VmHWM"),
            Self::Platform(..) | Self::Nowhere => None,
        }
    }
}

fn of_status(path: &Path, key: &str) -> Option<Reading> {
    let status = small_file::read(path)?;
    let bytes = small_file::size(small_file::field(&status, key)?)?;
    Some(Reading { bytes, source: format!("/proc/self/status {key}") })
}
