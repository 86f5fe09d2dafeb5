//! Two runs take turns, pass by pass: what slows the machine for a while slows a pass of each, and
//! their passes can be compared pair by pair.
//!
//! Both are given the same folder. Each holds the lock of a place there for as long as it runs and
//! counts its passes beside it; whoever had fewer is next, and of equals the first at even counts
//! and the second at odd ones (A B, B A, A B, …), so that a machine that becomes slower or faster
//! favours neither. A run that ended, or was killed, has let go of its locks, and the other goes on
//! alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

/// The places of the two runs.
const PLACES: [&str; 2] = ["first", "second"];

/// How often is looked whether it is this run's turn.
const PAUSE: Duration = Duration::from_millis(20);

/// For how long a place is sought: the other run looks at it now and then, for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// This run's part. When it is dropped, its turn is over and its place free.
#[derive(Debug)]
pub struct Turns {
    folder: PathBuf,
    place: usize,
    /// Of both places; this run's is locked.
    places: [File; 2],
    /// Locked during this run's turns.
    turn: File,
    has_turn: AtomicBool,
    /// The other run has been seen.
    met: AtomicBool,
}

impl Turns {
    /// Takes a place in the folder, which is created.
    ///
    /// # Errors
    /// When two runs have theirs, or files cannot be written or locked there.
    pub fn join(folder: &Path) -> anyhow::Result<Self> {
        let told = || cannot(folder);
        fs::create_dir_all(folder).with_context(told)?;
        let place = |name| open(folder, name).with_context(told);
        let places = [place(PLACES[0])?, place(PLACES[1])?];
        let turn = open(folder, "turn").with_context(told)?;
        let Some(place) = free(&places).with_context(told)? else {
            bail!(
                "{}: two other runs take turns there: wait, or give another folder",
                shown(folder)
            )
        };
        let folder = folder.to_owned();
        let (has_turn, met) = (AtomicBool::new(false), AtomicBool::new(false));
        let turns = Self { folder, place, places, turn, has_turn, met };
        turns.count(0).with_context(|| cannot(&turns.folder))?;
        Ok(turns)
    }

