//! The runners: arithmetic behind the [`Runner`] seam, and one type for all of them.

pub mod candle;
pub mod cpu;
pub mod transformers;

use self::candle::CandleRunner;
use self::candle::cache::CandleCache;
use self::cpu::CpuRunner;
use self::cpu::cache::CpuCache;
use self::transformers::{TransformersCache, TransformersRunner};
use super::EngineError;
use super::runner::{Answers, Cache, Row, Runner};

/// Which runner it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerKind {
    /// Our own decoder over candle's tensors.
    Candle,
    /// The fast CPU runner.
    Cpu,
    /// A model of candle-transformers, one row at a time.
    Transformers,
}

/// Any runner.
pub enum AnyRunner {
    /// The fast CPU runner.
    Cpu(Box<CpuRunner>),
    /// Our own decoder over candle's tensors.
    Candle(CandleRunner),
    /// A model of candle-transformers, one row at a time.
    Transformers(TransformersRunner),
}

/// The cache of any runner.
pub enum AnyCache {
    /// Of [`AnyRunner::Cpu`].
    Cpu(CpuCache),
    /// Of [`AnyRunner::Candle`].
    Candle(CandleCache),
    /// Of [`AnyRunner::Transformers`].
    Transformers(TransformersCache),
}

impl AnyRunner {
    /// Which runner it is.
    pub fn kind(&self) -> RunnerKind {
        match self {
            Self::Candle(_) => RunnerKind::Candle,
            Self::Cpu(_) => RunnerKind::Cpu,
            Self::Transformers(_) => RunnerKind::Transformers,
        }
    }

    /// The instruction set and the threads of the CPU runner.
    pub fn team(&self) -> Option<(String, usize)> {
        match self {
            Self::Cpu(runner) => Some((runner.isa().word().to_string(), runner.threads())),
            Self::Candle(_) | Self::Transformers(_) => None,
        }
    }
}

impl Runner for AnyRunner {
    type Cache = AnyCache;

    fn new_cache(&self, capacity: usize) -> Result<AnyCache, EngineError> {
        match self {
            Self::Candle(runner) => runner.new_cache(capacity).map(AnyCache::Candle),
            Self::Cpu(runner) => runner.new_cache(capacity).map(AnyCache::Cpu),
            Self::Transformers(runner) => runner.new_cache(capacity).map(AnyCache::Transformers),
        }
    }

    fn forward(
        &self,
        cache: &mut AnyCache,
        rows: &[Row],
        answers: &mut Answers,
    ) -> Result<(), EngineError> {
        match (self, cache) {
            (Self::Candle(runner), AnyCache::Candle(cache)) => runner.forward(cache, rows, answers),
            (Self::Transformers(runner), AnyCache::Transformers(cache)) => {
                runner.forward(cache, rows, answers)
            }
            (Self::Cpu(runner), AnyCache::Cpu(cache)) => runner.forward(cache, rows, answers),
            (Self::Candle(_) | Self::Cpu(_) | Self::Transformers(_), _) => {
                Err(EngineError::Internal("a cache of another runner".into()))
            }
        }
    }

    fn vocabulary(&self) -> usize {
        match self {
            Self::Candle(runner) => runner.vocabulary(),
            Self::Cpu(runner) => runner.vocabulary(),
            Self::Transformers(runner) => runner.vocabulary(),
        }
    }

    fn weight_bytes(&self) -> u64 {
        match self {
            Self::Candle(runner) => runner.weight_bytes(),
            Self::Cpu(runner) => runner.weight_bytes(),
            Self::Transformers(runner) => runner.weight_bytes(),
        }
    }

    fn slot_bytes(&self, capacity: usize) -> u64 {
        match self {
            Self::Candle(runner) => runner.slot_bytes(capacity),
            Self::Cpu(runner) => runner.slot_bytes(capacity),
            Self::Transformers(runner) => runner.slot_bytes(capacity),
        }
    }

    fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        match self {
            Self::Candle(runner) => runner.each(items, work),
            Self::Cpu(runner) => runner.each(items, work),
            Self::Transformers(runner) => runner.each(items, work),
        }
    }

    fn max_slots(&self) -> Option<usize> {
        match self {
            Self::Candle(runner) => runner.max_slots(),
            Self::Cpu(runner) => runner.max_slots(),
            Self::Transformers(runner) => runner.max_slots(),
        }
    }
}

impl Cache for AnyCache {
    fn resize(&mut self, slots: usize) -> Result<(), EngineError> {
        match self {
            Self::Candle(cache) => cache.resize(slots),
            Self::Cpu(cache) => cache.resize(slots),
            Self::Transformers(cache) => cache.resize(slots),
        }
    }

    fn copy_prefix(&mut self, from: usize, to: usize, tokens: usize) -> bool {
        match self {
            Self::Cpu(cache) => cache.copy_prefix(from, to, tokens),
            Self::Candle(cache) => cache.copy_prefix(from, to, tokens),
            Self::Transformers(cache) => cache.copy_prefix(from, to, tokens),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Candle(cache) => cache.bytes(),
            Self::Cpu(cache) => cache.bytes(),
            Self::Transformers(cache) => cache.bytes(),
        }
    }
}
