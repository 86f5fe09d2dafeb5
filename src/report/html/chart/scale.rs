//! From figures to places in a chart, and the ticks of an axis.

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report::html) enum Scale {
    /// From 0 in equal steps.
    Linear {
        /// The last tick.
        top: f64,
        /// From tick to tick.
        step: f64,
    },
    /// By factors: each power of ten takes the same room.
    Log {
        /// The first place.
        low: f64,
        /// The last place.
        high: f64,
    },
}

/// Smallest ratio of the largest to the smallest figure that is drawn in powers of ten.
const LOG_FROM: f64 = 30.0;

impl Scale {
    /// A linear scale that holds these figures; `None` where none is positive.
    pub fn linear(values: impl IntoIterator<Item = f64>, ticks: usize) -> Option<Self> {
        let most = values.into_iter().filter(|value| value.is_finite()).fold(0.0, f64::max);
        if most <= 0.0 {
            return None;
        }
        let step = nice(most / ticks as f64);
        Some(Scale::Linear { top: (most / step).ceil() * step, step })
    }

    /// A scale in powers of ten where the figures lie far apart, else a linear one.
    pub fn fitting(values: &[f64], ticks: usize) -> Option<Self> {
        let positive = values.iter().copied().filter(|value| value.is_finite() && *value > 0.0);
        let most = positive.clone().fold(0.0, f64::max);
        let least = positive.fold(f64::INFINITY, f64::min);
        if most / least < LOG_FROM {
            return Self::linear(values.iter().copied(), ticks);
        }
        // the largest of 1, 2 and 5 times a power of ten that is not above the least figure
        let ends = [1.0, 0.5, 0.4].map(|share| share * nice(least));
        let below = ends.into_iter().find(|end| *end <= least * (1.0 + 1e-9));
        Some(Scale::Log { low: below.unwrap_or(least), high: nice(most) })
    }

    /// Where a figure lies, from 0 to 1.
    pub fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear { top, .. } => value / top,
            Scale::Log { low, high } => {
                (value.max(f64::MIN_POSITIVE) / low).log10() / (high / low).log10()
            }
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The figures that get a tick.
    pub fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Linear { top, step } => {
                let count = (top / step).round() as usize;
                (0..=count.min(20)).map(|place| place as f64 * step).collect()
            }
            Scale::Log { low, high } => {
                let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
                let ticks = powers.map(|power| 10f64.powi(power));
                ticks.filter(|tick| *tick >= low * 0.999 && *tick <= high * 1.001).collect()
            }
        }
    }

    /// Whether it is in powers of ten.
    pub fn is_log(self) -> bool {
        matches!(self, Scale::Log { .. })
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn nice(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps.iter().find(|step| *step * power >= least * (1.0 - 1e-9));
    step.unwrap_or(&10.0) * power
}

/// A formatted figure without the zeros that say nothing on an axis: `1.00 s` is `1 s`.
pub(in crate::report::html) fn tick_label(formatted: &str) -> String {
    let (number, unit) = formatted.split_once(' ').unwrap_or((formatted, ""));
    if number == "0" && unit != "%" {
        return number.to_owned();
    }
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    format!("{number} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_every_figure() {
        let scale = Scale::linear([3.0, 273.0], 4).unwrap();
        assert_eq!(scale.ticks(), [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(scale.place(150.0), 0.5);
        assert_eq!(Scale::linear([0.0, f64::NAN], 4), None);
    }

    #[test]
    fn figures_far_apart_are_drawn_in_powers_of_ten() {
        let scale = Scale::fitting(&[0.05, 2.7], 4).unwrap();
        assert_eq!(scale, Scale::Log { low: 0.05, high: 5.0 });
        assert_eq!(scale.ticks(), [0.1, 1.0]);
        assert!((scale.place(0.5) - 0.5).abs() < 1e-9);
        assert!(!Scale::fitting(&[1.0, 2.0], 4).unwrap().is_log());
    }

    #[test]
    fn ticks_lose_what_says_nothing() {
        assert_eq!(tick_label("1.00 s"), "1 s");
        assert_eq!(tick_label("250 ms"), "250 ms");
        assert_eq!(tick_label("0 ms"), "0");
    }
}
