//! Waits for whatever happens first, lets the state change, and draws when something did.
//!
//! A frame is drawn at once after a key, else at most ten times a second, and never while
//! nothing changes. A run's events wait in their channel until then: a wake-up for each would
//! take time from the run, on the screen's side and on the sender's. The loop does not know
//! which backend draws nor where keys come from, so tests run this same loop.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossterm::event::Event;
use futures_util::{FutureExt, Stream, StreamExt};
use ratatui::Terminal;
use ratatui::backend::Backend;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::app::{App, Effect, Exit, Reply};
use super::services::Services;
use super::session::{RunStart, Session};
use super::terminal::Host;
use super::{history, update, views};
use crate::bench::event::Stamp;
use crate::bench::journal::Recorded;
use crate::bench::run::{Controls, RunHandle};
use crate::bench::{history as bench_history, replay};
use crate::config::Plan;
use crate::prompts::PromptList;
use crate::provider::{Failure, FailureKind, ProviderSpec};
use crate::report::RunFacts;

/// What happens by itself is drawn ten times a second at most: where every processor computes, a
/// frame is taken from the run. Keys are answered at once.
const FRAME: Duration = Duration::from_millis(100);

/// How often a clock on the screen moves.
const TICK: Duration = Duration::from_millis(125);

/// After how long a server that was not ready is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// The most events taken from a run before the screen gets its turn.
const MOST_EVENTS: usize = 4096;

/// When the next frame may be drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameLimiter {
    last: Option<Instant>,
}

impl FrameLimiter {
    /// The earliest moment of the next frame.
    pub fn due(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| (last + FRAME).max(now))
    }

    /// A frame was drawn.
    pub fn drawn(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

/// A run that was started, seen from the loop.
#[derive(Debug)]
pub struct Running {
    /// What happens in it; absent once the channel has closed.
    pub events: Option<UnboundedReceiver<Stamp>>,
    /// How to steer it.
    pub controls: Controls,
}

impl Running {
    /// Stops the run and waits until it has put away what was finished, but not for ever.
    pub async fn end(mut self, patience: Duration) {
        let Some(events) = &mut self.events else { return };
        self.controls.stop();
        let closed = async { while events.recv().await.is_some() {} };
        let _ = tokio::time::timeout(patience, closed).await;
    }
}

/// Where the loop's inputs come from, besides the run.
pub struct Inputs<I, S> {
    /// What the terminal sends.
    pub terminal: I,
    /// Numbers of signals that end the program.
    pub signals: S,
    /// Panics of other threads, in words.
    pub panics: UnboundedReceiver<String>,
}

/// What one wait ended with.
enum Woken {
    Terminal(Option<io::Result<Event>>),
    Signal(i32),
    Panic(String),
    Reply(Box<Reply>),
    Run(usize),
    Time,
}

/// The loop and what it holds besides the state.
struct Loop<'a, B: Backend> {
    terminal: &'a mut Terminal<B>,
    host: &'a mut dyn Host,
    services: Arc<dyn Services>,
    replies: UnboundedSender<Reply>,
    running: Option<Running>,
    limiter: FrameLimiter,
    /// Something changed since the last frame.
    changed: bool,
    /// More events of the run may be waiting than were taken at once.
    behind: bool,
}

/// Runs until the program is to end; gives back a run that may still be under way.
///
/// # Errors
/// When the terminal cannot be drawn on or read from.
pub async fn run<B, I, S>(
    terminal: &mut Terminal<B>,
    mut inputs: Inputs<I, S>,
    services: Arc<dyn Services>,
    app: &mut App,
    host: &mut dyn Host,
) -> anyhow::Result<(Exit, Option<Running>)>
where
    B: Backend,
    B::Error: Send + Sync + 'static,
    I: Stream<Item = io::Result<Event>> + Unpin,
    S: Stream<Item = i32> + Unpin,
{
    let (replies, mut incoming) = mpsc::unbounded_channel();
    let mut this = Loop {
        terminal,
        host,
        services,
        replies,
        running: None,
        limiter: FrameLimiter::default(),
        changed: true,
        behind: false,
    };
    let mut events = Vec::new();
    for effect in app.first_effects() {
        this.perform(effect, app)?;
    }
    this.draw(app)?;
    loop {
        let woken = this.wait(&mut inputs, &mut incoming, &mut events, app).await;
        this.take(woken, &mut events, app)?;
        if let Some(exit) = app.exit {
            return Ok((exit, this.running));
        }
        if this.changed && this.limiter.due(now()) <= now() {
            this.catch_up(&mut events, app)?;
            this.draw(app)?;
        }
    }
}

