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

/// The device's name as the screen and the report write it.
pub fn word(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}
