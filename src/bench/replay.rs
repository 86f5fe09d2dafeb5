//! Plays a past run again at its own speed: the events it must have had, at the moments they
//! must have had, over the same channel as a live run.
//!
//! A journal keeps rows and not tokens, so the tokens of a row are spread evenly from its first
//! to its last.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_util::sync::CancellationToken;

use super::event::{RunEvent, Stamp};
use super::journal::Recorded;
use super::recorder::{LaneRecord, Pass, Recorder, RowRecord, RowState};
use super::run::{Controls, RunHandle};
use crate::probe::{Reading, Sample};
use crate::provider::{Event, Failure, JobEvent, JobRecord, Stamped};

/// Pieces that all rows of a pass are given in, at most.
const MOST_PIECES: usize = 400_000;

/// Steps of a pass that are played again; of a longer one none are.
const MOST_STEPS: f64 = 2e6;

/// Begins to play a run. The event times are exact, whenever an event is sent.
pub fn start(recorded: Recorded) -> RunHandle {
    let (sender, events) = mpsc::unbounded_channel();
    let cancel = CancellationToken::new();
    let epoch = Instant::now();
    let rows = recorded.job.prompts.prompts.len();
    let handle = RunHandle {
        id: recorded.id.clone(),
        started_at: recorded.started_at,
        folder: recorded.folder.clone(),
        recorder: Recorder::new(&recorded.job.plan, rows, epoch),
        events,
        controls: Controls::of_cancel(cancel.clone()),
        turns: None,
    };
    tokio::spawn(play(recorded.recorder, epoch, sender, cancel));
    handle
}

async fn play(
    record: Recorder,
    epoch: Instant,
    sender: UnboundedSender<Stamp>,
    cancel: CancellationToken,
) {
    let send = |at: Duration, event| sender.send(Stamped { at: epoch + at, event }).is_ok();
    let mut last = Duration::ZERO;
    'run: for (lane, record, pass) in in_order(&record) {
        if let Some(info) = record.info.clone() {
            send(pass.started, RunEvent::ProviderReady { lane, info });
        }
        for (at, event) in events(lane, pass) {
            let at = pass.started + at;
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    let at = epoch.elapsed();
                    let failure = Some(Failure::cancelled());
                    send(at, RunEvent::LaneFinished { failure });
                    last = at;
                    break 'run;
                }
                () = tokio::time::sleep_until((epoch + at).into()) => {}
            }
            last = at;
            // nobody looks any more
            if !send(at, event) {
                return;
            }
        }
    }
    send(last, RunEvent::RunFinished);
}

/// The passes as they ran.
fn in_order(record: &Recorder) -> Vec<(usize, &LaneRecord, &Pass)> {
    let lanes = record.lanes.iter().enumerate();
    let mut passes: Vec<_> = lanes
        .flat_map(|(place, lane)| lane.passes.iter().map(move |pass| (place, lane, pass)))
        .collect();
    passes.sort_by_key(|(place, _, pass)| (pass.started, pass.repeat, *place));
    passes
}

/// What happened in a pass, in order, from its start.
pub fn events(lane: usize, pass: &Pass) -> Vec<(Duration, RunEvent)> {
    let mut events = Vec::new();
    if let Some(engine) = pass.engine {
        let weights = engine.weights;
        let kv = pass.peak.engine.map_or(engine.kv, |peak| peak.saturating_sub(weights));
        let memory = crate::provider::EngineMemory { weights, kv };
        events.push((Duration::ZERO, RunEvent::Provider(Event::Memory(memory))));
    }
    for job in &pass.jobs {
        events.extend(job_events(job));
    }
    let changes = pass.batch_sizes.iter().skip(1);
    events.extend(changes.map(|(at, size)| (*at, RunEvent::BatchSize(*size))));
    events
        .extend(pass.memory.iter().map(|(at, bytes)| (*at, RunEvent::Probe(memory(*bytes, pass)))));
    let pieces = (MOST_PIECES / pass.rows.len().max(1)).max(1);
    for (row, record) in pass.rows.iter().enumerate() {
        row_events(row, record, pieces, &mut events);
    }
    step_events(pass, &mut events);
    // what happens at the same moment stays in the order of a row
    events.sort_by_key(|(at, _)| *at);
    events.insert(0, (Duration::ZERO, RunEvent::LaneStarted { lane, repeat: pass.repeat }));
    let end = pass.finished.unwrap_or_default();
    let end = events.last().map_or(end, |(at, _)| end.max(*at));
    events.push((end, RunEvent::LaneFinished { failure: pass.failure.clone() }));
    events
}

