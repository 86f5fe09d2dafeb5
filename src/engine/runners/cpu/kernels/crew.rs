//! Who computes: a team of threads with the kernels of one instruction set.

use super::buffer::Buffer;
use super::deal::Deal;
use super::isa::Isa;
use super::many::Room;
use super::table::Kernels;
use super::team::{Team, share};
use crate::engine::EngineError;
use crate::engine::runners::cpu::form::BLOCK;

/// A team with its kernels; the phases of a forward pass are its methods.
pub struct Crew {
    pub(super) team: Team,
    pub(super) deal: Deal,
    /// Those that compute now.
    pub(super) kernels: &'static Kernels,
    /// Those of the instruction set.
    table: &'static Kernels,
    pub(super) scratch: Scratch,
    /// [`Room`] of each thread.
    pub(super) spread: Scratch,
    isa: Isa,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("team", &self.team).field("isa", &self.isa).finish()
    }
}

impl Crew {
    /// A crew of `threads`, the caller's among them.
    ///
    /// # Errors
    /// The machine has not this instruction set, or gives no thread.
    pub fn new(threads: usize, isa: Isa) -> Result<Self, EngineError> {
        let kernels = isa.table().ok_or_else(|| EngineError::Unsupported {
            reason: format!("this machine has no {}", isa.word()),
            instead: format!("use {}", Isa::best().word()),
        })?;
        let team = Team::new(threads)?;
        let (deal, size) = (Deal::new(team.size()), team.size());
        let (scratch, spread) = (Scratch::new(size, 0)?, Scratch::new(size, 0)?);
        Ok(Self { team, deal, kernels, table: kernels, scratch, spread, isa })
    }

    /// Whether there is another arithmetic, in bf16.
    pub fn has_bf16(&self) -> bool {
        self.table.bf16.is_some()
    }

    /// Whether the best tokens of so many rows are found faster by way of a sketch of the head.
    pub fn sketches(&self, rows: usize, quantised: bool) -> bool {
        self.table.sketches.is_some_and(|sketches| !quantised || rows >= sketches.rows)
    }

    /// Computes in bf16 from now on, where there is that, or not.
    pub fn compute_in_bf16(&mut self, wanted: bool) {
        self.kernels = self.table.bf16.filter(|_| wanted).unwrap_or(self.table);
    }

    /// Makes room for `length` floats of scratch memory for each thread.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn reserve(&mut self, length: usize) -> Result<(), EngineError> {
        if length > self.scratch.length {
            self.scratch = Scratch::new(self.team.size(), length)?;
        }
        Ok(())
    }

    /// Makes room for what is done once for a tile that multiplies many rows: of up to `columns`
    /// inputs. Deeper ones do without, unless they are multiplied in bf16.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn reserve_spread(&mut self, columns: usize) -> Result<(), EngineError> {
        let length = Room::bytes(columns.div_ceil(BLOCK)) / size_of::<f32>();
        if (!self.table.many.is_empty() || self.has_bf16()) && length > self.spread.length {
            self.spread = Scratch::new(self.team.size(), length)?;
        }
        Ok(())
    }

    /// Does a piece of work with each item, shared among the threads.
    pub fn each<T: Send>(&mut self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        let (count, threads) = (items.len(), self.team.size());
        let items = Shared::new(items.as_mut_ptr());
        self.team.run(&|thread| {
            for place in share(count, thread, threads) {
                // SAFETY: the items are borrowed until all threads are done, and the threads'
                // shares of them are disjoint
                work(unsafe { &mut *items.pointer().add(place) });
            }
        });
    }

    /// Threads, the caller's among them.
    pub fn threads(&self) -> usize {
        self.team.size()
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// Memory of which each thread writes a part of its own.
///
/// A phase borrows what it writes mutably for as long as it runs, makes this of it, and has each
/// thread write only places that follow from the thread's share.
#[derive(Clone, Copy)]
pub(super) struct Shared<T>(*mut T);

// SAFETY: a pointer alone does nothing; whoever writes through it says why that is sound.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// A method, so that closures capture all of it and not the bare pointer.
    pub fn pointer(&self) -> *mut T {
        self.0
    }
}

/// Memory of each thread, so that a step allocates nothing.
#[derive(Debug)]
pub(super) struct Scratch {
    memory: Buffer<f32>,
    length: usize,
}

impl Scratch {
    fn new(threads: usize, length: usize) -> Result<Self, EngineError> {
        let length = length.next_multiple_of(1024);
        Ok(Self { memory: Buffer::zeroed(threads * length)?, length })
    }

    /// The threads' memories, of at least `length`.
    pub fn parts(&mut self, length: usize) -> Parts {
        assert!(length <= self.length, "too little scratch memory was reserved");
        Parts { memory: Shared::new(self.memory.as_mut_ptr()), length: self.length }
    }
}

/// The scratch memories as addresses.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    memory: Shared<f32>,
    length: usize,
}

impl Parts {
    /// Floats of each.
    pub fn length(self) -> usize {
        self.length
    }

    /// The memory of this thread.
    pub fn part(self, thread: usize) -> *mut f32 {
        self.memory.pointer().wrapping_add(thread * self.length)
    }
}