/// The clock of the loop; tests may pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<B> Loop<'_, B>
where
    B: Backend,
    B::Error: Send + Sync + 'static,
{
    /// Waits until something happens or is due.
    async fn wait<I, S>(
        &mut self,
        inputs: &mut Inputs<I, S>,
        replies: &mut UnboundedReceiver<Reply>,
        events: &mut Vec<Stamp>,
        app: &App,
    ) -> Woken
    where
        I: Stream<Item = io::Result<Event>> + Unpin,
        S: Stream<Item = i32> + Unpin,
    {
        let deadline = self.deadline(app);
        // with a frame to come anyway, what happens in the run waits for it
        let listens = self.behind || !self.changed;
        let run = self.running.as_mut().and_then(|running| running.events.as_mut());
        let run = run.filter(|_| listens);
        let run = async {
            match run {
                Some(run) => run.recv_many(events, MOST_EVENTS).await,
                None => std::future::pending().await,
            }
        };
        let time = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(number) = inputs.signals.next() => Woken::Signal(number),
            event = inputs.terminal.next() => Woken::Terminal(event),
            Some(text) = inputs.panics.recv() => Woken::Panic(text),
            Some(reply) = replies.recv() => Woken::Reply(Box::new(reply)),
            () = time => Woken::Time,
            count = run => Woken::Run(count),
        }
    }

    /// When the loop must wake up though nothing happens.
    fn deadline(&self, app: &App) -> Option<Instant> {
        let now = now();
        if self.changed {
            return Some(self.limiter.due(now));
        }
        app.is_moving().then(|| self.limiter.last.map_or(now, |last| last + TICK))
    }

    fn take(&mut self, woken: Woken, events: &mut Vec<Stamp>, app: &mut App) -> anyhow::Result<()> {
        self.changed = true;
        let effects = match woken {
            Woken::Terminal(Some(event)) => {
                let event = event.context("the terminal cannot be read")?;
                // what the user does is answered at once
                self.limiter = FrameLimiter::default();
                // and is done to the run as it is, not as it was drawn last
                self.catch_up(events, app)?;
                update::terminal_event(app, event, now())
            }
            Woken::Terminal(None) => {
                app.exit = Some(Exit::Quit);
                Vec::new()
            }
            Woken::Signal(number) => {
                update::signal(app, number);
                Vec::new()
            }
            Woken::Panic(text) => {
                update::panicked(app, text);
                Vec::new()
            }
            Woken::Reply(reply) => update::reply(app, *reply, now()),
            Woken::Run(0) => {
                self.behind = false;
                if let Some(running) = &mut self.running {
                    running.events = None;
                }
                update::run_closed(app);
                Vec::new()
            }
            Woken::Run(count) => {
                self.behind = count == MOST_EVENTS;
                for stamp in events.drain(..) {
                    update::run_event(app, stamp);
                }
                Vec::new()
            }
            Woken::Time => Vec::new(),
        };
        for effect in effects {
            self.perform(effect, app)?;
        }
        Ok(())
    }

    /// Takes what has happened in the run since it was last looked at.
    fn catch_up(&mut self, events: &mut Vec<Stamp>, app: &mut App) -> anyhow::Result<()> {
        let run = self.running.as_mut().and_then(|running| running.events.as_mut());
        let count = run.and_then(|run| run.recv_many(events, MOST_EVENTS).now_or_never());
        count.map_or(Ok(()), |count| self.take(Woken::Run(count), events, app))
    }

    fn draw(&mut self, app: &mut App) -> anyhow::Result<()> {
        let now = now();
        // the window may have changed before its event is here
        app.size = self.terminal.size()?;
        update::refresh(app, now);
        self.host.begin_frame().context("the terminal cannot be written to")?;
        self.terminal
            .draw(|frame| views::render(frame, app))
            .context("the terminal cannot be drawn on")?;
        self.host.end_frame().context("the terminal cannot be written to")?;
        self.limiter.drawn(now);
        self.changed = false;
        Ok(())
    }

    fn perform(&mut self, effect: Effect, app: &mut App) -> anyhow::Result<()> {
        match effect {
            Effect::LoadPrompts(query) => self.ask(move |services| {
                let result = services.prompts(&query).map(Arc::new).map_err(chain);
                Reply::Prompts(query, result)
            }),
            Effect::LookAtModel(spec) => self.ask(move |services| look_at(services, spec)),
            Effect::LookAgain(spec) => self.ask(move |services| {
                std::thread::sleep(LOOK_AGAIN);
                look_at(services, spec)
            }),
            Effect::ListModels(spec) => self.ask(move |services| {
                let result = services.models(&spec).map_err(chain);
                Reply::Models(spec, result)
            }),
            Effect::CountTokens(query) => self.ask(move |services| {
                let counts = services.tokens(&query);
                Reply::Tokens(query, counts)
            }),
            Effect::ReadPreset(name) => self.ask(move |services| {
                let result = services.preset(&name).map(Box::new).map_err(chain);
                Reply::Preset(name, result)
            }),
            Effect::ReadFolder(folder) => self.ask(move |_| {
                let result = super::picker::read_folder(&folder);
                Reply::Folder(folder, result)
            }),
            Effect::Export(request) => self.ask(move |services| services.export(&request)),
            Effect::Start(plan, prompts) => {
                let reply = self.start(*plan, prompts);
                let effects = update::reply(app, reply, now());
                for effect in effects {
                    self.perform(effect, app)?;
                }
            }
            Effect::Stop => {
                if let Some(running) = &self.running {
                    running.controls.stop();
                }
            }
            Effect::SetBatchSize(size) => {
                if let Some(running) = &self.running {
                    running.controls.set_batch_size(size);
                }
            }
            Effect::KeepPaste(text) => {
                self.ask(move |services| Reply::Pasted(services.keep_paste(&text).map_err(chain)))
            }
            Effect::KeepTheme(name) => self
                .ask(move |services| Reply::ThemeKept(services.keep_theme(&name).map_err(chain))),
            Effect::Copy(text) => {
                self.host.copy(&text).context("the terminal cannot be written to")?;
            }
            Effect::ListRuns => self.ask(|services| {
                Reply::Runs(bench_history::folders(&services.runs()).map_err(chain))
            }),
            Effect::LookAtRun(folder) => self.ask(move |_| {
                let facts = bench_history::read(&folder).map(history::facts).map_err(chain);
                Reply::PastRun(folder, Box::new(facts))
            }),
            Effect::ReadRun(folder, purpose) => self.ask(move |_| {
                Reply::Read(purpose, Box::new(bench_history::read(&folder).map_err(chain)))
            }),
            Effect::CompareRuns(folders) => {
                self.ask(move |_| Reply::Compared(history::compare(&folders).map_err(chain)));
            }
            Effect::DeleteRun(folder) => self.ask(move |services| {
                let deleted = bench_history::delete(&services.runs(), &folder).map_err(chain);
                Reply::Deleted(folder, deleted)
            }),
            Effect::Play(recorded) => {
                let session = self.play(*recorded);
                update::reply(app, Reply::Started(Box::new(session)), now());
            }
            Effect::Suspend => self.suspend(app)?,
        }
        Ok(())
    }

    /// Asks where waiting harms nobody; the answer comes as a reply.
    fn ask(&self, question: impl FnOnce(&dyn Services) -> Reply + Send + 'static) {
        let services = self.services.clone();
        let replies = self.replies.clone();
        tokio::task::spawn_blocking(move || {
            // nobody waits for the answer any more when the loop has ended
            let _ = replies.send(question(&*services));
        });
    }

    fn start(&mut self, plan: Plan, prompts: Arc<PromptList>) -> Reply {
        match self.services.start(plan.clone(), prompts.clone()) {
            Ok(handle) => Reply::Started(Box::new(self.follow(handle, plan, prompts))),
            Err(error) => Reply::NotStarted(chain(error)),
        }
    }

    fn play(&mut self, recorded: Recorded) -> Session {
        let (plan, prompts) = (recorded.job.plan.clone(), recorded.job.prompts.clone());
        let past = RunFacts::of_past(&recorded);
        let handle = replay::start(recorded);
        let mut session = self.follow(handle, plan, prompts);
        session.replay = true;
        session.past = Some(past);
        session
    }

    /// Follows a run from here on.
    fn follow(&mut self, handle: RunHandle, plan: Plan, prompts: Arc<PromptList>) -> Session {
        let RunHandle { id, started_at, folder, recorder, events, controls, turns: _ } = handle;
        let start = RunStart { id, folder, started_at, recorder };
        self.running = Some(Running { events: Some(events), controls });
        Session::new(start, plan, prompts)
    }

    fn suspend(&mut self, app: &mut App) -> anyhow::Result<()> {
        self.host.suspend().context("the terminal cannot be given back and taken again")?;
        // the window may be another one now, and what was on it is gone; `clear` would ask the
        // terminal for its cursor, and the answer would be taken for keys
        app.size = self.terminal.size()?;
        // an empty screen is not to be seen: the frame that begins here ends when all is drawn
        self.host.begin_frame().context("the terminal cannot be written to")?;
        self.terminal.resize(app.size.into())?;
        Ok(())
    }
}

/// What is known about a model, or whether asking again may help.
fn look_at(services: &dyn Services, spec: ProviderSpec) -> Reply {
    let may_heal = |error: &anyhow::Error| {
        let failure = error.downcast_ref::<Failure>().map(|failure| failure.kind);
        matches!(failure, Some(FailureKind::Overloaded | FailureKind::Transport))
    };
    match services.model(&spec) {
        Err(error) if may_heal(&error) => Reply::NotReady(spec, chain(error)),
        result => Reply::Model(spec, result.map_err(chain)),
    }
}

/// An error with its causes, on one line.
fn chain(error: anyhow::Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_nobody_asked_for_are_at_least_100_ms_apart() {
        let mut limiter = FrameLimiter::default();
        let start = Instant::now();
        assert_eq!(limiter.due(start), start);
        limiter.drawn(start);
        assert_eq!(limiter.due(start + Duration::from_millis(1)), start + FRAME);
        assert_eq!(limiter.due(start + FRAME * 2), start + FRAME * 2);
    }
}
