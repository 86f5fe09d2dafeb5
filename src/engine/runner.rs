//! The seam between scheduling and arithmetic: a runner computes packed rows over a cache.
//!
//! The weights belong to the runner and are shared; every call owns a cache, so rows of
//! different calls are never fused.

use super::EngineError;

/// One token of one slot, to be computed in a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The slot of the cache this token belongs to.
    pub slot: usize,
    /// Its place in the slot's sequence, from 0.
    pub position: usize,
    /// The token id.
    pub token: u32,
    /// Whether it is of the prompt, which comes before what was chosen. A runner may compute prompts
    /// in another arithmetic.
    pub prompt: bool,
    /// What is needed of the logits after this token.
    pub want: Want,
}

/// What a row needs of its logits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// Nothing: another token follows.
    #[default]
    Nothing,
    /// The greedy choice alone, which a runner may find without storing logits.
    Best,
    /// All of them.
    Logits,
}

impl Want {
    /// Whether the row wants an answer.
    pub fn anything(self) -> bool {
        self != Self::Nothing
    }
}

/// What a forward pass gave: an answer for each row that wanted one, in their order. It is
/// reused from pass to pass.
#[derive(Debug, Default)]
pub struct Answers {
    given: Vec<Given>,
    logits: Vec<f32>,
    vocabulary: usize,
    /// Elements from one row of logits to the next.
    stride: usize,
}

#[derive(Debug, Clone, Copy)]
enum Given {
    Best(Option<u32>),
    /// The number of the row of logits.
    Logits(usize),
}

/// The answer to one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer<'a> {
    /// The token with the greatest logit, the lowest id on ties; `None` where no logit is a
    /// number above minus infinity.
    Best(Option<u32>),
    /// An f32 for each entry of the vocabulary.
    Logits(&'a [f32]),
}

impl Answers {
    /// The answers.
    pub fn iter(&self) -> impl Iterator<Item = Answer<'_>> {
        self.given.iter().map(|given| self.answer(*given))
    }

    /// The answer to this one of the rows that wanted one.
    pub fn get(&self, number: usize) -> Option<Answer<'_>> {
        self.given.get(number).map(|given| self.answer(*given))
    }

    fn answer(&self, given: Given) -> Answer<'_> {
        match given {
            Given::Best(id) => Answer::Best(id),
            Given::Logits(row) => {
                Answer::Logits(&self.logits[row * self.stride..][..self.vocabulary])
            }
        }
    }

    /// Begins new answers, for runners that find greedy choices themselves: gives room for
    /// `rows` rows of logits, each `stride` after the one before, at least the vocabulary.
    /// What is in there is left from before.
    pub fn begin(&mut self, vocabulary: usize, stride: usize, rows: usize) -> &mut [f32] {
        self.given.clear();
        (self.vocabulary, self.stride) = (vocabulary, stride);
        self.logits.resize(rows * stride, 0.0);
        &mut self.logits
    }

    /// Adds a greedy choice.
    pub fn push_best(&mut self, id: Option<u32>) {
        self.given.push(Given::Best(id));
    }

    /// Adds a row of the logits that [`Answers::begin`] gave room for.
    pub fn push_logits(&mut self, row: usize) {
        self.given.push(Given::Logits(row));
    }

    /// For runners that always compute logits: `compute` fills a vector, which is empty, with
    /// the logits of the rows that want anything, `[wanted, vocabulary]`.
    ///
    /// # Errors
    /// Those of `compute`, and too few logits.
    pub fn from_logits(
        &mut self,
        rows: &[Row],
        vocabulary: usize,
        compute: impl FnOnce(&mut Vec<f32>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        self.given.clear();
        self.logits.clear();
        compute(&mut self.logits)?;
        (self.vocabulary, self.stride) = (vocabulary, vocabulary);
        let mut computed = self.logits.chunks_exact(vocabulary.max(1)).enumerate();
        for row in rows.iter().filter(|row| row.want.anything()) {
            let Some((number, logits)) = computed.next() else {
                let defect = "the runner gave fewer logits than were wanted";
                return Err(EngineError::Internal(defect.into()));
            };
            self.given.push(match row.want {
                Want::Best | Want::Nothing => Given::Best(best(logits)),
                Want::Logits => Given::Logits(number),
            });
        }
        Ok(())
    }
}