/// How a job stands in the end is all that is known of it.
fn job_events(job: &JobRecord) -> [(Duration, RunEvent); 2] {
    let JobRecord { name, planned_at, rows, status, counts, over, .. } = job.clone();
    let planned = JobEvent::Planned { name: name.clone(), at: planned_at, rows };
    let status = status.unwrap_or_default();
    let status = match over {
        true => JobEvent::Over { name, status, counts },
        false => JobEvent::Status { name, status, counts },
    };
    [planned, status].map(|event| (Duration::ZERO, RunEvent::Provider(Event::Job(event))))
}

fn memory(bytes: u64, pass: &Pass) -> Sample {
    let source = pass.peak.sources.first().cloned().unwrap_or_default();
    Sample { process: Some(Reading { bytes, source }), ..Sample::default() }
}

fn row_events(
    row: usize,
    record: &RowRecord,
    most_pieces: usize,
    events: &mut Vec<(Duration, RunEvent)>,
) {
    let mut push = |at, event| events.push((at, RunEvent::Provider(event)));
    if let Some(at) = record.submitted {
        push(at, Event::Submitted { row });
    }
    let first = record.first_token.or(record.last_token);
    if let (Some(first), Some(last)) = (first, record.last_token) {
        let pieces = record.counted.clamp(1, most_pieces);
        let letters: Vec<char> = record.text.chars().collect();
        let part = |of: usize, place: usize| of * place / pieces..of * (place + 1) / pieces;
        for place in 0..pieces {
            let share = if pieces > 1 { place as f64 / (pieces - 1) as f64 } else { 0.0 };
            // the first piece is never without text where there is any
            let text: String = match place {
                0 if pieces > letters.len() => letters.iter().collect(),
                _ if pieces > letters.len() => String::new(),
                _ => letters[part(letters.len(), place)].iter().collect(),
            };
            let event = Event::Tokens {
                row,
                count: part(record.counted, place).len(),
                ids: record.ids[part(record.ids.len(), place)].to_vec(),
                text,
            };
            push(first + last.saturating_sub(first).mul_f64(share), event);
        }
    }
    let end = record.finished.or(record.last_token).unwrap_or_default();
    if record.last_token.is_none() && !record.text.is_empty() {
        let (count, text) = (record.counted, record.text.clone());
        push(end, Event::Answer { row, count, text });
    }
    match (record.state, &record.failure) {
        (RowState::Failed, Some(failure)) => {
            push(end, Event::Failed { row, failure: failure.clone() });
        }
        (RowState::Done, _) => {
            let reason = record.reason.clone().unwrap_or(crate::provider::FinishReason::Stop);
            push(end, Event::Finished { row, usage: record.usage, reason });
        }
        (RowState::Waiting | RowState::Running | RowState::NotRun | RowState::Failed, _) => {}
    }
}

/// The steps of each moment, with its rows shared out among them.
fn step_events(pass: &Pass, events: &mut Vec<(Duration, RunEvent)>) {
    let (width, steps) = pass.steps_over_time.buckets();
    let (_, rows) = pass.rows_over_time.buckets();
    if steps.iter().sum::<f64>() > MOST_STEPS {
        return;
    }
    for (bucket, (steps, rows)) in steps.iter().zip(rows).enumerate() {
        let at = width.mul_f64(bucket as f64);
        let (steps, rows) = (*steps as usize, *rows as usize);
        for step in 0..steps {
            let rows = rows * (step + 1) / steps - rows * step / steps;
            let event = Event::Step { rows, prefill_tokens: 0 };
            events.push((at, RunEvent::Provider(event)));
        }
    }
}
