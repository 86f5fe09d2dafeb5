//! The figures that a claim may name, and the units of their bounds.

use crate::bench::statistics::{Spread, Summary};
use crate::report::Lane;
use crate::units;

/// A figure of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Figure {
    Throughput,
    RowsPerSecond,
    Speedup,
    Goodput,
    WithinSlo,
    Occupancy,
    RowsFailed,
    OutputTokens,
    Wall,
    Cost,
    Energy,
    Latency(Latency, Stat),
    Memory(Memory),
}

/// A time of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Latency {
    Ttft,
    Itl,
    E2e,
}

/// What is taken of the times of all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Stat {
    Mean,
    P50,
    P90,
    P95,
    P99,
    Max,
}

/// Whose memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Memory {
    Process,
    Engine,
    Gpu,
}

const PLAIN: [(&str, Figure); 11] = [
    ("throughput", Figure::Throughput),
    ("rows_per_s", Figure::RowsPerSecond),
    ("speedup", Figure::Speedup),
    ("goodput", Figure::Goodput),
    ("within_slo", Figure::WithinSlo),
    ("occupancy", Figure::Occupancy),
    ("rows_failed", Figure::RowsFailed),
    ("output_tokens", Figure::OutputTokens),
    ("wall", Figure::Wall),
    ("cost", Figure::Cost),
    ("energy", Figure::Energy),
];

const LATENCIES: [(&str, Latency); 3] =
    [("ttft", Latency::Ttft), ("itl", Latency::Itl), ("e2e", Latency::E2e)];

const STATS: [(&str, Stat); 6] = [
    ("mean", Stat::Mean),
    ("p50", Stat::P50),
    ("p90", Stat::P90),
    ("p95", Stat::P95),
    ("p99", Stat::P99),
    ("max", Stat::Max),
];

const MEMORIES: [(&str, Memory); 3] =
    [("process", Memory::Process), ("engine", Memory::Engine), ("gpu", Memory::Gpu)];

impl Figure {
    /// The names, for people.
    pub const NAMES: &str = "throughput, rows_per_s, speedup, goodput, within_slo, occupancy, \
        rows_failed, output_tokens, wall, cost, energy, ttft|itl|e2e.mean|p50|p90|p95|p99|max, \
        memory.process|engine|gpu";

    /// The figure that a name such as `batched 16.ttft.p95` ends with, and the lane before it.
    /// Labels may hold dots themselves.
    pub fn at_the_end_of(name: &str) -> Option<(Option<&str>, Self)> {
        let last = |text: &str| text.rfind('.').map(|dot| (dot, dot + 1));
        let (mut dot, mut from) = last(name).map_or((None, 0), |(dot, from)| (Some(dot), from));
        // one word, or two with a dot between
        for _ in 0..2 {
            if let Some(figure) = Self::named(name[from..].trim()) {
                let lane = dot.map(|dot| name[..dot].trim());
                return Some((lane.filter(|lane| !lane.is_empty()), figure));
            }
            let before = dot?;
            (dot, from) = last(&name[..before]).map_or((None, 0), |(dot, from)| (Some(dot), from));
        }
        None
    }

    fn named(name: &str) -> Option<Self> {
        if let Some((_, figure)) = PLAIN.iter().find(|(word, _)| *word == name) {
            return Some(*figure);
        }
        let (of, stat) = name.split_once('.')?;
        if of == "memory" {
            return find(&MEMORIES, stat).map(Figure::Memory);
        }
        Some(Figure::Latency(find(&LATENCIES, of)?, find(&STATS, stat)?))
    }

