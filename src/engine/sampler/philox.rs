//! Philox4x32-10, a counter-based generator: the n-th number of a stream is computed from its
//! key and counter alone.
//!
//! Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
//! (SC 2011); the tests use the vectors of the authors' Random123 library.

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// A number in [0, 1) with 53 random bits, for one token of one row.
pub(super) fn uniform(seed: u64, row: u64, token: u64) -> f64 {
    let [token_low, token_high] = words(token);
    let [row_low, row_high] = words(row);
    let output = philox([token_low, token_high, row_low, row_high], words(seed));
    let bits = u64::from(output[0]) | u64::from(output[1]) << 32;
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn words(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [low_0, high_0] = words(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let [low_1, high_1] = words(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `philox4x32 10` of Random123's `kat_vectors`.
    #[test]
    fn the_published_vectors_come_out() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = u32::MAX;
        assert_eq!(
            philox([ones; 4], [ones; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn every_part_of_the_key_changes_the_number() {
        let base = uniform(1, 2, 3);
        assert!((0.0..1.0).contains(&base));
        for other in
            [uniform(2, 2, 3), uniform(1, 3, 3), uniform(1, 2, 4), uniform(1, 2 + (1 << 32), 3)]
        {
            assert_ne!(base, other);
        }
        assert_eq!(base, uniform(1, 2, 3));
    }
}