    /// Ends this run's turn, if it has it, and waits for the next one; until the other run has
    /// come, for that. `waits` is told once, in words, that the other has not come.
    ///
    /// # Errors
    /// When the folder cannot be used any more. `None` when the run was stopped meanwhile.
    pub(super) async fn next(
        &self,
        cancel: &CancellationToken,
        mut waits: impl FnMut(String),
    ) -> anyhow::Result<Option<()>> {
        self.give_up().with_context(|| cannot(&self.folder))?;
        let mut told = false;
        while !self.try_take().with_context(|| cannot(&self.folder))? {
            if !self.met.load(Ordering::Relaxed) && !std::mem::replace(&mut told, true) {
                waits(format!("waiting for the other run in {}", shown(&self.folder)));
            }
            if cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    fn give_up(&self) -> io::Result<()> {
        if self.has_turn.swap(false, Ordering::Relaxed) {
            self.count(self.passes(self.place)?.unwrap_or(0).saturating_add(1))?;
            self.turn.unlock()?;
        }
        Ok(())
    }

    /// Takes the turn if it is this run's.
    fn try_take(&self) -> io::Result<bool> {
        if !locked(self.turn.try_lock())? {
            return Ok(false);
        }
        let is_next = match self.other_is_here()? {
            true => self.is_next()?,
            // gone on alone, or not come yet
            false => self.met.load(Ordering::Relaxed),
        };
        match is_next {
            true => self.has_turn.store(true, Ordering::Relaxed),
            false => self.turn.unlock()?,
        }
        Ok(is_next)
    }

    fn other_is_here(&self) -> io::Result<bool> {
        let other = &self.places[1 - self.place];
        if locked(other.try_lock_shared())? {
            other.unlock()?;
            return Ok(false);
        }
        self.met.store(true, Ordering::Relaxed);
        Ok(true)
    }

    fn is_next(&self) -> io::Result<bool> {
        let (own, other) = (self.passes(self.place)?, self.passes(1 - self.place)?);
        // the other writes its count in this moment
        let Some((own, other)) = own.zip(other) else { return Ok(false) };
        let first = usize::from(own % 2 == 1);
        Ok(own < other || (own == other && self.place == first))
    }

    /// How many passes a run had; `None` while that is being written.
    fn passes(&self, place: usize) -> io::Result<Option<u64>> {
        let path = self.counted(place);
        match fs::metadata(&path) {
            Ok(found) if found.len() > 20 => Ok(None),
            Ok(_) => Ok(fs::read_to_string(path)?.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn count(&self, passes: u64) -> io::Result<()> {
        fs::write(self.counted(self.place), passes.to_string())
    }

    /// Not the file that is locked: on some systems nobody else may read that.
    fn counted(&self, place: usize) -> PathBuf {
        self.folder.join(format!("{}.passes", PLACES[place]))
    }
}

fn open(folder: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(name))
}

/// The first place that nobody holds; it is held from then on.
fn free(places: &[File; 2]) -> io::Result<Option<usize>> {
    let until = Instant::now() + PATIENCE;
    loop {
        for (place, file) in places.iter().enumerate() {
            if locked(file.try_lock())? {
                return Ok(Some(place));
            }
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

/// Whether the lock was taken.
fn locked(result: Result<(), TryLockError>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn cannot(folder: &Path) -> String {
    format!("{}: no turns can be taken there: give a folder on a local disk", shown(folder))
}

fn shown(folder: &Path) -> String {
    crate::text::visible(&folder.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes so many turns and writes down each.
    async fn passes(turns: Turns, name: char, count: usize, order: Arc<Mutex<String>>) {
        let cancel = CancellationToken::new();
        for _ in 0..count {
            turns.next(&cancel, |_| ()).await.unwrap().unwrap();
            order.lock().unwrap().push(name);
            tokio::task::yield_now().await;
            order.lock().unwrap().push(name);
        }
    }

    #[tokio::test]
    async fn two_runs_take_turns_and_who_is_left_goes_on_alone() {
        let folder = tempfile::tempdir().unwrap();
        let order = Arc::new(Mutex::new(String::new()));
        let (a, b) = (Turns::join(folder.path()).unwrap(), Turns::join(folder.path()).unwrap());
        tokio::join!(passes(b, 'b', 4, order.clone()), passes(a, 'a', 6, order.clone()));
        assert_eq!(*order.lock().unwrap(), "aabbbbaaaabbbbaaaaaa");
    }

    #[tokio::test]
    async fn the_first_waits_for_the_second_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let first = Turns::join(folder.path()).unwrap();
        let cancel = CancellationToken::new();
        let mut told = Vec::new();
        {
            let mut waiting = std::pin::pin!(first.next(&cancel, |line| told.push(line)));
            let short = Duration::from_millis(100);
            assert!(tokio::time::timeout(short, &mut waiting).await.is_err());
            let _second = Turns::join(folder.path()).unwrap();
            waiting.await.unwrap().unwrap();
        }
        let expected = format!("waiting for the other run in {}", folder.path().display());
        assert_eq!(told, [expected]);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let turns = Turns::join(folder.path()).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert_eq!(turns.next(&cancel, |_| ()).await.unwrap(), None);
    }

    #[test]
    fn there_are_two_places_and_one_that_was_left_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = Turns::join(folder.path()).unwrap();
        let _second = Turns::join(folder.path()).unwrap();
        let refused = Turns::join(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("two other runs take turns there"), "{refused}");
        drop(first);
        assert_eq!(Turns::join(folder.path()).unwrap().place, 0);
    }

    #[test]
    fn counts_of_earlier_runs_and_damaged_ones_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("first.passes"), "7").unwrap();
        fs::write(folder.path().join("second.passes"), "x".repeat(1000)).unwrap();
        let first = Turns::join(folder.path()).unwrap();
        assert_eq!((first.passes(0).unwrap(), first.passes(1).unwrap()), (Some(0), None));
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = Turns::join(file.path()).unwrap_err();
        assert!(refused.to_string().contains("give a folder on a local disk"), "{refused:#}");
    }
}