    /// Its value in a lane.
    pub fn read(self, lane: &Lane) -> Option<f64> {
        let figures = &lane.figures;
        match self {
            Figure::Throughput => figures.output_tokens_per_s,
            Figure::RowsPerSecond => figures.rows_per_s,
            Figure::Speedup => lane.speedup,
            Figure::Goodput => lane.slo.map(|slo| slo.goodput_rows_per_s),
            Figure::WithinSlo => lane.slo.map(|slo| slo.share),
            Figure::Occupancy => figures.occupancy,
            Figure::RowsFailed => Some(figures.rows_failed as f64),
            Figure::OutputTokens => Some(figures.output_tokens as f64),
            Figure::Wall => figures.wall_s,
            Figure::Cost => lane.cost_usd,
            Figure::Energy => figures.energy.as_ref()?.joules_per_1000_output_tokens,
            Figure::Latency(latency, stat) => Some(stat.of(&latency.of(lane)?)),
            Figure::Memory(memory) => {
                let peak = figures.peak_memory_bytes?;
                let bytes = match memory {
                    Memory::Process => peak.process,
                    Memory::Engine => peak.engine,
                    Memory::Gpu => peak.gpu,
                };
                bytes.map(|bytes| bytes as f64)
            }
        }
    }

    /// Its spread over the repeats, where there are some.
    pub fn spread(self, lane: &Lane) -> Option<Spread> {
        let spread = lane.spread.as_ref()?;
        match self {
            Figure::Throughput => spread.output_tokens_per_s,
            Figure::RowsPerSecond => spread.rows_per_s,
            Figure::Speedup => spread.speedup,
            Figure::Latency(Latency::Ttft, Stat::P50) => spread.ttft_p50_s,
            Figure::Latency(Latency::Ttft, Stat::P95) => spread.ttft_p95_s,
            Figure::Latency(Latency::Itl, Stat::P50) => spread.itl_p50_s,
            Figure::Latency(Latency::E2e, Stat::P50) => spread.e2e_p50_s,
            Figure::Goodput
            | Figure::WithinSlo
            | Figure::Occupancy
            | Figure::RowsFailed
            | Figure::OutputTokens
            | Figure::Wall
            | Figure::Cost
            | Figure::Energy
            | Figure::Latency(..)
            | Figure::Memory(_) => None,
        }
    }

    /// The unit of its value.
    pub fn unit(self) -> Unit {
        match self {
            Figure::Throughput => Unit::TokensPerSecond,
            Figure::RowsPerSecond | Figure::Goodput => Unit::RowsPerSecond,
            Figure::Speedup => Unit::Factor,
            Figure::WithinSlo | Figure::Occupancy => Unit::Share,
            Figure::RowsFailed | Figure::OutputTokens => Unit::Count,
            Figure::Wall | Figure::Latency(..) => Unit::Seconds,
            Figure::Cost => Unit::Dollars,
            Figure::Energy => Unit::Joules,
            Figure::Memory(_) => Unit::Bytes,
        }
    }
}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(word, _)| *word == name).map(|(_, found)| *found)
}

impl Latency {
    fn of(self, lane: &Lane) -> Option<Summary> {
        match self {
            Latency::Ttft => lane.figures.ttft_s,
            Latency::Itl => lane.figures.itl_s,
            Latency::E2e => lane.figures.e2e_s,
        }
    }
}

impl Stat {
    fn of(self, summary: &Summary) -> f64 {
        match self {
            Stat::Mean => summary.mean,
            Stat::P50 => summary.p50,
            Stat::P90 => summary.p90,
            Stat::P95 => summary.p95,
            Stat::P99 => summary.p99,
            Stat::Max => summary.max,
        }
    }
}

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Unit {
    Seconds,
    Bytes,
    TokensPerSecond,
    RowsPerSecond,
    Factor,
    Share,
    Count,
    Dollars,
    Joules,
}

