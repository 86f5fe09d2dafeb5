//! Plain memory for weights, activations and caches: zeroed, aligned, in large pages.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use crate::engine::EngineError;

/// Numbers for which every bit pattern is a value.
///
/// # Safety
/// Implementors have no padding and no invalid bit patterns, and align to at most 64.
pub unsafe trait Number: Copy + 'static {}
// SAFETY: a plain number.
unsafe impl Number for u8 {}
// SAFETY: a plain number.
unsafe impl Number for u16 {}
// SAFETY: a plain number.
unsafe impl Number for f32 {}

/// Zeroed numbers at a page's beginning. Memory is taken when it is first touched.
#[derive(Debug)]
pub struct Buffer<T> {
    map: MmapMut,
    length: usize,
    numbers: PhantomData<T>,
}

impl<T: Number> Buffer<T> {
    /// `length` zeros.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn zeroed(length: usize) -> Result<Self, EngineError> {
        let failed = |reason: &dyn std::fmt::Display| {
            let bytes = length.saturating_mul(size_of::<T>());
            EngineError::OutOfMemory(format!(
                "cannot allocate {} MB: {reason}; try a smaller batch size or a smaller model",
                bytes.div_ceil(1_000_000)
            ))
        };
        let bytes = length.checked_mul(size_of::<T>()).ok_or_else(|| failed(&"too large"))?;
        let map = MmapMut::map_anon(bytes.max(1)).map_err(|error| failed(&error))?;
        // fewer page walks; only advice, so it may fail
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, length, numbers: PhantomData })
    }

    /// Bytes that are reserved.
    pub fn bytes(&self) -> u64 {
        (self.length * size_of::<T>()) as u64
    }
}

impl<T: Number> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the map begins at a page, is at least this long, lives as long as `self`,
        // and any bytes are numbers.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.length) }
    }
}

impl<T: Number> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zeroed_aligned_and_as_long_as_asked() {
        for length in [0, 1, 100_000] {
            let mut buffer = Buffer::<f32>::zeroed(length).unwrap();
            assert_eq!(buffer.len(), length);
            assert!(buffer.iter().all(|value| *value == 0.0));
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            buffer.iter_mut().for_each(|value| *value = 1.0);
        }
    }

    #[test]
    fn an_absurd_length_is_an_error() {
        assert!(Buffer::<f32>::zeroed(usize::MAX / 2).is_err());
    }
}
