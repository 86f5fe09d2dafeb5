//! Energy of processor packages, from the kernel's counters (RAPL, which AMD's driver offers
//! under the same names). They are often readable by root only, and absent in most virtual
//! machines: then nothing is known, which is not 0.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::small_file;

/// A meter that counts up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnergyReading {
    /// Which meter, such as `package-0`; unique among those of a sample.
    pub name: String,
    /// Joules since some moment in the past.
    pub joules: f64,
    /// Where the meter begins again at 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wraps_at: Option<f64>,
    /// `rapl` or `nvml`.
    pub source: String,
}

/// Most packages that are read.
const MOST_PACKAGES: usize = 64;

/// The packages of this machine.
#[derive(Debug)]
pub(super) struct Rapl {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    name: String,
    counter: PathBuf,
    wraps_at: Option<f64>,
}

impl Rapl {
    /// Finds the packages that may be read.
    pub(super) fn find(sys: &Path) -> Self {
        let folder = sys.join("class/powercap");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        // intel-rapl:0 is a package, intel-rapl:0:1 a part of it that is counted there already
        let is_package = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix("intel-rapl:").is_some_and(|rest| !rest.contains(':'))
        };
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(is_package).take(MOST_PACKAGES).collect();
        paths.sort();
        let package = |path: PathBuf| {
            let name = small_file::read(&path.join("name"))?.trim().to_owned();
            let counter = path.join("energy_uj");
            number(&counter)?;
            let wraps_at = number(&path.join("max_energy_range_uj")).map(|most| most / 1e6);
            // psys is the whole platform and holds the packages once more
            (name != "psys").then_some(Package { name, counter, wraps_at })
        };
        Self { packages: paths.into_iter().filter_map(package).collect() }
    }

    /// What the counters say now.
    pub(super) fn read(&self) -> Vec<EnergyReading> {
        let reading = |package: &Package| {
            let joules = number(&package.counter)? / 1e6;
            let (name, wraps_at) = (package.name.clone(), package.wraps_at);
            Some(EnergyReading { name, joules, wraps_at, source: "rapl".to_owned() })
        };
        self.packages.iter().filter_map(reading).collect()
    }
}

fn number(path: &Path) -> Option<f64> {
    small_file::read(path)?.trim().parse::<u64>().ok().map(|number| number as f64)
}
