//! Products of many rows, where an instruction set has another way for them.
//!
//! What a thread multiplies in a phase goes through a [`Multiplier`]. It knows whether rows are
//! many, and keeps what their kernels want to be done only once for a tile. The results are the
//! same bits either way, but for what is computed in bf16, by [`Pairs`].
#![allow(unsafe_op_in_unsafe_fn, reason = "each function states its contract")]

use super::crew::{Crew, Parts};
use super::pairs::PAIRS;
use super::table::Kernels;
use super::tile::{SpreadFn, TileCall};
use crate::engine::runners::cpu::form::{BLOCK, COLUMNS, FORMS, Form};

/// Another way to multiply, for many rows.
pub(super) struct Many {
    /// Rows of a phase from which this is faster.
    pub rows: usize,
    /// Rows of a panel from which it is.
    pub panel_rows: usize,
    /// What a thread does before the first product of a phase, and after the last.
    pub around: Option<[unsafe fn(); 2]>,
    /// By form, in the order of [`FORMS`], where there is one.
    pub kernels: [Option<ManyKernel>; FORMS.len()],
}

/// A kernel for one form and many rows of one panel.
///
/// # Safety
/// As [`TileCall`] says, in a thread that did what is to be done [`Many::around`] it, for at least
/// [`Many::panel_rows`] rows, which are the first ones of a panel that is there as a whole.
pub(super) struct ManyKernel {
    /// What is done once for a tile.
    pub spread: Spreads,
    /// Multiplies as a call says, but for the weights, which are as they were made at the given place.
    pub multiply: unsafe fn(&TileCall, *const u8, usize),
}

/// What a kernel for many rows wants to be done once for a tile: something else is made of it that all
/// rows are multiplied with, of up to [`SPREAD`] bytes a block.
#[derive(Clone, Copy)]
pub(super) enum Spreads {
    /// Nothing.
    Never,
    /// Before the first rows.
    Before(SpreadFn),
    /// With the first rows, which are multiplied as the call says, and are all rows of a panel.
    With(SpreadFn),
}

/// Bytes of a block with a byte for each weight.
pub(super) const BYTES: usize = BLOCK * COLUMNS;
/// Most bytes of a block, however it is spread.
pub(super) const SPREAD: usize = PAIRS;

const _: () = assert!(BYTES <= SPREAD);

/// What the threads of a phase multiply with.
#[derive(Clone, Copy)]
pub(super) struct Multipliers {
    kernels: &'static Kernels,
    rows: usize,
    rooms: Parts,
}

impl Crew {
    /// For a phase over this many rows.
    pub(super) fn multipliers(&mut self, rows: usize) -> Multipliers {
        Multipliers { kernels: self.kernels, rows, rooms: self.spread.parts(0) }
    }
}

impl Multipliers {
    /// That of a thread.
    ///
    /// # Safety
    /// The thread has one at a time, and no weights change meanwhile.
    pub unsafe fn of(self, thread: usize) -> Multiplier {
        let bytes = self.rooms.length() * size_of::<f32>();
        let (place, blocks) = (self.rooms.part(thread).cast(), bytes / Room::bytes(1));
        // SAFETY: a crew has kernels of this machine; the rest is the caller's promise.
        unsafe { Multiplier::new(self.kernels, self.rows, Room { place, blocks }) }
    }
}

/// A thread that multiplies in a phase.
pub(super) struct Multiplier {
    kernels: &'static Kernels,
    many: Option<&'static Many>,
    end: Option<unsafe fn()>,
    /// Its pointers keep it in its thread.
    spread: Spread,
}

impl Multiplier {
    /// For products of `rows` rows altogether.
    ///
    /// # Safety
    /// The machine has these kernels. This thread has no other multiplier and the room to itself,
    /// and no weights change, as long as this one lives.
    pub unsafe fn new(kernels: &'static Kernels, rows: usize, room: Room) -> Self {
        let many = kernels.many(rows);
        let around = match (kernels.pairs, many) {
            (Some(pairs), _) => Some([pairs.begin, pairs.end]),
            (None, many) => many.and_then(|many| many.around),
        };
        if let Some([begin, _]) = around {
            begin();
        }
        let spread = Spread { room, tiles: [std::ptr::null(); 2], next: 0 };
        Self { kernels, many, end: around.map(|[_, end]| end), spread }
    }

