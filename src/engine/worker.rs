//! The engine's thread: takes calls, computes steps, survives nothing but tells why.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::call::Call;
use super::error::EngineError;
use super::runner::Runner;
use super::scheduler::{Scheduler, SchedulerOptions};

/// A thread that computes calls. Dropping it ends what is under way.
#[derive(Debug)]
pub struct Worker {
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
    panic: Arc<Mutex<Option<String>>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn<R: Runner>(runner: R, options: SchedulerOptions) -> Result<Self, EngineError> {
        let (calls, incoming) = mpsc::channel();
        let panic = Arc::new(Mutex::new(None));
        let panicked = panic.clone();
        let work = move || {
            let scheduler = Scheduler::new(runner, options);
            // the calls under way are dropped by the unwinding, which their callers notice
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| serve(scheduler, &incoming))) {
                let text = panic_text(payload.as_ref());
                *panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            }
        };
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(work)
            .map_err(|error| EngineError::Internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { calls: Some(calls), thread: Some(thread), panic })
    }

    /// Hands over a call.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn submit(&self, call: Call) -> Result<(), EngineError> {
        let sent = self.calls.as_ref().map(|calls| calls.send(call));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(self.gone()) }
    }

    /// Why the thread is gone: the message of its panic, where there was one.
    pub fn gone(&self) -> EngineError {
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        EngineError::Internal(match panic.as_deref() {
            Some(text) => format!("the engine's thread panicked: {text}"),
            None => "the engine's thread has ended".into(),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // a panic was caught and kept already
            let _ = thread.join();
        }
    }
}

/// Computes until every sender is gone.
fn serve<R: Runner>(mut scheduler: Scheduler<R>, incoming: &Receiver<Call>) {
    loop {
        if scheduler.is_idle() {
            match incoming.recv() {
                Ok(call) => scheduler.add(call),
                Err(mpsc::RecvError) => return,
            }
        }
        loop {
            match incoming.try_recv() {
                Ok(call) => scheduler.add(call),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    scheduler.abort(&EngineError::Cancelled);
                    return;
                }
            }
        }
        scheduler.step();
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
