//! Memory that a new allocation may still take, with the limits of containers respected.

use std::path::{Component, Path, PathBuf};

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::small_file;

/// Bytes that this process may still allocate without swapping or being killed.
pub fn available_memory() -> Option<u64> {
    available_memory_under(Path::new("/"))
}

/// The same, with `root` in place of `/` for the kernel's files.
pub fn available_memory_under(root: &Path) -> Option<u64> {
    let machine = of_meminfo(&root.join("proc/meminfo")).or_else(of_platform);
    let groups = small_file::read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| of_group(line, &root.join("sys/fs/cgroup")));
    limits.chain(machine).min()
}

fn of_meminfo(path: &Path) -> Option<u64> {
    small_file::size(small_file::field(&small_file::read(path)?, "MemAvailable")?)
}

fn of_platform() -> Option<u64> {
    let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let bytes = System::new_with_specifics(kind).ok()?.available_memory();
    (bytes > 0).then_some(bytes)
}

/// What the control group of one line of `/proc/self/cgroup` leaves, and those above it.
fn of_group(line: &str, mount: &Path) -> Option<u64> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (mount, names) = match controllers {
        "" => (mount.to_owned(), UNIFIED),
        list if list.split(',').any(|name| name == "memory") => (mount.join("memory"), SPLIT),
        _ => return None,
    };
    folders(&mount, path).iter().filter_map(|folder| left_in(folder, names)).min()
}

/// Files of a memory controller: limit, use, and the field of `memory.stat` that can be dropped.
type Names = [&'static str; 3];

const UNIFIED: Names = ["memory.max", "memory.current", "inactive_file"];
const SPLIT: Names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];

/// The folders of a group and of the groups above it, down from the mount. In a container the
/// path may be the host's: then only the mount itself exists, which is the container's group.
fn folders(mount: &Path, path: &str) -> Vec<PathBuf> {
    let mut folders = vec![mount.to_owned()];
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => {
                let next = folders.last().map_or_else(|| mount.join(part), |last| last.join(part));
                folders.push(next);
            }
            Component::ParentDir => return vec![mount.to_owned()],
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    folders
}

fn left_in(folder: &Path, [limit, usage, droppable]: Names) -> Option<u64> {
    let limit = small_file::bytes(&folder.join(limit))?;
    let used = small_file::bytes(&folder.join(usage))?;
    let stat = small_file::read(&folder.join("memory.stat")).unwrap_or_default();
    let value = |line: &str| line.strip_prefix(droppable)?.trim().parse().ok();
    let droppable: u64 = stat.lines().find_map(value).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(droppable)))
}
