//! The runner over a provider whose behaviour is scripted: order of calls, concurrency, fail
//! fast, cancellation, resuming.

mod jobs;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bench::event::RunEvent;
use crate::bench::recorder::{LaneState, RowState};
use crate::config::{LaneSpec, OnError};
use crate::probe::GpuSample;
use crate::prompts::{Content, Prompt};
use crate::provider::{
    Batching, Event, Failure, FailureKind, FinishReason, Provider, ProviderInfo, ProviderSpec,
    Request, Sink, Support, TokenCounts, Usage,
};
use crate::sampling::Sampling;

/// Answers every prompt with its text in capitals, one word a token.
#[derive(Default)]
struct Shouter {
    info: Option<ProviderInfo>,
    fail_rows: HashSet<usize>,
    hang_rows: HashSet<usize>,
    batching: Option<Batching>,
    calls: Mutex<Vec<Vec<usize>>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    opened: AtomicUsize,
    does_not_open: Option<FailureKind>,
}

impl Shouter {
    fn open(mut self) -> Arc<Self> {
        let refused =
            |reason: &str| Support::No { reason: reason.into(), instead: "use batched".into() };
        self.info = Some(ProviderInfo {
            provider: "shouter".into(),
            model: "loud".into(),
            model_sha256: None,
            device: "cpu".into(),
            details: Vec::new(),
            batching: self.batching.take().unwrap_or(Batching::Native),
            offline: refused("it has no batch API"),
            context_length: None,
            token_counts: TokenCounts::Exact,
            price: None,
            batch_invariant: true,
        });
        Arc::new(self)
    }

    async fn row(&self, request: &Request, sink: &Sink, cancel: &CancellationToken) {
        let row = request.row;
        if self.hang_rows.contains(&row) {
            cancel.cancelled().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        if self.fail_rows.contains(&row) {
            let failure = Failure::new(FailureKind::Protocol, "planted");
            sink.send(Event::Failed { row, failure });
            return;
        }
        let text = request.prompt.content.display().to_uppercase();
        let words = text.split_inclusive(' ').map(str::to_owned);
        let mut tokens = 0;
        for text in words {
            tokens += 1;
            sink.send(Event::Tokens { row, count: 1, ids: vec![7], text });
        }
        let usage = Usage { prompt_tokens: Some(3), output_tokens: Some(tokens) };
        sink.send(Event::Finished { row, usage, reason: FinishReason::Stop });
    }

    fn enter(&self, rows: Vec<usize>) {
        self.calls.lock().unwrap().push(rows);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
    }
}

#[async_trait]
impl Provider for Shouter {
    fn info(&self) -> &ProviderInfo {
        self.info.as_ref().unwrap()
    }

    async fn generate(
        &self,
        request: Request,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        self.enter(vec![request.row]);
        sink.send(Event::Submitted { row: request.row });
        self.row(&request, &sink, &cancel).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        if cancel.is_cancelled() { Err(Failure::cancelled()) } else { Ok(()) }
    }