impl Unit {
    /// Suffixes and what they stand for.
    fn suffixes(self) -> &'static [(&'static str, f64)] {
        match self {
            Unit::Seconds => &[("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("min", 60.0)],
            Unit::Bytes => &[
                ("kB", 1e3),
                ("MB", 1e6),
                ("GB", 1e9),
                ("KiB", 1024.0),
                ("MiB", 1_048_576.0),
                ("GiB", 1_073_741_824.0),
                ("B", 1.0),
            ],
            Unit::TokensPerSecond => &[("ktok/s", 1e3), ("tok/s", 1.0), ("", 1.0)],
            Unit::RowsPerSecond => &[("rows/s", 1.0), ("/s", 1.0), ("", 1.0)],
            Unit::Factor => &[("x", 1.0), ("×", 1.0), ("", 1.0)],
            Unit::Share => &[("%", 0.01), ("", 1.0)],
            Unit::Count => &[("", 1.0)],
            Unit::Dollars => &[("$", 1.0), ("usd", 1.0), ("", 1.0)],
            Unit::Joules => &[("kJ", 1e3), ("J", 1.0), ("", 1.0)],
        }
    }

    /// What a bound looks like.
    pub fn examples(self) -> &'static str {
        match self {
            Unit::Seconds => "a time with its unit, such as 0.5s or 250ms",
            Unit::Bytes => "an amount with its unit, such as 800MB or 2GiB",
            Unit::TokensPerSecond => "a rate, such as 100 or 100tok/s",
            Unit::RowsPerSecond => "a rate, such as 2 or 2rows/s",
            Unit::Factor => "a factor, such as 2 or 2x",
            Unit::Share => "a share, such as 0.95 or 95%",
            Unit::Count => "a number, such as 0",
            Unit::Dollars => "an amount of money, such as 0.05 or 0.05$",
            Unit::Joules => "joules per 1,000 tokens, such as 900 or 900J",
        }
    }

    /// A bound in this unit.
    pub fn parse(self, text: &str) -> Option<f64> {
        let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
        let end = text.find(|c| !number(c)).unwrap_or(text.len());
        let (value, suffix) = (text[..end].parse::<f64>().ok()?, text[end..].trim());
        let factor = find(self.suffixes(), suffix)?;
        // 95 % is 0.95 and not the next number above it, as it would be by multiplying
        let bound = if factor < 1.0 { value / (1.0 / factor).round() } else { value * factor };
        Some(bound).filter(|bound| bound.is_finite())
    }

    /// A figure in this unit, for people.
    pub fn format(self, value: f64) -> String {
        match self {
            Unit::Seconds => units::duration(value),
            Unit::Bytes => units::bytes(value as u64),
            Unit::TokensPerSecond => units::throughput(value),
            Unit::RowsPerSecond => units::rate(value, "rows/s"),
            Unit::Factor => units::ratio(value),
            Unit::Share => units::percent(value),
            Unit::Count => format!("{value}"),
            Unit::Dollars => units::usd(value),
            Unit::Joules => format!("{} J per 1,000 tokens", units::significant(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_may_have_dots_and_blanks_in_its_label() {
        let p95 = Figure::Latency(Latency::Ttft, Stat::P95);
        assert_eq!(Figure::at_the_end_of("batched 16.ttft.p95"), Some((Some("batched 16"), p95)));
        assert_eq!(Figure::at_the_end_of("v1.2.speedup"), Some((Some("v1.2"), Figure::Speedup)));
        assert_eq!(Figure::at_the_end_of("speedup"), Some((None, Figure::Speedup)));
        assert_eq!(Figure::at_the_end_of("ttft.p95"), Some((None, p95)));
        assert_eq!(Figure::at_the_end_of("batched.ttft"), None);
        assert_eq!(Figure::at_the_end_of("batched.ttft.p42"), None);
        assert_eq!(Figure::at_the_end_of(""), None);
    }

    #[test]
    fn a_bound_has_the_unit_of_its_figure() {
        assert_eq!(Unit::Seconds.parse("250 ms"), Some(0.25));
        assert_eq!(Unit::Seconds.parse("0.5s"), Some(0.5));
        assert_eq!(Unit::Seconds.parse("5"), None, "5 what?");
        assert_eq!(Unit::Bytes.parse("2GiB"), Some(2_147_483_648.0));
        assert_eq!(Unit::Share.parse("95%"), Some(0.95));
        assert_eq!(Unit::Factor.parse("2x"), Some(2.0));
        assert_eq!(Unit::TokensPerSecond.parse("1e3"), Some(1000.0));
        for (unit, text) in [(Unit::Factor, "2s"), (Unit::Count, ""), (Unit::Count, "1e999")] {
            assert_eq!(unit.parse(text), None, "{text}");
        }
    }
}
