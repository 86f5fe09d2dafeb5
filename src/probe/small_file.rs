//! Small text files of the kernel: absent, odd or absurd contents are `None`, never a panic.

use std::io::Read;
use std::path::Path;

/// Nothing the kernel tells here is longer, in bytes.
const LARGEST: u64 = 1 << 20;

/// More than any machine has, in bytes; a larger figure is a defect of a driver.
const ABSURD: u64 = 1 << 50;

/// The text of a file.
pub(super) fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that holds one number of bytes.
pub(super) fn bytes(path: &Path) -> Option<u64> {
    plausible(read(path)?.trim().parse().ok()?)
}

/// The value of `key: value` among the lines of a text.
pub(super) fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(key)?.strip_prefix(':').map(str::trim);
    text.lines().find_map(value)
}

/// A size with its unit, as in `123 kB`, `4 MiB` or `5` bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let unit = match words.next() {
        None => 1,
        Some("kB" | "KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        Some("GiB") => 1 << 30,
        Some(_) => return None,
    };
    plausible(number.checked_mul(unit)?)
}

/// The figure, unless no machine could have so much.
pub(super) fn plausible(bytes: u64) -> Option<u64> {
    (bytes <= ABSURD).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units_and_nonsense_is_none() {
        let cases = [
            ("12 kB", Some(12 << 10)),
            ("3 MiB", Some(3 << 20)),
            ("7", Some(7)),
            ("", None),
            ("-1 kB", None),
            ("1 parsec", None),
            ("18446744073709551615 KiB", None),
            ("18446744073709551615", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_whole_key() {
        let text = "drm-total-vram0: 1\ndrm-total-vram:\t2 KiB\n";
        assert_eq!(field(text, "drm-total-vram"), Some("2 KiB"));
        assert_eq!(field(text, "drm-total"), None);
    }
}
