//! How a tile of weights is stored: 16 output columns over the whole depth of a matrix.
//!
//! Quantised weights are `w = d * q + m` with one d (two for [`Form::U8Halves`]) and perhaps
//! one m per column and block of 32. A tile has its quants first, block after block, then its
//! scales. In the quants, vector v of a block holds 4 consecutive elements of each column:
//! `[column][4]`; a vector of nibbles holds elements 4v.. in its low and 16 + 4v.. in its high
//! halves. Scales of a block are rows of 16: d, then the second d or m where there is one. They are
//! f16. Where the form has super-blocks they are i8, each to be multiplied by an f16 factor of its
//! column and super-block; the factors are rows of 16 too and follow the scales of all blocks.
//! Dense tiles are rows of 16, one for each element of the depth; those of bf16 are rows of pairs, one for
//! each two: `[column][2]`.

/// Elements of a block.
pub const BLOCK: usize = 32;
/// Blocks of a super-block.
pub const SUPER: usize = 8;
/// Output columns of a tile.
pub const COLUMNS: usize = 16;
/// Alignment of tiles, a cache line.
pub const LINE: usize = 64;

/// The storage of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Nibbles 0 to 15; d and m in f16.
    U4,
    /// Nibbles; d and m by super-blocks.
    U4Super,
    /// Signed bytes with 128 added; d in f16.
    U8,
    /// Signed bytes; d and m in f16.
    U8Min,
    /// Signed bytes; d and m by super-blocks.
    U8MinSuper,
    /// Signed bytes; d for each half of a block, by super-blocks.
    U8Halves,
    /// f32.
    F32,
    /// f16, computed in f32.
    F16,
    /// bf16, computed in f32, or in bf16 where an instruction set does that.
    Bf16,
}

/// All forms, in the order of the kernels' tables.
pub const FORMS: [Form; 9] = [
    Form::U4,
    Form::U4Super,
    Form::U8,
    Form::U8Min,
    Form::U8MinSuper,
    Form::U8Halves,
    Form::F32,
    Form::F16,
    Form::Bf16,
];

impl Form {
    /// Whether weights are computed with quantised activations.
    pub fn is_quantised(self) -> bool {
        match self {
            Self::U4
            | Self::U4Super
            | Self::U8
            | Self::U8Min
            | Self::U8MinSuper
            | Self::U8Halves => true,
            Self::F32 | Self::F16 | Self::Bf16 => false,
        }
    }

    /// Whether it is multiplied in bf16 where an instruction set does that, by the rows of prompts at
    /// least: not what has more bits than that.
    pub fn has_pairs(self) -> bool {
        self.is_quantised() || self == Self::Bf16
    }

    /// Whether its scales are by super-blocks.
    pub const fn has_super_blocks(self) -> bool {
        matches!(self, Self::U4Super | Self::U8MinSuper | Self::U8Halves)
    }

    /// Bytes of the weights of a block of all columns, without scales.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::U4 | Self::U4Super => BLOCK * COLUMNS / 2,
            Self::U8 | Self::U8Min | Self::U8MinSuper | Self::U8Halves => BLOCK * COLUMNS,
            Self::F32 => BLOCK * COLUMNS * 4,
            Self::F16 | Self::Bf16 => BLOCK * COLUMNS * 2,
        }
    }

    /// Bytes of the scales of a block of all columns.
    pub const fn scale_bytes(self) -> usize {
        match self {
            Self::U8 => COLUMNS * 2,
            Self::U4 | Self::U8Min => COLUMNS * 4,
            Self::U4Super | Self::U8MinSuper | Self::U8Halves => COLUMNS * 2,
            Self::F32 | Self::F16 | Self::Bf16 => 0,
        }
    }

    /// Bytes of the factors of a super-block of all columns.
    pub const fn factor_bytes(self) -> usize {
        if self.has_super_blocks() { COLUMNS * 4 } else { 0 }
    }

    /// Bytes of a tile of this many blocks.
    pub fn tile_bytes(self, blocks: usize) -> usize {
        let factors = blocks.div_ceil(SUPER) * self.factor_bytes();
        (blocks * (self.block_bytes() + self.scale_bytes()) + factors).next_multiple_of(LINE)
    }
}
