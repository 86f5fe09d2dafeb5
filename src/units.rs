//! Numbers for people: three significant digits, SI units, milliseconds or seconds by size.
//!
//! The one place where a figure becomes text, shared by the screen, Markdown and `compare`.
//! Figures in JSON and CSV are not formatted here: those keep every digit.

/// What stands for a figure that is not known.
pub const UNKNOWN: &str = "–";

/// What stands before a figure that is an estimate.
pub const ESTIMATE: &str = "≈";

/// Factors of a unit, ascending, with the prefix or unit that each writes.
type Scale = [(f64, &'static str)];

const DURATION: &Scale = &[(1e-3, "ms"), (1.0, "s")];
const BYTES: &Scale = &[(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB")];
const SI: &Scale = &[(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")];

/// A duration in seconds: `31.2 ms`, `2.05 s`.
pub fn duration(seconds: f64) -> String {
    scaled(seconds, DURATION, "")
}

/// An amount of memory: `182 MB`; 1 MB is 1,000,000 bytes.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    scaled(bytes as f64, BYTES, "")
}

/// A rate with its unit, which takes the SI prefix: `rate(1234.0, "tok/s")` is `1.23 ktok/s`.
pub fn rate(per_second: f64, unit: &str) -> String {
    scaled(per_second, SI, unit)
}

/// A large count: `135 M`.
pub fn count(count: u64) -> String {
    scaled(count as f64, SI, "")
}

/// Output throughput: `214 tok/s`.
pub fn throughput(tokens_per_second: f64) -> String {
    rate(tokens_per_second, "tok/s")
}

/// A factor: `3.21×`.
pub fn ratio(factor: f64) -> String {
    if factor.is_finite() { format!("{}×", significant(factor)) } else { UNKNOWN.to_owned() }
}

/// A share between 0 and 1: `87.5 %`.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{} %", significant(share * 100.0)) } else { UNKNOWN.to_owned() }
}

/// An amount of money: `$0.0123`.
pub fn usd(dollars: f64) -> String {
    if dollars.is_finite() { format!("${}", significant(dollars)) } else { UNKNOWN.to_owned() }
}

/// A number without a unit, three significant digits: `0.0123`, `1.00`, `12.3`, `123`, `12300`.
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let value = rounded(value);
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-6..1e15).contains(&size) {
        return format!("{value:.2e}");
    }
    let decimals = (2 - magnitude(size)).max(0) as usize;
    format!("{value:.decimals$}")
}

/// `figure` formatted, or `–` where it is not known.
pub fn known<T>(figure: Option<T>, format: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| UNKNOWN.to_owned(), format)
}

/// Marks a formatted figure as an estimate where it is one; an unknown figure stays as it is.
pub fn estimated(estimate: bool, figure: String) -> String {
    if estimate && figure != UNKNOWN { format!("{ESTIMATE}{figure}") } else { figure }
}

/// In the largest unit that leaves at least 1 before the point, after rounding.
fn scaled(value: f64, scale: &Scale, unit: &str) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let size = rounded(value).abs();
    let fits = |(factor, _): &&(f64, &str)| size >= *factor;
    let Some((factor, prefix)) = scale.iter().rev().find(fits).or(scale.first()) else {
        return significant(value);
    };
    format!("{} {prefix}{unit}", significant(value / factor)).trim_end().to_owned()
}

/// To three significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    // through text: dividing by a power of ten would leave 999.9999 where 1000 is meant
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// The power of ten of the leading digit.
fn magnitude(size: f64) -> i32 {
    (size.log10() + 1e-12).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_ms_below_a_second_and_s_from_there() {
        let of = [0.0, 0.000_012_3, 0.0312, 0.9994, 0.9996, 2.0, 75.25, 1234.5].map(duration);
        let texts =
            ["0 ms", "0.0123 ms", "31.2 ms", "999 ms", "1.00 s", "2.00 s", "75.2 s", "1230 s"];
        assert_eq!(of, texts);
    }

    #[test]
    fn memory_is_in_si_units_and_small_amounts_are_exact() {
        let of = [0, 999, 1000, 181_900_000, 999_999, 2_147_483_648, u64::MAX].map(bytes);
        let texts = ["0 B", "999 B", "1.00 kB", "182 MB", "1.00 MB", "2.15 GB", "18400000 TB"];
        assert_eq!(of, texts);
    }

    #[test]
    fn numbers_keep_three_significant_digits_at_every_size() {
        let of = [0.001, 0.012_345, 0.1, 1.0, 9.999, 99.95, 123.4, 99_960.0].map(significant);
        let texts = ["0.00100", "0.0123", "0.100", "1.00", "10.0", "100", "123", "100000"];
        assert_eq!(of, texts);
        assert_eq!(significant(-12.34), "-12.3");
        assert_eq!(significant(1e-9), "1.00e-9");
    }

    #[test]
    fn rates_put_the_prefix_before_the_unit() {
        let of = [0.5, 214.0, 999.7, 12_340.0].map(throughput);
        assert_eq!(of, ["0.500 tok/s", "214 tok/s", "1.00 ktok/s", "12.3 ktok/s"]);
        assert_eq!([7, 134_515_008].map(count), ["7.00", "135 M"]);
        assert_eq!((ratio(1.0), percent(0.875)), ("1.00×".into(), "87.5 %".into()));
        assert_eq!(usd(0.0123), "$0.0123");
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_never_an_estimate() {
        assert_eq!(known(None, duration), "–");
        assert_eq!(estimated(true, known(None, duration)), "–");
        assert_eq!(estimated(true, known(Some(2.0), duration)), "≈2.00 s");
        assert_eq!([f64::NAN, f64::INFINITY].map(throughput), ["–", "–"]);
        assert_eq!((ratio(f64::NAN), percent(f64::INFINITY)), ("–".into(), "–".into()));
    }
}
