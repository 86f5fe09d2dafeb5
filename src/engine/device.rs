//! The device that computes, chosen by the features of this build.

use candle_core::Device;

use super::EngineError;

/// The first CUDA or Metal device where this build has the feature, otherwise the CPU.
///
/// # Errors
/// The build has the feature and the device cannot be used.
pub fn select() -> Result<Device, EngineError> {
    let failed = |error: candle_core::Error| EngineError::Unsupported {
        reason: format!("this build computes on a GPU, and none can be used: {error}"),
        instead: "use a build without the features cuda and metal".into(),
    };
    if cfg!(feature = "cuda") {
        Device::new_cuda(0).map_err(failed)
    } else if cfg!(feature = "metal") {
        Device::new_metal(0).map_err(failed)
    } else {
        Ok(Device::Cpu)
    }
}

/// What the device's driver says of this process's memory on it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What this process has allocated there.
    pub allocated: u64,
    /// What it may allocate before it gets slow.
    pub recommended: u64,
}

/// Memory of a device that no other interface tells of: Metal's alone. NVIDIA's and AMD's
/// are read for the whole machine by [`crate::probe`].
pub fn memory(device: &Device) -> Option<DeviceMemory> {
    match device {
        Device::Cpu | Device::Cuda(_) => None,
        #[cfg(feature = "metal")]
        Device::Metal(metal) => Some(DeviceMemory {
            allocated: metal.current_allocated_size() as u64,
            recommended: metal.recommended_max_working_set_size() as u64,
        }),
        // a device without a name here cannot be made without the feature
        #[cfg(not(feature = "metal"))]
        Device::Metal(_) => None,
    }
}

/// The device's name as the screen and the report write it.
pub fn word(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}
