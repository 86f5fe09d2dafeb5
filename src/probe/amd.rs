//! AMD GPUs through the files of the amdgpu driver: sysfs for the device, fdinfo for this process.
//!
//! Sources: the kernel's `amdgpu/driver-misc` and `drm-usage-stats` documents.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{GpuSample, small_file};

const VENDOR: &str = "0x1002";

/// More open files than this are not looked at.
const MOST_FILES: usize = 4096;

/// The GPUs that the amdgpu driver runs, and where this process' share is told.
#[derive(Debug)]
pub(super) struct Amd {
    gpus: Vec<Gpu>,
    fdinfo: PathBuf,
}

#[derive(Debug)]
struct Gpu {
    /// `/sys/class/drm/cardN/device`.
    folder: PathBuf,
    name: String,
    /// The PCI address, as fdinfo calls the device.
    address: Option<String>,
    /// Part of a processor: models lie in system memory that it borrows (GTT).
    integrated: bool,
}

/// Bytes of this process on one device, by memory region.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    vram: Option<u64>,
    gtt: Option<u64>,
}

impl Amd {
    /// The GPUs under `sys`, which is `/sys`; `proc` is `/proc`.
    pub(super) fn find(sys: &Path, proc: &Path) -> Self {
        let entries = std::fs::read_dir(sys.join("class/drm")).into_iter().flatten().flatten();
        let mut cards: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let number = entry.file_name().to_str()?.strip_prefix("card")?.parse().ok()?;
                Some((number, entry.path().join("device")))
            })
            .collect();
        cards.sort();
        let gpus = cards.into_iter().filter_map(|(_, folder)| Gpu::of(folder)).collect();
        Self { gpus, fdinfo: proc.join("self/fdinfo") }
    }

    /// What every GPU says now; a figure it does not give is absent.
    pub(super) fn sample(&self) -> Vec<GpuSample> {
        if self.gpus.is_empty() {
            return Vec::new();
        }
        let shares = shares(&self.fdinfo);
        self.gpus.iter().map(|gpu| gpu.sample(&shares)).collect()
    }
}

impl Gpu {
    fn of(folder: PathBuf) -> Option<Self> {
        let file = |name: &str| small_file::read(&folder.join(name));
        let other = file("vendor").is_some_and(|vendor| vendor.trim() != VENDOR);
        if other || !folder.join("mem_info_vram_total").is_file() {
            return None;
        }
        let product = file("product_name").map(|name| name.trim().to_owned());
        let device = file("device").map(|id| format!("AMD GPU {}", id.trim()));
        let name = product.filter(|name| !name.is_empty()).or(device);
        let address = file("uevent").and_then(|uevent| {
            let address = uevent.lines().find_map(|line| line.strip_prefix("PCI_SLOT_NAME="))?;
            Some(address.trim().to_owned())
        });
        let integrated = is_integrated(&folder);
        let name = name.unwrap_or_else(|| "AMD GPU".to_owned());
        Some(Self { name, address, integrated, folder })
    }

    fn sample(&self, shares: &HashMap<String, Share>) -> GpuSample {
        let total = self.sum("vram_total", "gtt_total").filter(|total| *total > 0);
        let used = self.sum("vram_used", "gtt_used");
        let used = used.filter(|used| total.is_none_or(|total| *used <= total));
        let share = self.address.as_ref().and_then(|address| shares.get(address));
        let this_process = share.and_then(|share| match (self.integrated, share.gtt) {
            (true, Some(gtt)) => share.vram.unwrap_or(0).checked_add(gtt),
            (true, None) | (false, _) => share.vram,
        });
        GpuSample {
            name: self.name.clone(),
            total,
            used,
            this_process,
            source: "amdgpu sysfs".to_owned(),
        }
    }

    /// The figure of the memory that this GPU keeps a model in.
    fn sum(&self, vram: &str, gtt: &str) -> Option<u64> {
        let bytes = |name: &str| small_file::bytes(&self.folder.join(format!("mem_info_{name}")));
        let vram = bytes(vram)?;
        match self.integrated {
            true => vram.checked_add(bytes(gtt)?),
            false => Some(vram),
        }
    }
}

/// Only integrated GPUs report the voltage of the processor's north bridge (`vddnb`).
fn is_integrated(folder: &Path) -> bool {
    let monitors = std::fs::read_dir(folder.join("hwmon")).into_iter().flatten().flatten();
    let mut labels = monitors.filter_map(|entry| small_file::read(&entry.path().join("in1_label")));
    labels.any(|label| label.trim() == "vddnb")
}

/// This process' memory by PCI address. A client shows the same figures in each of its open
/// files, so it counts once.
fn shares(fdinfo: &Path) -> HashMap<String, Share> {
    let entries = std::fs::read_dir(fdinfo).into_iter().flatten().flatten().take(MOST_FILES);
    let texts = entries.filter_map(|entry| small_file::read(&entry.path()));
    let clients: HashMap<(String, String), Share> =
        texts.filter_map(|text| client(&text)).collect();
    let mut shares: HashMap<String, Share> = HashMap::new();
    for ((address, _), client) in clients {
        let share = shares.entry(address).or_default();
        share.vram = add(share.vram, client.vram);
        share.gtt = add(share.gtt, client.gtt);
    }
    shares
}

/// One client of the driver: its device, its id and its memory.
fn client(text: &str) -> Option<((String, String), Share)> {
    let field = |key: &str| small_file::field(text, key);
    if field("drm-driver") != Some("amdgpu") {
        return None;
    }
    let region = |name: &str| {
        let keys = ["resident", "memory", "total"].map(|kind| format!("drm-{kind}-{name}"));
        keys.iter().find_map(|key| small_file::size(field(key)?))
    };
    let key = (field("drm-pdev")?.to_owned(), field("drm-client-id")?.to_owned());
    Some((key, Share { vram: region("vram"), gtt: region("gtt") }))
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => a.checked_add(b),
        (one, None) | (None, one) => one,
    }
}
