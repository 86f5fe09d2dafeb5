//! A record of rows that somebody else ran: the results of a batch, put in prompt order and
//! checked like a run of this program.
//!
//! There are no times in it, since a results file has none.

use std::collections::HashMap;
use std::time::Instant;

use super::event::{RunEvent, Stamp};
use super::recorder::Recorder;
use crate::batch_file::ResultLine;
use crate::config::Plan;
use crate::prompts::printable;
use crate::provider::{Stamped, events_of_result};

/// Takes results in any order.
#[derive(Debug)]
pub struct Imported {
    recorder: Recorder,
    /// The row of each name, and where its result was.
    rows: HashMap<String, (usize, Option<String>)>,
    violations: Vec<String>,
    models: Vec<String>,
}

impl Imported {
    /// Nothing has come for these names yet, which are in the order of the list. The plan has
    /// one lane.
    pub fn new(plan: &Plan, custom_ids: Vec<String>) -> Self {
        let mut recorder = Recorder::new(plan, custom_ids.len(), Instant::now());
        apply(&mut recorder, RunEvent::LaneStarted { lane: 0, repeat: 0 });
        let rows = custom_ids.into_iter().enumerate().map(|(row, id)| (id, (row, None)));
        let rows = rows.collect();
        Self { recorder, rows, violations: Vec::new(), models: Vec::new() }
    }

    /// Takes a line; `place` is its file and number for people. The first result of a row is
    /// kept, a second one is a violation, as is everything that is no result of this list.
    pub fn take(&mut self, place: &str, line: Result<ResultLine, String>) {
        let ResultLine { custom_id, outcome } = match line {
            Ok(line) => line,
            Err(reason) => return self.violate(format!("{place}: {reason}")),
        };
        let Some((row, earlier)) = self.rows.get_mut(&custom_id) else {
            return self.violate(format!("{place}: no prompt has the custom_id \"{custom_id}\""));
        };
        if let Some(earlier) = earlier {
            let what = format!("{place}: \"{custom_id}\" came before, in {earlier}");
            return self.violate(what);
        }
        *earlier = Some(place.to_owned());
        let row = *row;
        if let Some(model) = outcome.as_ref().ok().and_then(|answer| answer.model.clone())
            && !self.models.contains(&model)
        {
            self.models.push(model);
        }
        for event in events_of_result(row, outcome) {
            apply(&mut self.recorder, RunEvent::Provider(event));
        }
    }

    fn violate(&mut self, what: String) {
        self.violations.push(printable(&what));
    }

    /// The names of the models that answered, in the order they came.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// Ends the record: rows without a result are missing.
    pub fn finish(mut self) -> Recorder {
        if let Some(pass) = self.recorder.lanes.first_mut().and_then(|lane| lane.passes.last_mut())
        {
            pass.violations.append(&mut self.violations);
        }
        apply(&mut self.recorder, RunEvent::LaneFinished { failure: None });
        apply(&mut self.recorder, RunEvent::RunFinished);
        self.recorder
    }
}

fn apply(recorder: &mut Recorder, event: RunEvent) {
    let stamp: Stamp = Stamped { at: recorder.epoch, event };
    recorder.apply(stamp);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::recorder::RowState;
    use crate::config::{LaneSpec, Mode, OnError};
    use crate::provider::ProviderSpec;
    use crate::sampling::Sampling;

    fn plan() -> Plan {
        Plan {
            name: "import".into(),
            prompts: "p".into(),
            column: None,
            template: None,
            raw: false,
            provider: ProviderSpec::default(),
            sampling: Sampling::default(),
            lanes: vec![LaneSpec::new(Mode::Offline)],
            repeats: 1,
            warmup: 0,
            on_error: OnError::Continue,
            max_cost_usd: None,
        }
    }

    fn answer(id: &str, text: &str) -> Result<ResultLine, String> {
        let line = format!(
            r#"{{"custom_id":"{id}","response":{{"body":{{"model":"m","choices":[{{"text":"{text}"}}]}}}}}}"#
        );
        ResultLine::parse(line.as_bytes())
    }

    #[test]
    fn results_in_any_order_come_to_their_rows_and_all_else_is_a_violation() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        let mut imported = Imported::new(&plan(), ids.into());
        imported.take("r:1", answer("c", "third"));
        imported.take("r:2", answer("a", "first"));
        imported.take("r:3", answer("c", "again"));
        imported.take("r:4", answer("x\\u001b", "stranger"));
        imported.take("r:5", Err("not valid JSON".into()));
        assert_eq!(imported.models(), ["m"]);
        let record = imported.finish();
        let pass = record.lanes[0].pass().unwrap();
        let texts: Vec<_> = pass.rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(texts, ["first", "", "third"]);
        assert_eq!(pass.rows[1].state, RowState::NotRun);
        let expected = [
            "r:3: \"c\" came before, in r:1",
            r#"r:4: no prompt has the custom_id "x\u{1b}""#,
            "r:5: not valid JSON",
        ];
        assert_eq!(pass.violations, expected);
        assert_eq!(pass.span(), None);
    }
}
