//! Real mlx-lm over SmolLM2 on the CPU, through the provider that a run opens.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use batchgen::prompts::{Content, Message};
use batchgen::provider::{
    BatchSize, Batching, Event, FailureKind, FinishReason, Provider, Request, Sink,
};
use batchgen::sampling::Sampling;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::model;
use super::support::{batch, greedy, open, request, requests, runtime, sequential};
use crate::servers::{mlx_python, require_or_skip};

const PROMPTS: [&str; 4] = [
    "What is the capital of France?",
    "Name three colours.",
    "What comes after Monday?",
    "How many legs does a spider have?",
];

/// One helper for all tests: calls take turns in it.
struct Shared {
    runtime: tokio::runtime::Runtime,
    provider: Arc<dyn Provider>,
}

/// The helper, for one test at a time: their calls would take turns.
fn shared() -> Option<(&'static Shared, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::new(());
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    let make = || {
        let (python, model) = (mlx_python()?, model::smollm2()?);
        let runtime = runtime();
        let opening = open(model.to_str().ok_or("the model's path")?, &python);
        let provider = runtime.block_on(opening).map_err(|failure| failure.message)?;
        Ok(Shared { runtime, provider })
    };
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = require_or_skip(SHARED.get_or_init(make).as_ref().map_err(Clone::clone))?;
    Some((shared, turn))
}

fn prompts(sampling: &Sampling) -> Vec<Request> {
    requests(&PROMPTS, sampling)
}

#[test]
fn a_batch_answers_as_one_row_at_a_time_does() {
    let Some((Shared { runtime, provider }, _turn)) = shared() else { return };
    assert_eq!(provider.info().batching, Batching::Native);
    assert_eq!(provider.info().context_length, Some(8192));
    assert_eq!(provider.info().details[1].1, "134515008");
    runtime.block_on(async {
        sequential(&**provider, requests(&PROMPTS[..1], &greedy(2))).await;
        let alone = sequential(&**provider, prompts(&greedy(12))).await;
        let (together, result) = batch(&**provider, prompts(&greedy(12)), 4).await;
        assert_eq!(result, Ok(()));
        let ratio = alone.time.as_secs_f64() / together.time.as_secs_f64();
        println!("a batch of 4 is {ratio:.2} times as fast as one row after the other");
        // the sums of a batch are rounded in another order, so a near tie may go the other way
        for (row, (one, other)) in alone.rows.values().zip(together.rows.values()).enumerate() {
            let same = one.ids.iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
            if one != other {
                println!(
                    "row {row} diverges after {same} tokens: {:?}, {:?}",
                    one.text, other.text
                );
            }
            assert!(same >= 3, "row {row}: {:?} and {:?}", one.text, other.text);
        }
        assert_eq!(together.texts()[0], "The capital of France is Paris.");
        assert_eq!(together.rows[&0].reason(), FinishReason::Stop);
        assert_eq!(together.rows[&1].reason(), FinishReason::Length);
        assert_eq!(together.rows[&1].ids.len(), 12);
        assert_eq!(together.steps.iter().max(), Some(&4));
        // all tokens of the prompts, with the template
        assert_eq!(together.prefill_tokens, 37 + 34 + 35 + 38);
        assert_eq!(together.weights, 269_030_016);
        assert!(together.kv.iter().max() > Some(&0), "{:?}", together.kv);
        assert!(together.peak > Some(together.weights), "{:?}", together.peak);
    });
}

#[test]
fn a_stop_string_ends_a_row_and_is_not_part_of_its_text() {
    let Some((Shared { runtime, provider }, _turn)) = shared() else { return };
    runtime.block_on(async {
        let stop = |strings: &[&str]| Sampling {
            stop: strings.iter().map(|text| (*text).to_owned()).collect(),
            ..greedy(12)
        };
        let one = |sampling: Sampling| batch(&**provider, requests(&PROMPTS[..1], &sampling), 1);
        let (outcome, _) = one(stop(&["ance is"])).await;
        assert_eq!(outcome.texts(), ["The capital of Fr"]);
        assert_eq!(outcome.rows[&0].reason(), FinishReason::Stop);
        // what could have been the beginning of a stop string comes in the end
        let (outcome, _) = one(stop(&["Paris. And"])).await;
        assert_eq!(outcome.texts(), ["The capital of France is Paris."]);
    });
}

#[test]
fn sampled_text_follows_from_the_seed() {
    let Some((Shared { runtime, provider }, _turn)) = shared() else { return };
    runtime.block_on(async {
        let texts = |seed| async move {
            let sampling = Sampling {
                temperature: 1.0,
                top_k: Some(50),
                top_p: Some(0.95),
                min_p: Some(0.01),
                seed,
                ..greedy(6)
            };
            let (outcome, result) = batch(&**provider, prompts(&sampling)[..2].to_vec(), 2).await;
            assert_eq!(result, Ok(()));
            outcome.texts().join("|")
        };
        let first = texts(7).await;
        assert_eq!(texts(7).await, first);
        assert_ne!(texts(8).await, first);
    });
}