    async fn batch_generate(
        &self,
        requests: Vec<Request>,
        batch_size: BatchSize,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        self.enter(requests.iter().map(|request| request.row).collect());
        // backwards, so that completion order is not prompt order
        for request in requests.iter().rev() {
            sink.send(Event::Submitted { row: request.row });
            self.row(request, &sink, &cancel).await;
            sink.send(Event::Step { rows: batch_size.get(), prefill_tokens: 0 });
            if cancel.is_cancelled() {
                return Err(Failure::cancelled());
            }
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn device_memory(&self) -> Option<GpuSample> {
        Some(GpuSample {
            name: "horn".into(),
            total: None,
            used: None,
            this_process: Some(1 << 50),
            source: "the horn".into(),
        })
    }
}

struct Opener(Arc<Shouter>);

#[async_trait]
impl OpenProvider for Opener {
    async fn open(
        &self,
        _spec: &ProviderSpec,
        progress: &(dyn Fn(String) + Send + Sync),
        _cancel: CancellationToken,
    ) -> Result<Arc<dyn Provider>, Failure> {
        progress("loading".into());
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        if let Some(kind) = self.0.does_not_open {
            return Err(Failure::new(kind, "planted"));
        }
        Ok(self.0.clone())
    }
}

fn job(lanes: &[&str], rows: usize) -> Job {
    let prompts = (0..rows).map(|index| {
        let content = Content::Text(format!("say word number {index}"));
        Arc::new(Prompt { index, id: format!("row-{}", index + 1), content, expect: None })
    });
    let prompts = PromptList { name: "words".into(), prompts: prompts.collect() };
    let plan = Plan {
        name: "test".into(),
        prompts: "words".into(),
        column: None,
        template: None,
        raw: false,
        provider: ProviderSpec::default(),
        sampling: Sampling::default(),
        lanes: lanes.iter().map(|lane| lane.parse::<LaneSpec>().unwrap()).collect(),
        repeats: 1,
        warmup: 0,
        on_error: OnError::Stop,
        max_cost_usd: None,
    };
    Job { plan, prompts: Arc::new(prompts) }
}

async fn finish(mut handle: RunHandle) -> Recorder {
    while let Some(stamp) = handle.events.recv().await {
        handle.recorder.apply(stamp);
    }
    assert!(handle.recorder.finished);
    handle.recorder
}

async fn run(job: Job, provider: Arc<Shouter>) -> Recorder {
    let home = tempfile::tempdir().unwrap();
    finish(start(job, Arc::new(Opener(provider)), home.path()).unwrap()).await
}

fn texts(recorder: &Recorder, lane: usize) -> Vec<String> {
    recorder.lanes[lane].pass().unwrap().rows.iter().map(|row| row.text.clone()).collect()
}

fn shouted(rows: usize) -> Vec<String> {
    (0..rows).map(|row| format!("SAY WORD NUMBER {row}")).collect()
}

#[tokio::test]
async fn every_mode_gives_every_output_in_prompt_order() {
    let provider = Shouter::default().open();
    let lanes = ["sequential", "async:4", "batched:3", "batched_async:2x2"];
    let recorder = run(job(&lanes, 11), provider.clone()).await;
    for lane in 0..lanes.len() {
        assert_eq!(recorder.lanes[lane].state, LaneState::Done);
        assert_eq!(texts(&recorder, lane), shouted(11));
        let pass = recorder.lanes[lane].pass().unwrap();
        assert_eq!((pass.done, pass.failed, pass.output_tokens), (11, 0, 44));
        assert!(pass.violations.is_empty());
    }
    assert!(
        recorder.lanes[1]
            .pass()
            .unwrap()
            .rows
            .iter()
            .all(|row| row.same_as_reference == Some(true))
    );
    let calls = provider.calls.lock().unwrap();
    let sizes: Vec<_> = calls.iter().map(Vec::len).collect();
    assert_eq!(sizes, [vec![1; 22], vec![11, 4, 4, 3]].concat());
    assert_eq!(provider.most_running.load(Ordering::SeqCst), 4);
    assert_eq!(provider.opened.load(Ordering::SeqCst), 1, "one spec is opened once");
}

#[tokio::test]
async fn an_empty_list_finishes_every_lane_without_a_call() {
    let provider = Shouter::default().open();
    let recorder = run(job(&["sequential", "batched:4"], 0), provider.clone()).await;
    assert!(recorder.lanes.iter().all(|lane| lane.state == LaneState::Done));
    assert!(provider.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_first_failed_row_stops_its_lane_and_the_next_lane_still_runs() {
    let provider = Shouter { fail_rows: [4].into(), ..Shouter::default() }.open();
    let recorder = run(job(&["sequential", "again=sequential"], 10), provider).await;
    for lane in &recorder.lanes {
        let pass = lane.pass().unwrap();
        assert!(
            matches!(&lane.state, LaneState::Failed(failure) if failure.message == "row 5: planted")
        );
        assert_eq!((pass.done, pass.failed), (4, 1));
        let states: Vec<_> = pass.rows.iter().map(|row| row.state).collect();
        assert_eq!(states[3..6], [RowState::Done, RowState::Failed, RowState::NotRun]);
    }
}

#[tokio::test]
async fn with_continue_a_failed_row_fails_alone() {
    let provider = Shouter { fail_rows: [0, 4].into(), ..Shouter::default() }.open();
    for lane in ["sequential", "async:3", "batched:2"] {
        let mut job = job(&[lane], 10);
        job.plan.on_error = OnError::Continue;
        let recorder = run(job, provider.clone()).await;
        let pass = recorder.lanes[0].pass().unwrap();
        assert_eq!((pass.done, pass.failed), (8, 2), "{lane}");
        assert_eq!(recorder.lanes[0].state, LaneState::Done);
    }
}

#[tokio::test]
async fn modes_the_provider_cannot_do_are_refused_with_the_reason() {
    let batching = Batching::Unsupported {
        reason: "this architecture runs one row at a time".into(),
        instead: "use sequential or async".into(),
    };
    let provider = Shouter { batching: Some(batching), ..Shouter::default() }.open();
    let recorder = run(job(&["batched:4", "offline", "sequential"], 3), provider).await;
    let message = |lane: usize| match &recorder.lanes[lane].state {
        LaneState::Failed(failure) => {
            assert_eq!(failure.kind, FailureKind::Unsupported);
            failure.message.clone()
        }
        state => panic!("{state:?}"),
    };
    assert_eq!(
        message(0),
        "shouter cannot run batched: this architecture runs one row at a time; use sequential or async"
    );
    assert_eq!(message(1), "shouter cannot run offline: it has no batch API; use batched");
    assert_eq!(recorder.lanes[2].state, LaneState::Done);
}

#[tokio::test]
async fn stopping_keeps_what_was_finished_and_resuming_runs_only_the_rest() {
    let home = tempfile::tempdir().unwrap();
    let hanging = Shouter { hang_rows: [6].into(), ..Shouter::default() }.open();
    let job = job(&["sequential", "batched:4"], 10);
    let mut handle = start(job, Arc::new(Opener(hanging)), home.path()).unwrap();
    let folder = handle.folder.clone();
    while let Some(stamp) = handle.events.recv().await {
        if matches!(stamp.event, RunEvent::Provider(Event::Submitted { row: 6 })) {
            handle.controls.stop();
        }
        handle.recorder.apply(stamp);
    }
    assert_eq!(handle.recorder.lanes[0].state, LaneState::Cancelled);
    assert_eq!(handle.recorder.lanes[0].pass().unwrap().done, 6);

    let well = Shouter::default().open();
    let restored = Restored::open(&folder).unwrap();
    assert_eq!(restored.recorder.lanes[0].pass().unwrap().done, 6);
    let recorder = finish(resume(restored, Arc::new(Opener(well.clone())), Box::new(|_| ()))).await;
    assert_eq!(texts(&recorder, 0), shouted(10));
    assert_eq!(texts(&recorder, 1), shouted(10));
    let calls = well.calls.lock().unwrap();
    assert_eq!(calls[..4], [vec![6], vec![7], vec![8], vec![9]]);
    assert_eq!(calls[4].len(), 10);
}

#[tokio::test]
async fn a_killed_process_loses_no_finished_row_and_a_torn_line_is_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let provider = Shouter::default().open();
    let handle = start(job(&["sequential"], 5), Arc::new(Opener(provider)), home.path()).unwrap();
    let path = handle.folder.join(crate::bench::journal::FILE);
    let folder = handle.folder.clone();
    finish(handle).await;
    // as a kill in the middle of the fourth row's line would leave it
    let whole = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    let torn = format!("{}\n{}", lines[..5].join("\n"), &lines[5][..20]);
    std::fs::write(&path, torn).unwrap();

    let well = Shouter::default().open();
    let restored = Restored::open(&folder).unwrap();
    assert_eq!(restored.recorder.lanes[0].pass().unwrap().done, 3);
    let recorder = finish(resume(restored, Arc::new(Opener(well.clone())), Box::new(|_| ()))).await;
    assert_eq!(texts(&recorder, 0), shouted(5));
    assert_eq!(*well.calls.lock().unwrap(), [vec![3], vec![4]]);

    let nothing_left = Shouter::default().open();
    let restored = Restored::open(&folder).unwrap();
    let recorder =
        finish(resume(restored, Arc::new(Opener(nothing_left.clone())), Box::new(|_| ()))).await;
    assert_eq!(recorder.lanes[0].pass().unwrap().done, 5);
    assert!(nothing_left.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_damaged_journal_names_file_and_line() {
    let home = tempfile::tempdir().unwrap();
    let provider = Shouter::default().open();
    let handle = start(job(&["sequential"], 2), Arc::new(Opener(provider)), home.path()).unwrap();
    let folder = handle.folder.clone();
    finish(handle).await;
    let path = folder.join(crate::bench::journal::FILE);
    let whole = std::fs::read_to_string(&path).unwrap();
    for (damage, line) in [
        (whole.replacen("\"row\":1,", "\"row\":9,", 1), "line 4"),
        (whole.replacen("{\"lane_started\"", "{\"lane_exploded\"", 1), "line 2"),
        (whole.replacen("batchgen-journal/1", "batchgen-journal/9", 1), "batchgen-journal/9"),
        (whole.replacen("\"finished_s\":", "\"finished_s\":-", 1), "line 3"),
    ] {
        assert_ne!(damage, whole);
        std::fs::write(&path, damage).unwrap();
        let error = format!("{:#}", Restored::open(&folder).unwrap_err());
        assert!(error.contains("journal.jsonl") && error.contains(line), "{error}");
    }
}

#[tokio::test]
async fn the_batch_size_is_changed_live_and_the_change_is_recorded() {
    let home = tempfile::tempdir().unwrap();
    let provider = Shouter::default().open();
    let lanes = ["sequential", "batched:2"];
    let mut handle = start(job(&lanes, 20), Arc::new(Opener(provider)), home.path()).unwrap();
    let mut changed = false;
    while let Some(stamp) = handle.events.recv().await {
        if matches!(stamp.event, RunEvent::LaneStarted { lane: 0, .. }) {
            handle.controls.set_batch_size(9); // not for a lane without a batch size
        }
        if matches!(stamp.event, RunEvent::Provider(Event::Step { .. })) && !changed {
            changed = true;
            handle.controls.set_batch_size(5);
        }
        handle.recorder.apply(stamp);
    }
    let sizes = |lane: usize| {
        let pass = handle.recorder.lanes[lane].pass().unwrap();
        pass.batch_sizes.iter().map(|(_, size)| *size).collect::<Vec<_>>()
    };
    assert_eq!(sizes(0), Vec::<usize>::new());
    assert_eq!(sizes(1), [2, 5]);
}

#[tokio::test]
async fn repeats_run_every_lane_again_and_each_pass_is_kept() {
    let provider = Shouter::default().open();
    let mut job = job(&["sequential", "batched:2"], 3);
    job.plan.repeats = 3;
    job.plan.warmup = 1;
    let recorder = run(job, provider.clone()).await;
    for lane in &recorder.lanes {
        assert_eq!(lane.passes.iter().map(|pass| pass.done).collect::<Vec<_>>(), [3, 3, 3]);
    }
    let warm_up_and_rows = provider.calls.lock().unwrap().len();
    assert_eq!(warm_up_and_rows, 1 + 3 * (3 + 1));
}

#[tokio::test]
async fn a_model_that_does_not_open_is_tried_once_and_a_server_that_is_down_by_every_lane() {
    for (kind, tried, second) in [
        (FailureKind::Model, 1, "not run: loud failed to open for lane sequential"),
        (FailureKind::Transport, 2, "planted"),
    ] {
        let provider = Shouter { does_not_open: Some(kind), ..Shouter::default() }.open();
        let mut job = job(&["sequential", "batched:2"], 3);
        job.plan.provider.model = "loud".into();
        let recorder = run(job, provider.clone()).await;
        assert_eq!(provider.opened.load(Ordering::SeqCst), tried);
        let failures: Vec<_> = recorder.lanes.iter().map(|lane| lane.state.clone()).collect();
        let failed = |message: &str| LaneState::Failed(Failure::new(kind, message));
        assert_eq!(failures, [failed("planted"), failed(second)]);
    }
}

#[tokio::test]
async fn memory_that_only_the_provider_can_read_is_in_the_lane_with_its_source() {
    let recorder = run(job(&["batched:2"], 3), Shouter::default().open()).await;
    let pass = recorder.lanes[0].pass().unwrap();
    assert!(pass.peak.sources.contains(&"the horn".to_owned()), "{:?}", pass.peak.sources);
    assert_eq!(pass.probe.gpus.last().map(|gpu| gpu.name.as_str()), Some("horn"));
}
