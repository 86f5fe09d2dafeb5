//! The probe on this machine, and on fixture folders that stand in for `/proc` and `/sys`.

use std::path::Path;

use batchgen::probe::{
    GpuSample, Probe, Reading, Sample, available_memory, available_memory_under, host,
};

const MIB: u64 = 1 << 20;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A discrete card as the amdgpu driver shows it.
fn discrete(root: &Path) {
    let device = "sys/class/drm/card1/device";
    for (file, text) in [
        ("vendor", "0x1002\n"),
        ("device", "0x73bf\n"),
        ("uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0\n"),
        ("mem_info_vram_total", "17163091968\n"),
        ("mem_info_vram_used", "1048576000\n"),
        ("mem_info_gtt_total", "33554432000\n"),
        ("mem_info_gtt_used", "20971520\n"),
        ("hwmon/hwmon4/in0_label", "vddgfx\n"),
    ] {
        write(root, &format!("{device}/{file}"), text);
    }
    write(root, "sys/class/drm/card1-DP-1/status", "connected\n");
    write(root, "sys/class/drm/version", "drm 1.1.0\n");
}

/// A file of this process that the amdgpu driver describes.
fn open_file(root: &Path, fd: u32, address: &str, client: u32, memory: &str) {
    let text = format!(
        "pos:\t0\nflags:\t02100002\ndrm-driver:\tamdgpu\ndrm-client-id:\t{client}\ndrm-pdev:\t{address}\n{memory}\n"
    );
    write(root, &format!("proc/self/fdinfo/{fd}"), &text);
}

#[test]
fn a_discrete_amd_card_counts_its_own_memory_and_each_client_once() {
    let root = tempfile::tempdir().unwrap();
    discrete(root.path());
    let ours = "0000:03:00.0";
    let memory = "drm-total-vram:\t900 MiB\ndrm-resident-vram:\t512 MiB\ndrm-resident-gtt:\t8 MiB";
    open_file(root.path(), 5, ours, 17, memory);
    open_file(root.path(), 6, ours, 17, memory);
    open_file(root.path(), 7, ours, 18, "drm-memory-vram:\t1024 KiB");
    open_file(root.path(), 8, "0000:0b:00.0", 19, memory);
    write(root.path(), "proc/self/fdinfo/0", "pos:\t0\nflags:\t02\n");
    let expected = GpuSample {
        name: "AMD GPU 0x73bf".to_owned(),
        total: Some(17_163_091_968),
        used: Some(1_048_576_000),
        this_process: Some(513 * MIB),
        source: "amdgpu sysfs".to_owned(),
    };
    assert_eq!(Probe::under(root.path()).sample().gpus, [expected]);
}

#[test]
fn an_integrated_amd_gpu_adds_the_system_memory_it_borrows() {
    let root = tempfile::tempdir().unwrap();
    discrete(root.path());
    let device = "sys/class/drm/card1/device";
    write(root.path(), &format!("{device}/hwmon/hwmon5/in1_label"), "vddnb\n");
    write(root.path(), &format!("{device}/product_name"), "Radeon 890M\n");
    open_file(
        root.path(),
        5,
        "0000:03:00.0",
        17,
        "drm-resident-vram:\t1 MiB\ndrm-resident-gtt:\t2 MiB",
    );
    let expected = GpuSample {
        name: "Radeon 890M".to_owned(),
        total: Some(17_163_091_968 + 33_554_432_000),
        used: Some(1_048_576_000 + 20_971_520),
        this_process: Some(3 * MIB),
        source: "amdgpu sysfs".to_owned(),
    };
    assert_eq!(Probe::under(root.path()).sample().gpus, [expected]);
}

#[test]
fn a_card_of_another_vendor_or_without_memory_files_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    discrete(root.path());
    write(root.path(), "sys/class/drm/card1/device/vendor", "0x8086\n");
    write(root.path(), "sys/class/drm/card0/device/vendor", "0x1002\n");
    assert_eq!(Probe::under(root.path()).sample().gpus, []);
}

