//! Threads that split each phase of a forward pass in a fixed way.
//!
//! A phase takes microseconds, so waiting threads spin for a while before they give way to
//! others, and sleep only when nothing comes. The calling thread takes part as number 0. When
//! it is done and another thread has not even begun, as on a busy machine, it does that
//! thread's part too: the parts are fixed, who computes them is not.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::engine::EngineError;

/// Looks before a waiting thread gives way: some tens of microseconds.
const SPINS: usize = 4_000;
/// Times it gives way before it sleeps.
const YIELDS: usize = 2_000;

type Job = dyn Fn(usize) + Sync;

/// Threads that run the same job, each with its number.
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// The number of the last job that was begun. A change is the signal to begin.
    begun: AtomicUsize,
    /// For each part but the caller's, the number of the last job in which somebody took it.
    taken: Vec<Slot>,
    /// Parts of the current job that are done, the caller's own not counted.
    done: AtomicUsize,
    /// The current job; written only while every part of the job before is done.
    job: UnsafeCell<Option<*const Job>>,
    stop: AtomicBool,
    panicked: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot(AtomicUsize);

// SAFETY: `job` is written by `Team::run` alone, before `begun` is raised with release order and
// after every part of the job before is done; it is read only by whoever has taken a part.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` is used only while `Team::run` keeps its job borrowed.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl Team {
    /// A team of `size` threads, the caller's among them.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(size: usize) -> Result<Self, EngineError> {
        let others = size.max(1) - 1;
        let shared = Arc::new(Shared {
            begun: AtomicUsize::new(0),
            taken: (0..others).map(|_| Slot::default()).collect(),
            done: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut team = Self { shared, threads: Vec::new() };
        for part in 0..others {
            let shared = Arc::clone(&team.shared);
            let thread = std::thread::Builder::new()
                .name(format!("engine-{}", part + 1))
                .spawn(move || shared.serve(part));
            let thread = thread.map_err(|error| {
                EngineError::Internal(format!("cannot start the engine's threads: {error}"))
            })?;
            team.threads.push(thread);
        }
        Ok(team)
    }

    /// Threads, the caller's among them.
    pub fn size(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs `job` once with each number below the size of the team, and returns when all are
    /// done.
    pub fn run(&mut self, job: &(dyn Fn(usize) + Sync)) {
        if self.threads.is_empty() {
            return job(0);
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; this function does not return, not even by a
        // panic of `job`, before every part is done, and nobody looks at the pointer later.
        let lasting =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const Job>(job) };
        // SAFETY: every part of the job before is done, and the next one cannot be taken
        // before `begun` changes.
        unsafe { *shared.job.get() = Some(lasting) };
        shared.done.store(0, Ordering::Relaxed);
        let number = shared.begun.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        shared.wake_sleepers();
        let own = catch_unwind(AssertUnwindSafe(|| job(0)));
        for part in 0..self.threads.len() {
            shared.try_part(part, number);
        }
        let mut wait = Wait::new();
        while shared.done.load(Ordering::Acquire) < self.threads.len() {
            wait.turn();
        }
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        let panicked = shared.panicked.swap(false, Ordering::Relaxed);
        assert!(!panicked, "a thread of the engine panicked");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.begun.fetch_add(1, Ordering::SeqCst);
        self.shared.wake_sleepers();
        for thread in self.threads.drain(..) {
            // its panics were caught and told to `run`
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, part: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait_for_job(seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            self.try_part(part, seen);
        }
    }

    /// Does a part of job `number` unless somebody has taken it.
    fn try_part(&self, part: usize, number: usize) {
        let (before, taken) = (number.wrapping_sub(1), &self.taken[part].0);
        let take = taken.compare_exchange(before, number, Ordering::AcqRel, Ordering::Relaxed);
        if take.is_err() {
            return;
        }
        // SAFETY: this part of job `number` is taken by this thread, so the job is current
        // until this thread counts the part as done; it was written before `begun` was raised.
        let job = unsafe { *self.job.get() };
        if let Some(job) = job {
            // SAFETY: `Team::run` keeps the job borrowed until every part is done.
            let job = unsafe { &*job };
            if catch_unwind(AssertUnwindSafe(|| job(part + 1))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
        }
        self.done.fetch_add(1, Ordering::Release);
    }

    /// Waits for another job than `seen`, and gives its number.
    fn wait_for_job(&self, seen: usize) -> usize {
        let mut wait = Wait::new();
        loop {
            let begun = self.begun.load(Ordering::Acquire);
            if begun != seen {
                return begun;
            }
            if !wait.turn() {
                continue;
            }
            let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            while self.begun.load(Ordering::SeqCst) == seen {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A thread that is about to sleep either sees the new job or is counted here.
    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }
}

/// Patience: spin, then give way, then say that it is time to sleep.
struct Wait {
    turns: usize,
}

impl Wait {
    fn new() -> Self {
        Self { turns: 0 }
    }

    /// Waits a little; whether that was in vain for long.
    fn turn(&mut self) -> bool {
        self.turns += 1;
        if self.turns < SPINS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
        self.turns >= SPINS + YIELDS
    }
}

/// The part of `0..count` that belongs to a thread.
pub fn share(count: usize, thread: usize, threads: usize) -> Range<usize> {
    count * thread / threads..count * (thread + 1) / threads
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn every_part_of_every_job_is_done_once() {
        for size in 1..5 {
            let mut team = Team::new(size).unwrap();
            let counts: Vec<AtomicU64> = (0..size).map(|_| AtomicU64::new(0)).collect();
            for _ in 0..1000 {
                team.run(&|thread| {
                    counts[thread].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1000));
        }
    }

    #[test]
    fn threads_that_have_gone_to_sleep_wake_up_for_a_job() {
        let mut team = Team::new(3).unwrap();
        let count = AtomicU64::new(0);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(100));
            team.run(&|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(count.load(Ordering::Relaxed), 9);
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller_after_all_are_done() {
        for culprit in 0..2 {
            let mut team = Team::new(2).unwrap();
            let run = catch_unwind(AssertUnwindSafe(|| {
                team.run(&|thread| assert!(thread != culprit, "planted"));
            }));
            assert!(run.is_err());
            team.run(&|_| {});
        }
    }

    #[test]
    fn shares_are_disjoint_and_cover_everything() {
        for count in [0, 1, 7, 60] {
            for threads in 1..6 {
                let parts = (0..threads).flat_map(|thread| share(count, thread, threads));
                assert!(parts.eq(0..count));
            }
        }
    }
}
