//! What the Sweep screen shows of a run that is one: its points, the limit, the chosen size.

use crate::bench::recorder::Recorder;
use crate::bench::sweep::{self, Knee, Limit, Measure, Point};

/// Steps of a limit from the lowest to the highest value.
const STEPS: f64 = 20.0;

/// The state of the Sweep screen.
#[derive(Debug, Clone)]
pub struct SweepView {
    /// A point for each size that has run, from the smallest up.
    pub points: Vec<Point>,
    /// What the curve shows.
    pub knee: Knee,
    /// The same in a sentence.
    pub words: String,
    /// The most that a size may take.
    pub limit: Option<Limit>,
    /// The place of the size that is best by limit or knee.
    pub recommended: Option<usize>,
    /// The size the user chose instead.
    chosen: Option<usize>,
    passes: usize,
    finished: bool,
}

impl SweepView {
    /// Nothing has run yet.
    pub fn new() -> Self {
        let knee = sweep::knee(&[]);
        Self {
            points: Vec::new(),
            knee,
            words: sweep::words(&[]),
            limit: None,
            recommended: None,
            chosen: None,
            passes: 0,
            finished: false,
        }
    }

    /// Takes what has ended since.
    pub fn refresh(&mut self, record: &Recorder) {
        let passes = record.lanes.iter().flat_map(|lane| &lane.passes);
        let ended = passes.filter(|pass| pass.finished.is_some()).count();
        if (ended, record.finished) == (self.passes, self.finished) {
            return;
        }
        (self.passes, self.finished) = (ended, record.finished);
        self.points = sweep::points(record);
        self.knee = sweep::knee(&self.points);
        let words = sweep::words(&self.points);
        self.words = if record.finished { words } else { format!("so far: {words}") };
        self.recommended = sweep::recommended(&self.points, self.limit);
    }

    /// The place of the size that would be taken.
    pub fn selected(&self) -> Option<usize> {
        let chosen = |size| self.points.iter().position(|point| point.batch_size == size);
        self.chosen.and_then(chosen).or(self.recommended)
    }

    /// The size that would be taken.
    pub fn size(&self) -> Option<usize> {
        Some(self.points.get(self.selected()?)?.batch_size)
    }

    /// Chooses a size.
    pub fn choose(&mut self, place: usize) {
        self.chosen = self.points.get(place).map(|point| point.batch_size);
    }

    /// Chooses the next size up or down.
    pub fn step(&mut self, up: bool) {
        let last = self.points.len().saturating_sub(1);
        let place = self.selected().unwrap_or(0);
        self.choose(if up { (place + 1).min(last) } else { place.saturating_sub(1) });
    }

    /// Limits memory, then TTFT p95, then nothing. A limit begins in the middle of what was
    /// measured.
    pub fn next_limit(&mut self) {
        let next = match self.limit.map(|limit| limit.measure) {
            None => Some(Measure::Memory),
            Some(Measure::Memory) => Some(Measure::TtftP95),
            Some(Measure::TtftP95) => None,
        };
        let middle = |measure| self.range(measure).map(|(low, high)| (low + high) / 2.0);
        self.set(next.map(|measure| Limit { measure, most: middle(measure).unwrap_or(0.0) }));
    }

    /// Moves the limit one step.
    pub fn move_limit(&mut self, up: bool) {
        let Some(limit) = self.limit else { return };
        let Some((low, high)) = self.range(limit.measure) else { return };
        let step = ((high - low) / STEPS).max(high / 1000.0);
        let most = limit.most + if up { step } else { -step };
        self.set(Some(Limit { most: most.clamp(0.0, high * 1.2), ..limit }));
    }

    fn set(&mut self, limit: Option<Limit>) {
        self.limit = limit;
        self.chosen = None;
        self.recommended = sweep::recommended(&self.points, limit);
    }

    /// The lowest and the highest value.
    fn range(&self, measure: Measure) -> Option<(f64, f64)> {
        let values = self.points.iter().filter_map(|point| point.measure(measure));
        values.map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

impl Default for SweepView {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> SweepView {
        let point = |(batch_size, speed, memory)| Point {
            batch_size,
            samples: vec![speed],
            ttft_p95: Some(1.0 / speed),
            memory: Some(memory),
        };
        let points: Vec<Point> =
            [(1, 60.0, 100), (4, 200.0, 130), (8, 290.0, 170), (16, 300.0, 250)]
                .into_iter()
                .map(point)
                .collect();
        let recommended = sweep::recommended(&points, None);
        SweepView { knee: sweep::knee(&points), points, recommended, ..SweepView::new() }
    }

    #[test]
    fn the_knee_is_taken_until_a_limit_or_the_user_says_otherwise() {
        let mut view = view();
        assert_eq!(view.size(), Some(8));
        view.step(true);
        assert_eq!(view.size(), Some(16));
        view.next_limit();
        // between 100 and 250 bytes
        assert_eq!(view.size(), Some(8));
        view.move_limit(false);
        assert_eq!(view.size(), Some(4));
        for _ in 0..12 {
            view.move_limit(true);
        }
        assert_eq!(view.size(), Some(16));
        for _ in 0..100 {
            view.move_limit(false);
        }
        assert_eq!(view.size(), None);
        view.next_limit();
        view.next_limit();
        assert_eq!((view.limit, view.size()), (None, Some(8)));
    }

    #[test]
    fn nothing_measured_is_nothing_to_take() {
        let mut view = SweepView::new();
        view.step(true);
        view.next_limit();
        view.move_limit(true);
        assert_eq!(view.size(), None);
    }
}