#[test]
fn absurd_and_missing_values_are_absent() {
    for nonsense in
        ["", "-1", "18446744073709551615", "99999999999999999999999", "n/a", "\u{0}", "0"]
    {
        let root = tempfile::tempdir().unwrap();
        discrete(root.path());
        let device = "sys/class/drm/card1/device";
        write(root.path(), &format!("{device}/mem_info_vram_total"), nonsense);
        std::fs::remove_file(root.path().join(device).join("mem_info_vram_used")).unwrap();
        std::fs::remove_file(root.path().join(device).join("uevent")).unwrap();
        open_file(
            root.path(),
            5,
            "0000:03:00.0",
            17,
            "drm-resident-vram:\t18446744073709551615 KiB",
        );
        let gpu = Probe::under(root.path()).sample().gpus.remove(0);
        assert_eq!((gpu.total, gpu.used, gpu.this_process), (None, None, None), "{nonsense:?}");
    }
}

#[test]
fn a_use_larger_than_the_card_is_absent() {
    let root = tempfile::tempdir().unwrap();
    discrete(root.path());
    write(root.path(), "sys/class/drm/card1/device/mem_info_vram_used", "99163091968");
    let gpu = Probe::under(root.path()).sample().gpus.remove(0);
    assert_eq!((gpu.total, gpu.used), (Some(17_163_091_968), None));
}

#[test]
fn process_memory_comes_from_the_status_file_and_nonsense_is_absent() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "proc/self/status", "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n");
    let mut probe = Probe::under(root.path());
    let reading =
        |bytes, key: &str| Some(Reading { bytes, source: format!("/proc/self/status {key}") });
    assert_eq!(probe.sample().process, reading(MIB, "VmRSS"));
    assert_eq!(probe.peak(), reading(2 * MIB, "VmHWM"));
    for status in ["", "VmRSS:\n", "VmRSS:\tmany kB\n", "VmRSS:\t18446744073709551615 kB\n"] {
        write(root.path(), "proc/self/status", status);
        assert_eq!(probe.sample(), Sample::default(), "{status:?}");
    }
    std::fs::remove_file(root.path().join("proc/self/status")).unwrap();
    assert_eq!(probe.sample().process, None);
}

#[test]
fn memory_that_this_process_touched_is_in_its_resident_memory() {
    let touched = vec![1_u8; 200 << 20];
    let resident = Probe::new().sample().process.unwrap().bytes;
    assert!(touched.iter().step_by(4096).all(|byte| *byte == 1));
    assert!(resident > touched.len() as u64, "{resident}");
}

#[test]
fn memory_left_is_the_least_of_the_machine_and_the_groups_above() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:  8192 kB\n");
    assert_eq!(available_memory_under(root.path()), Some(8 * MIB));
    write(root.path(), "proc/self/cgroup", "0::/a/b\n");
    let group = |path: &str, max: &str, current: &str| {
        write(root.path(), &format!("sys/fs/cgroup/{path}/memory.max"), max);
        write(root.path(), &format!("sys/fs/cgroup/{path}/memory.current"), current);
    };
    group("a/b", "max\n", "1\n");
    assert_eq!(available_memory_under(root.path()), Some(8 * MIB));
    group("a", "6291456\n", "5242880\n");
    write(root.path(), "sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 4194304\n");
    assert_eq!(available_memory_under(root.path()), Some(5 * MIB));
    group("a/b", "1048576", "9999999");
    assert_eq!(available_memory_under(root.path()), Some(0));
}

