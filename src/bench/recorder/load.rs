//! What a pass used besides memory: processor time and energy.

use std::time::Duration;

use crate::probe::{CpuTimes, EnergyReading, Sample};

/// Processor time and energy of a pass, from its first reading to its last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    cpu: Option<[(Duration, CpuTimes); 2]>,
    meters: Vec<Meter>,
}

/// How the processors were used, as shares of all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuShares {
    /// By this program, in processors.
    pub own_cores: f64,
    /// By other programs.
    pub others: f64,
    /// Taken by the hypervisor.
    pub stolen: f64,
    /// How often processors were throttled meanwhile, where it is counted.
    pub throttled: Option<u64>,
}

/// An energy meter between two readings.
#[derive(Debug, Clone, PartialEq)]
struct Meter {
    name: String,
    source: String,
    last: f64,
    used: f64,
}

/// Below this time shares are noise: the kernel counts in hundredths of a second.
const LEAST_TIME: Duration = Duration::from_millis(500);

impl Load {
    pub(super) fn take(&mut self, at: Duration, sample: &Sample) {
        if let Some(cpu) = sample.cpu {
            let first = self.cpu.map_or((at, cpu), |[first, _]| first);
            self.cpu = Some([first, (at, cpu)]);
        }
        sample.energy.iter().for_each(|reading| self.meter(reading));
    }

    fn meter(&mut self, reading: &EnergyReading) {
        let known = self.meters.iter_mut().find(|meter| meter.name == reading.name);
        let Some(meter) = known else {
            let (name, source) = (reading.name.clone(), reading.source.clone());
            self.meters.push(Meter { name, source, last: reading.joules, used: 0.0 });
            return;
        };
        let step = reading.joules - meter.last;
        // the counter began again at 0; one that lost its count adds nothing
        let step = if step < 0.0 { reading.wraps_at.map_or(0.0, |most| step + most) } else { step };
        meter.used += step.max(0.0);
        meter.last = reading.joules;
    }

    /// How the processors were used; `None` where it is not known or the time was too short.
    pub fn cpu(&self) -> Option<CpuShares> {
        let [(from, first), (to, last)] = self.cpu?;
        let time = to.checked_sub(from).filter(|time| *time >= LEAST_TIME)?.as_secs_f64();
        let all = time * last.cores as f64;
        let own = last.own - first.own;
        let throttled = last.throttled.zip(first.throttled);
        Some(CpuShares {
            own_cores: own / time,
            others: ((last.busy - first.busy - own) / all).clamp(0.0, 1.0),
            stolen: ((last.stolen - first.stolen) / all).clamp(0.0, 1.0),
            throttled: throttled.map(|(last, first)| last.saturating_sub(first)),
        })
    }

    /// Joules over all meters, and where they come from; `None` where nothing was used or known.
    pub fn joules(&self) -> Option<(f64, Vec<String>)> {
        let used: f64 = self.meters.iter().map(|meter| meter.used).sum();
        let source = |meter: &Meter| format!("{} {}", meter.source, meter.name);
        (used > 0.0).then(|| (used, self.meters.iter().map(source).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(joules: f64) -> Sample {
        let (name, source) = ("package-0".to_owned(), "rapl".to_owned());
        let reading = EnergyReading { name, joules, wraps_at: Some(100.0), source };
        Sample { energy: vec![reading], ..Sample::default() }
    }

    #[test]
    fn energy_is_what_the_meter_counted_also_when_it_began_again() {
        let mut load = Load::default();
        assert_eq!(load.joules(), None);
        for joules in [90.0, 95.0, 5.0, 6.0] {
            load.take(Duration::ZERO, &sample(joules));
        }
        assert_eq!(load.joules(), Some((16.0, vec!["rapl package-0".to_owned()])));
    }

    #[test]
    fn shares_are_of_the_time_between_the_first_reading_and_the_last() {
        let at = |own, busy, stolen| {
            let cpu = Some(CpuTimes { own, busy, stolen, cores: 4, throttled: Some(0) });
            Sample { cpu, ..Sample::default() }
        };
        let mut load = Load::default();
        load.take(Duration::from_secs(1), &at(1.0, 10.0, 0.0));
        load.take(Duration::from_secs(1), &at(1.0, 10.0, 0.0));
        assert_eq!(load.cpu(), None);
        load.take(Duration::from_secs(11), &at(11.0, 30.0, 2.0));
        let shares = load.cpu().unwrap();
        assert_eq!((shares.own_cores, shares.others, shares.stolen), (1.0, 0.25, 0.05));
    }
}
