//! Two runs take turns, pass by pass: what slows the machine for a while slows a pass of each, and
//! their passes can be compared pair by pair.
//!
//! Both are given the same folder. Each holds the lock of a place there for as long as it runs and
//! counts its passes beside it; whoever had fewer is next, and of equals the first at even counts
//! and the second at odd ones (A B, B A, A B, …), so that a machine that becomes slower or faster
//! favours neither. A run that ended, or was killed, has let go of its locks, and the other goes on
//! alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

/// The places of the two runs.
const PLACES: [&str; 2] = ["first", "second"];

/// How often is looked whether it is this run's turn.
const PAUSE: Duration = Duration::from_millis(20);

/// For how long a place is sought: the other run looks at it now and then, for a moment.
const SEEK: Duration = Duration::from_secs(1);

/// For how long the other run is waited for, and for its count while it is there.
const WAIT: Duration = Duration::from_secs(600);

/// This run's part. When it is dropped, its turn is over and its place free.
#[derive(Debug)]
pub struct Turns {
    folder: PathBuf,
    place: usize,
    /// Locked during this run's turns; let go of before its place.
    turn: File,
    /// Of both places; this run's is locked.
    places: [File; 2],
    has_turn: AtomicBool,
    /// The other run has been seen.
    met: AtomicBool,
    /// How many this run had.
    passes: AtomicU64,
    wait: Duration,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Other,
    /// The other run has not come, or its count cannot be read.
    Unknown,
}

impl Turns {
    /// Takes a place in the folder, which is created.
    ///
    /// # Errors
    /// When two runs have theirs, or files cannot be written or locked there.
    pub fn join(folder: &Path) -> anyhow::Result<Self> {
        let told = || cannot(folder);
        fs::create_dir_all(folder).with_context(told)?;
        let open = |name| open(folder, name).with_context(told);
        let places = [open(PLACES[0])?, open(PLACES[1])?];
        let turn = open("turn")?;
        let Some(place) = free(&places).with_context(told)? else {
            bail!(
                "{}: two other runs take turns there: wait, or give another folder",
                folder.display()
            )
        };
        let turns = Self {
            folder: folder.to_owned(),
            place,
            turn,
            places,
            has_turn: AtomicBool::new(false),
            met: AtomicBool::new(false),
            passes: AtomicU64::new(0),
            wait: WAIT,
        };
        turns.tell().with_context(told)?;
        Ok(turns)
    }