/// The id of the greatest logit, the lowest on ties; never one that is not a number.
fn best(logits: &[f32]) -> Option<u32> {
    let mut found = None;
    let mut greatest = f32::NEG_INFINITY;
    for (id, logit) in (0..).zip(logits) {
        if *logit > greatest {
            (found, greatest) = (Some(id), *logit);
        }
    }
    found
}

/// Computes forward passes.
pub trait Runner: Send + 'static {
    /// Keys and values of the slots of one call.
    type Cache: Cache;

    /// A cache for sequences of up to `capacity` tokens, without slots.
    ///
    /// # Errors
    /// Memory or device failures.
    fn new_cache(&self, capacity: usize) -> Result<Self::Cache, EngineError>;

    /// Computes `rows`, which are packed and never padded. Rows of one slot are consecutive
    /// and in ascending positions, those of its prompt first, each slot continues at the position
    /// after its last computed one, and position 0 begins the slot anew. `answers` then holds the answers to the rows
    /// that want one, in their order.
    ///
    /// # Errors
    /// Memory or device failures; the cache is then unusable.
    fn forward(
        &self,
        cache: &mut Self::Cache,
        rows: &[Row],
        answers: &mut Answers,
    ) -> Result<(), EngineError>;

    /// Entries of a logits row.
    fn vocabulary(&self) -> usize;

    /// Bytes of the weights.
    fn weight_bytes(&self) -> u64;

    /// Bytes that one slot of `capacity` tokens takes.
    fn slot_bytes(&self, capacity: usize) -> u64;

    /// Does a piece of work with each item, on the threads that compute where there are any; which
    /// thread does which is nothing that a result may depend on.
    fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        items.iter_mut().for_each(work);
    }

    /// The most slots a cache may have; `None` is no limit but memory.
    fn max_slots(&self) -> Option<usize> {
        None
    }
}

/// Keys and values of the slots of one call.
pub trait Cache {
    /// Changes the number of slots. Slots below `slots` keep their contents.
    ///
    /// # Errors
    /// Memory or device failures.
    fn resize(&mut self, slots: usize) -> Result<(), EngineError>;

    /// Makes slot `to` hold the first `tokens` tokens of slot `from`, which holds at least these,
    /// as if it had computed them itself; `from` may be `to`. Whether this cache can.
    fn copy_prefix(&mut self, from: usize, to: usize, tokens: usize) -> bool {
        let _ = (from, to, tokens);
        false
    }

    /// Bytes that are allocated now.
    fn bytes(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_token_is_the_lowest_of_the_greatest_numbers() {
        assert_eq!(best(&[0.0, f32::NAN, 3.0, 3.0]), Some(2));
        assert_eq!(best(&[f32::NAN, f32::NEG_INFINITY]), None);
    }

    #[test]
    fn answers_follow_the_rows_that_want_one() {
        let row = |want| Row { slot: 0, position: 0, token: 0, prompt: true, want };
        let rows = [row(Want::Nothing), row(Want::Best), row(Want::Logits)];
        let mut answers = Answers::default();
        let compute = |logits: &mut Vec<f32>| {
            logits.extend([1.0, 2.0, 4.0, 3.0]);
            Ok(())
        };
        answers.from_logits(&rows, 2, compute).unwrap();
        let given: Vec<Answer<'_>> = answers.iter().collect();
        assert_eq!(given, [Answer::Best(Some(1)), Answer::Logits(&[4.0, 3.0])]);
        assert!(answers.from_logits(&rows, 2, |_| Ok(())).is_err());
    }
}
