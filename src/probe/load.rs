//! Processor time: this program's, the whole machine's, what a hypervisor took, and how often
//! processors were throttled. From the Linux kernel's files; elsewhere nothing is known.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::small_file;

/// Ticks of the kernel's counters a second (`USER_HZ`), on every common architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time since the machine or the program was started, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CpuTimes {
    /// Of this program.
    pub own: f64,
    /// Of everything on the machine.
    pub busy: f64,
    /// Taken by the hypervisor for other machines.
    pub stolen: f64,
    /// Processors of the machine.
    pub cores: usize,
    /// How often processors were throttled for heat or power, where it is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<u64>,
}

/// Where processor time is read.
#[derive(Debug)]
pub(super) struct Load {
    proc: PathBuf,
    throttles: Vec<PathBuf>,
}

impl Load {
    pub(super) fn under(proc: &Path, sys: &Path) -> Self {
        // a package's counter is the same in each of its processors: the cores' own are summed
        let counter = |cpu: usize| {
            let folder = sys.join(format!("devices/system/cpu/cpu{cpu}/thermal_throttle"));
            Some(folder.join("core_throttle_count")).filter(|path| path.exists())
        };
        let throttles = (0..1024).map_while(counter).collect();
        Self { proc: proc.to_owned(), throttles }
    }

    /// The times now.
    pub(super) fn read(&self) -> Option<CpuTimes> {
        let machine = small_file::read(&self.proc.join("stat"))?;
        let own = small_file::read(&self.proc.join("self/stat"))?;
        let (busy, stolen) = machine_times(machine.lines().next()?)?;
        let is_core = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let cores = machine.lines().filter(is_core).count();
        let counts =
            self.throttles.iter().map(|path| small_file::read(path)?.trim().parse::<u64>().ok());
        let throttled = counts.sum::<Option<u64>>().filter(|_| !self.throttles.is_empty());
        (cores > 0).then_some(CpuTimes { own: own_time(&own)?, busy, stolen, cores, throttled })
    }
}

/// Busy and stolen time of the line `cpu  user nice system idle iowait irq softirq steal …`.
fn machine_times(line: &str) -> Option<(f64, f64)> {
    let fields = line.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<f64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        return None;
    };
    Some(((user + nice + system + irq + softirq) / TICKS_PER_SECOND, steal / TICKS_PER_SECOND))
}

/// User and system time of `/proc/self/stat`. The program's name may hold blanks and brackets.
fn own_time(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_kernels_lines_and_nonsense_is_none() {
        let line = "cpu  100 20 30 4000 5 6 7 80 0 0";
        assert_eq!(machine_times(line), Some((1.63, 0.8)));
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 100";
        assert_eq!(own_time(stat), Some(3.0));
        for odd in ["", "cpu", "cpu  1 2", "cpu  a b c d e f g h"] {
            assert_eq!(machine_times(odd), None, "{odd}");
            assert_eq!(own_time(odd), None, "{odd}");
        }
    }
}