    /// Ends this run's turn, if it has it, and waits for the next one; until the other run has
    /// come, for that. `waits` is told once, in words, that it has not. Gives whether it is this
    /// run's turn: it is not where the run was stopped meanwhile.
    ///
    /// # Errors
    /// When the other run does not come, or the folder cannot be used any more.
    pub(super) async fn next(
        &self,
        cancel: &CancellationToken,
        mut waits: impl FnMut(String),
    ) -> anyhow::Result<bool> {
        self.give_up().with_context(|| cannot(&self.folder))?;
        let mut told = false;
        let mut unknown_since = Instant::now();
        loop {
            match self.try_take().with_context(|| cannot(&self.folder))? {
                Whose::Own => return Ok(true),
                Whose::Other => unknown_since = Instant::now(),
                Whose::Unknown => {
                    if unknown_since.elapsed() >= self.wait {
                        bail!(self.alone());
                    }
                    if !self.met.load(Relaxed) && !std::mem::replace(&mut told, true) {
                        waits(format!("waiting for the other run in {}", self.folder.display()));
                    }
                }
            }
            if cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return Ok(false);
            }
        }
    }

    /// Lets go of the turn and of the place, whoever still holds this.
    pub(super) fn leave(&self) {
        self.has_turn.store(false, Relaxed);
        // whatever these say: the locks go with the files at the latest
        let _ = self.turn.unlock();
        let _ = self.places[self.place].unlock();
    }

    /// Why there is nobody to take turns with.
    fn alone(&self) -> String {
        let folder = self.folder.display();
        if self.met.load(Relaxed) {
            format!("{folder}: how many passes the other run had cannot be read there")
        } else {
            format!("{folder}: no other run has come to take turns: give one the same folder")
        }
    }

    fn give_up(&self) -> io::Result<()> {
        if !self.has_turn.swap(false, Relaxed) {
            return Ok(());
        }
        self.passes.fetch_add(1, Relaxed);
        let told = self.tell();
        self.turn.unlock().and(told)
    }

    /// Takes the turn if it is this run's.
    fn try_take(&self) -> io::Result<Whose> {
        if !locked(self.turn.try_lock())? {
            // nobody else would hold it
            self.met.store(true, Relaxed);
            return Ok(Whose::Other);
        }
        let whose = self.whose();
        match whose {
            Ok(Whose::Own) => self.has_turn.store(true, Relaxed),
            Ok(Whose::Other | Whose::Unknown) | Err(_) => self.turn.unlock()?,
        }
        whose
    }

    /// Whose turn is next.
    fn whose(&self) -> io::Result<Whose> {
        if !self.other_is_here()? {
            // gone, or not come yet
            return Ok(if self.met.load(Relaxed) { Whose::Own } else { Whose::Unknown });
        }
        let Some(other) = self.passes_of_other() else { return Ok(Whose::Unknown) };
        let own = self.passes.load(Relaxed);
        let first = usize::from(own % 2 == 1);
        let is_own = own < other || (own == other && self.place == first);
        Ok(if is_own { Whose::Own } else { Whose::Other })
    }

    fn other_is_here(&self) -> io::Result<bool> {
        let other = &self.places[1 - self.place];
        if locked(other.try_lock_shared())? {
            other.unlock()?;
            return Ok(false);
        }
        self.met.store(true, Relaxed);
        Ok(true)
    }

    /// How many passes the other run had, where it says so.
    fn passes_of_other(&self) -> Option<u64> {
        let path = self.counted(1 - self.place);
        let small = fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= 20);
        fs::read_to_string(&path).ok().filter(|_| small)?.parse().ok()
    }

    /// Writes how many passes this run had, whole or not at all.
    fn tell(&self) -> io::Result<()> {
        let mut part = tempfile::NamedTempFile::new_in(&self.folder)?;
        part.write_all(self.passes.load(Relaxed).to_string().as_bytes())?;
        part.persist(self.counted(self.place))?;
        Ok(())
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
    let until = Instant::now() + SEEK;
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
    format!("{}: no turns can be taken there: give a folder on a local disk", folder.display())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A run's part, and that of another in the same folder.
    fn two(folder: &Path) -> (Turns, Turns) {
        (Turns::join(folder).unwrap(), Turns::join(folder).unwrap())
    }

    async fn next(turns: &Turns) -> anyhow::Result<bool> {
        turns.next(&CancellationToken::new(), |_| ()).await
    }

    /// Takes so many turns and writes down each.
    async fn passes(turns: Turns, name: char, count: usize, order: Arc<Mutex<String>>) {
        for _ in 0..count {
            assert!(next(&turns).await.unwrap());
            order.lock().unwrap().push(name);
            tokio::task::yield_now().await;
            order.lock().unwrap().push(name);
        }
    }

    #[tokio::test]
    async fn two_runs_take_turns_and_who_is_left_goes_on_alone() {
        let folder = tempfile::tempdir().unwrap();
        let order = Arc::new(Mutex::new(String::new()));
        let (a, b) = two(folder.path());
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
            assert!(waiting.await.unwrap());
        }
        let expected = format!("waiting for the other run in {}", folder.path().display());
        assert_eq!(told, [expected]);
    }

    #[tokio::test]
    async fn a_run_that_nobody_joins_ends_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let turns = Turns { wait: PAUSE, ..Turns::join(folder.path()).unwrap() };
        let error = next(&turns).await.unwrap_err().to_string();
        assert!(error.contains("no other run has come"), "{error}");
    }

    /// Two runs of which the second has met the first only in its turn.
    async fn met_in_a_turn(folder: &Path) -> (Turns, Turns) {
        let (first, second) = two(folder);
        assert!(next(&first).await.unwrap());
        assert_eq!(second.try_take().unwrap(), Whose::Other);
        (first, second)
    }

    #[tokio::test]
    async fn whoever_meets_a_run_only_in_its_turn_goes_on_when_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = met_in_a_turn(folder.path()).await;
        drop(first);
        assert_eq!(second.try_take().unwrap(), Whose::Own);
    }

    #[tokio::test]
    async fn whoever_leaves_is_waited_for_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = met_in_a_turn(folder.path()).await;
        first.leave();
        assert_eq!(second.try_take().unwrap(), Whose::Own);
        assert_eq!(Turns::join(folder.path()).unwrap().place, 0);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let turns = Turns::join(folder.path()).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(!turns.next(&cancel, |_| ()).await.unwrap());
    }

    #[tokio::test]
    async fn a_folder_that_goes_away_ends_both_runs_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = two(folder.path());
        let second = Turns { wait: PAUSE, ..second };
        assert!(next(&first).await.unwrap());
        drop(folder);
        let error = format!("{:#}", next(&first).await.unwrap_err());
        assert!(error.contains("no turns can be taken there"), "{error}");
        let error = format!("{:#}", next(&second).await.unwrap_err());
        assert!(error.contains("cannot be read there"), "{error}");
    }

    #[test]
    fn there_are_two_places_and_one_that_was_left_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _second) = two(folder.path());
        let refused = Turns::join(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("two other runs take turns there"), "{refused}");
        drop(first);
        assert_eq!(Turns::join(folder.path()).unwrap().place, 0);
    }

    #[test]
    fn counts_of_earlier_runs_and_damaged_ones_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("first.passes"), "7").unwrap();
        fs::write(folder.path().join("second.passes"), "1".repeat(1000)).unwrap();
        let first = Turns::join(folder.path()).unwrap();
        assert_eq!(first.passes_of_other(), None);
        let second = Turns::join(folder.path()).unwrap();
        assert_eq!((first.passes_of_other(), second.passes_of_other()), (Some(0), Some(0)));
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = Turns::join(file.path()).unwrap_err();
        assert!(refused.to_string().contains("give a folder on a local disk"), "{refused:#}");
    }
}