    /// Whether tiles of these forms are multiplied as [`Pairs`].
    #[inline(always)]
    pub fn pairs(&self, forms: impl IntoIterator<Item = Form>) -> bool {
        self.kernels.in_bf16() && forms.into_iter().all(Form::has_pairs)
    }

    /// Those it multiplies with.
    #[inline(always)]
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Multiplies `rows` rows of any panels with one or two tiles for which [`Self::pairs`]. The calls
    /// differ in their weights and results; what is brought near is the first one's.
    ///
    /// # Safety
    /// As [`TileCall`] says, for so many rows, of panels that are there as a whole.
    pub unsafe fn multiply_together(&mut self, forms: &[Form], calls: &[TileCall], rows: usize) {
        let Some(pairs) = self.kernels.pairs else {
            unreachable!("{forms:?} are multiplied one by one")
        };
        let Spread { room, tiles, .. } = &mut self.spread;
        let tiles_of_calls = [calls[0].weights, calls[calls.len() - 1].weights];
        let mut weights = tiles_of_calls;
        for (number, (form, call)) in forms.iter().zip(calls).enumerate() {
            assert!(form.has_pairs(), "{form:?} has no pairs");
            let Some(spread) = pairs.spread[*form as usize] else { continue };
            assert!(call.blocks <= room.blocks, "no room was reserved");
            let place = room.place.wrapping_add(number * call.blocks * PAIRS);
            if *tiles != tiles_of_calls {
                spread(call, place);
            }
            weights[number] = place.cast_const();
        }
        if calls.len() == 1 {
            weights[1] = weights[0];
        }
        *tiles = tiles_of_calls;
        (pairs.multiply)(calls, weights, rows);
    }

    /// Multiplies `rows` rows, which lie in one panel, with a tile.
    ///
    /// # Safety
    /// As [`TileCall`] says, for so many rows: the first ones of a panel that is there as a whole, or one
    /// alone where there are no pairs.
    #[inline(always)]
    pub unsafe fn multiply(&mut self, form: Form, call: &TileCall, rows: usize) {
        if self.pairs([form]) {
            return self.multiply_together(&[form], std::slice::from_ref(call), rows);
        }
        let many = self.many.filter(|many| rows >= many.panel_rows);
        let kernel = many.and_then(|many| many.kernels[form as usize].as_ref());
        let Some(kernel) = kernel else { return self.kernels.multiply(form, call, rows) };
        let (spread, with) = match kernel.spread {
            Spreads::Never => return (kernel.multiply)(call, call.weights, rows),
            Spreads::Before(spread) => (spread, false),
            Spreads::With(spread) => (spread, true),
        };
        let Some((place, is_there)) = self.spread.place(call) else {
            return self.kernels.multiply(form, call, rows);
        };
        if !is_there {
            spread(call, place);
        }
        if is_there || !with {
            (kernel.multiply)(call, place, rows);
        }
    }
}

impl Drop for Multiplier {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            // SAFETY: this thread has begun.
            unsafe { end() };
        }
    }
}

/// Memory for the weights of two tiles.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub place: *mut u8,
    /// Blocks of each.
    pub blocks: usize,
}

impl Room {
    /// Bytes of memory for tiles of up to so many blocks, however they are spread.
    pub fn bytes(blocks: usize) -> usize {
        2 * blocks * SPREAD
    }
}

/// The weights of the tiles that came last. A phase goes through all rows with one tile, or with
/// two in turns.
struct Spread {
    room: Room,
    tiles: [*const u8; 2],
    /// Where the next one goes.
    next: usize,
}

impl Spread {
    /// The place of what is made of a call's tile, and whether it is there; `None` where there is no
    /// room for it. Otherwise it is taken for there from now on.
    fn place(&mut self, call: &TileCall) -> Option<(*mut u8, bool)> {
        if call.blocks > self.room.blocks {
            return None;
        }
        let place =
            |number: usize| self.room.place.wrapping_add(number * self.room.blocks * SPREAD);
        if let Some(number) = self.tiles.iter().position(|tile| *tile == call.weights) {
            return Some((place(number), true));
        }
        let to = place(self.next);
        self.tiles[self.next] = call.weights;
        self.next = 1 - self.next;
        Some((to, false))
    }
}