#[test]
fn the_older_control_groups_and_a_containers_own_root_are_read_too() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "proc/meminfo", "MemAvailable:  8192 kB\n");
    write(
        root.path(),
        "proc/self/cgroup",
        "5:cpu:/x\n4:hugetlb,memory:/docker/abc\n1:name=systemd:/\n",
    );
    write(root.path(), "sys/fs/cgroup/memory/memory.limit_in_bytes", "3145728\n");
    write(root.path(), "sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
    assert_eq!(available_memory_under(root.path()), Some(2 * MIB));
    write(root.path(), "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_eq!(available_memory_under(root.path()), Some(8 * MIB));
    write(root.path(), "proc/self/cgroup", "0::/../../x\nnonsense\n:::\n");
    assert_eq!(available_memory_under(root.path()), Some(8 * MIB));
}

#[test]
fn this_machine_describes_itself() {
    let host = host();
    assert!(!host.os.is_empty());
    assert!(host.cores.unwrap() >= 1);
    let memory = host.memory_bytes.unwrap();
    let left = available_memory().unwrap();
    assert!(left > 0 && left <= memory, "{left} of {memory}");
    let json = serde_json::to_value(&host).unwrap();
    assert!(json["gpus"].is_array(), "{json}");
}

#[test]
fn a_sample_has_the_shape_that_journals_and_reports_keep() {
    let sample = Sample {
        process: Some(Reading { bytes: 1, source: "s".to_owned() }),
        gpus: vec![GpuSample {
            name: "g".to_owned(),
            total: Some(2),
            used: None,
            this_process: None,
            source: "nvml".to_owned(),
        }],
        ..Sample::default()
    };
    let expected = serde_json::json!({
        "process": {"bytes": 1, "source": "s"},
        "gpus": [{"name": "g", "total": 2, "source": "nvml"}],
    });
    assert_eq!(serde_json::to_value(&sample).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Sample>(expected).unwrap(), sample);
}

#[test]
fn energy_is_read_from_packages_and_not_twice_from_their_parts() {
    let root = tempfile::tempdir().unwrap();
    for (zone, name, counter) in [
        ("intel-rapl:0", "package-0", "2500000\n"),
        ("intel-rapl:0:0", "core", "1000000\n"),
        ("intel-rapl:1", "package-1", "nonsense\n"),
        ("intel-rapl:2", "psys", "9000000\n"),
    ] {
        let folder = format!("sys/class/powercap/{zone}");
        write(root.path(), &format!("{folder}/name"), name);
        write(root.path(), &format!("{folder}/energy_uj"), counter);
        write(root.path(), &format!("{folder}/max_energy_range_uj"), "262143328850\n");
    }
    let energy = Probe::under(root.path()).sample().energy;
    let found: Vec<_> = energy.iter().map(|of| (of.name.as_str(), of.joules)).collect();
    assert_eq!(found, [("package-0", 2.5)]);
    assert_eq!(energy[0].wraps_at, Some(262_143.328_85));
    let nothing = tempfile::tempdir().unwrap();
    let sample = Probe::under(nothing.path()).sample();
    assert_eq!((sample.energy.len(), sample.cpu), (0, None), "unknown is absent");
}

#[test]
fn processor_time_and_throttling_are_read_from_the_kernel() {
    let root = tempfile::tempdir().unwrap();
    let stat = "cpu  100 0 100 500 0 0 0 50 0 0\ncpu0 50 0 50 250 0 0 0 25 0 0\ncpu1 50 0 50 250 \
                0 0 0 25 0 0\nintr 1\n";
    write(root.path(), "proc/stat", stat);
    let own = "1 (x) S 1 1 1 0 -1 0 0 0 0 0 30 20 0 0 20 0 1 0 1";
    write(root.path(), "proc/self/stat", own);
    for cpu in 0..2 {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count");
        write(root.path(), &path, "3\n");
    }
    let cpu = Probe::under(root.path()).sample().cpu.unwrap();
    assert_eq!((cpu.own, cpu.busy, cpu.stolen, cpu.cores), (0.5, 2.0, 0.5, 2));
    assert_eq!(cpu.throttled, Some(6));
}