#[test]
fn a_bad_prompt_fails_alone_and_conversations_go_through_the_template() {
    let Some((Shared { runtime, provider }, _turn)) = shared() else { return };
    runtime.block_on(async {
        let empty = Request { raw: true, ..request(0, Content::Text(String::new()), &greedy(8)) };
        let say =
            |role: &str, content: &str| Message { role: role.into(), content: content.into() };
        let conversation = vec![say("system", "Be brief."), say("user", PROMPTS[0])];
        let conversation = request(1, Content::Messages(conversation), &greedy(8));
        let (outcome, result) = batch(&**provider, vec![empty, conversation], 1).await;
        assert_eq!(result, Ok(()));
        let failure = outcome.rows[&0].end.clone().unwrap().unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidRequest);
        assert!(outcome.rows[&1].text.contains("Paris"), "{:?}", outcome.rows);
    });
}

#[test]
fn past_the_end_of_the_text_a_row_has_exactly_the_most_tokens() {
    let Some((Shared { runtime, provider }, _turn)) = shared() else { return };
    runtime.block_on(async {
        let sampling = Sampling { ignore_eos: true, ..greedy(9) };
        let (outcome, _) = batch(&**provider, requests(&PROMPTS[..1], &sampling), 1).await;
        assert_eq!(outcome.rows[&0].ids.len(), 9);
        assert_eq!(outcome.rows[&0].reason(), FinishReason::Length);
        assert!(outcome.texts()[0].starts_with("The capital of France is Paris."));
        assert!(!outcome.texts()[0].contains("<|im_end|>"));
    });
}

#[test]
fn the_batch_size_is_live_and_calls_are_not_fused() {
    let Some((Shared { runtime, provider }, _turn)) = shared() else { return };
    runtime.block_on(async {
        let (sender, mut events) = mpsc::unbounded_channel();
        let size = BatchSize::new(1);
        let sink = Sink::new(sender);
        let cancel = CancellationToken::new();
        let running = provider.batch_generate(prompts(&greedy(4)), size.clone(), sink, cancel);
        let watching = async {
            let mut steps = Vec::new();
            while let Some(stamp) = events.recv().await {
                match stamp.event {
                    Event::Finished { .. } => size.set(3),
                    Event::Step { rows, .. } => steps.push(rows),
                    _ => {}
                }
            }
            steps
        };
        let (result, steps) = tokio::join!(running, watching);
        assert_eq!(result, Ok(()));
        assert_eq!(steps.iter().copied().filter(|rows| *rows > 0).take(4).max(), Some(1));
        assert_eq!(steps.iter().max(), Some(&3), "{steps:?}");

        let call = || batch(&**provider, requests(&PROMPTS[1..2], &greedy(4)), 4);
        let ((one, _), (other, _)) = tokio::join!(call(), call());
        assert_eq!(one.rows, other.rows);
        assert_eq!((one.steps.iter().max(), other.steps.iter().max()), (Some(&1), Some(&1)));
    });
}

#[test]
fn a_cancelled_call_ends_soon_and_leaves_the_helper_usable() {
    let Some((Shared { runtime, provider }, _turn)) = shared() else { return };
    runtime.block_on(async {
        let (sender, mut events) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        let sink = Sink::new(sender);
        let size = BatchSize::new(2);
        let running = provider.batch_generate(prompts(&greedy(2000)), size, sink, cancel.clone());
        let watching = async {
            while let Some(stamp) = events.recv().await {
                if matches!(stamp.event, Event::Tokens { .. }) {
                    cancel.cancel();
                    return;
                }
            }
        };
        let (result, ()) = tokio::join!(running, watching);
        assert_eq!(result.unwrap_err().kind, FailureKind::Cancelled);
        let (outcome, result) = batch(&**provider, requests(&PROMPTS[..1], &greedy(2)), 1).await;
        assert_eq!((result, outcome.texts()), (Ok(()), vec!["The capital"]));
    });
}

#[test]
#[cfg(target_os = "linux")]
fn the_helper_dies_with_a_program_that_is_killed() {
    let Some(python) = require_or_skip(mlx_python()) else { return };
    let Some(model) = require_or_skip(model::smollm2()) else { return };
    let home = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_batchgen-tui"))
        .args(["run", "--provider", "mlx", "--max-tokens", "500", "--lanes", "sequential"])
        .arg("--model")
        .arg(&model)
        .arg("--python")
        .arg(&python)
        .env("BATCHGEN_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let helper = wait_for(|| child_of(program.id()));
    program.kill().unwrap();
    program.wait().unwrap();
    wait_for(|| (!is_running(helper)).then_some(()));
}

/// Waits until something is there.
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "waited for a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that was started by any thread of `parent`.
fn child_of(parent: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    });
    children.into_iter().next()
}

/// A process that has ended may still wait to be looked at by whoever inherited it.
fn is_running(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    state.is_some_and(|state| state != 'Z')
}
