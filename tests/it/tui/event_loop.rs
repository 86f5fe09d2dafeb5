//! The real event loop, over a backend that counts frames and keys from a channel.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use batchgen::tui::app::{App, Exit};
use batchgen::tui::event_loop::{self, Inputs, Running};
use batchgen::tui::terminal::Host;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use futures_util::stream;
use ratatui::Terminal;
use ratatui::backend::{Backend, ClearType, TestBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::fixture;
use super::scripted::{Script, ScriptedServices};

/// A terminal that nobody suspends and without a clipboard.
struct NoHost;

impl Host for NoHost {
    fn suspend(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn copy(&mut self, _text: &str) -> io::Result<()> {
        Ok(())
    }
}

/// What the test sees of the loop while it runs.
#[derive(Clone, Default)]
struct Watch {
    frames: Arc<AtomicUsize>,
    /// How often the loop looked for signals, which it does whenever it wakes up.
    looks: Arc<AtomicUsize>,
    screen: Arc<Mutex<String>>,
}

struct Watched {
    inner: TestBackend,
    watch: Watch,
}

impl Backend for Watched {
    type Error = Infallible;

    fn draw<'a, I>(&mut self, content: I) -> Result<(), Infallible>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        self.inner.draw(content)
    }

    fn hide_cursor(&mut self) -> Result<(), Infallible> {
        self.inner.hide_cursor()
    }

    fn show_cursor(&mut self) -> Result<(), Infallible> {
        self.inner.show_cursor()
    }

    fn get_cursor_position(&mut self) -> Result<Position, Infallible> {
        self.inner.get_cursor_position()
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> Result<(), Infallible> {
        self.inner.set_cursor_position(position)
    }

    fn clear(&mut self) -> Result<(), Infallible> {
        self.inner.clear()
    }

    fn clear_region(&mut self, clear_type: ClearType) -> Result<(), Infallible> {
        self.inner.clear_region(clear_type)
    }

    fn size(&self) -> Result<Size, Infallible> {
        self.inner.size()
    }

    fn window_size(&mut self) -> Result<WindowSize, Infallible> {
        self.inner.window_size()
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.watch.frames.fetch_add(1, Ordering::SeqCst);
        *self.watch.screen.lock().unwrap() = self.inner.to_string();
        self.inner.flush()
    }
}

/// The user of the loop.
struct User {
    keys: UnboundedSender<Event>,
    signals: UnboundedSender<i32>,
    watch: Watch,
}

impl User {
    fn press(&self, code: KeyCode) {
        self.keys.send(Event::Key(KeyEvent::new(code, KeyModifiers::NONE))).unwrap();
    }

    fn frames(&self) -> usize {
        self.watch.frames.load(Ordering::SeqCst)
    }

    fn looks(&self) -> usize {
        self.watch.looks.load(Ordering::SeqCst)
    }

    async fn sees(&self, text: &str) {
        let start = Instant::now();
        while !self.watch.screen.lock().unwrap().contains(text) {
            let screen = self.watch.screen.lock().unwrap().clone();
            assert!(start.elapsed() < Duration::from_secs(20), "no {text:?} in\n{screen}");
            // seldom: the loop is polled with every look of the user
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

type Ended = (Exit, Option<Running>, App);

/// Runs the loop over a script while `story` uses it.
async fn play(script: Script, prompts: usize, story: impl AsyncFnOnce(&User)) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let services = ScriptedServices { script, runs: folder.path().join("runs"), prompts };
    let (keys, mut typed) = unbounded_channel();
    let (signals, mut signalled) = unbounded_channel();
    let (_panics, told) = unbounded_channel();
    let user = User { keys, signals, watch: Watch::default() };
    let backend = Watched { inner: TestBackend::new(120, 40), watch: user.watch.clone() };
    let mut terminal = Terminal::new(backend).unwrap();
    let size = Size { width: 120, height: 40 };
    let looks = user.watch.looks.clone();
    let mut app = App::new(fixture::opening(), size, Instant::now());
    let inputs = Inputs {
        terminal: stream::poll_fn(move |cx| {
            typed.poll_recv(cx).map(|event| event.map(Ok::<_, io::Error>))
        }),
        signals: stream::poll_fn(move |cx| {
            looks.fetch_add(1, Ordering::SeqCst);
            signalled.poll_recv(cx)
        }),
        panics: told,
    };
    let services = Arc::new(services);
    let mut host = NoHost;
    let (ended, ()) = tokio::join!(
        event_loop::run(&mut terminal, inputs, services, &mut app, &mut host),
        story(&user)
    );
    let (exit, running) = ended.unwrap();
    (exit, running, app)
}

fn slow() -> Script {
    Script { words: 5, gap: Duration::from_millis(10), panics: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_setup_to_the_end_of_a_run_and_out() {
    let (exit, running, app) = play(slow(), 4, async |user| {
        user.sees("4 prompts from quickstart").await;
        user.press(KeyCode::Enter);
        user.sees("✓ done after").await;
        user.sees("order ✓ 4/4").await;
        user.press(KeyCode::Char('q'));
    })
    .await;
    assert_eq!(exit, Exit::Quit);
    assert!(running.unwrap().events.is_none());
    let session = app.session.unwrap();
    assert!(session.recorder.finished);
    assert!(session.figures.iter().all(|figures| figures.ended == 4), "{:?}", session.figures);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_keeps_what_was_finished() {
    let (_, _, app) = play(slow(), 200, async |user| {
        user.sees("200 prompts from quickstart").await;
        user.press(KeyCode::Enter);
        user.sees("order ✓").await;
        user.press(KeyCode::Char(' '));
        user.sees("! stopped after").await;
        user.press(KeyCode::Char('q'));
    })
    .await;
    let session = app.session.unwrap();
    let done = session.recorder.lanes[0].pass().unwrap().done;
    assert!((1..200).contains(&done), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_drawn_while_nothing_happens() {
    play(slow(), 4, async |user| {
        user.sees("4 prompts from quickstart").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = user.frames();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(user.frames(), before);
        user.press(KeyCode::Char('q'));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_events_is_drawn_at_most_ten_times_a_second() {
    let flood = Script { words: 400, gap: Duration::ZERO, panics: false };
    play(flood, 300, async |user| {
        user.sees("300 prompts from quickstart").await;
        let (before, start) = (user.frames(), Instant::now());
        user.press(KeyCode::Enter);
        user.sees("✓ done after").await;
        let frames = user.frames() - before;
        let most = start.elapsed().as_secs_f64() * 11.0 + 4.0;
        assert!((frames as f64) < most, "{frames} frames in {:?}", start.elapsed());
        user.press(KeyCode::Char('q'));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_wakes_the_screen_for_frames_and_not_for_events() {
    let steady = Script { words: 100, gap: Duration::from_millis(3), panics: false };
    let (_, _, app) = play(steady, 4, async |user| {
        user.sees("4 prompts from quickstart").await;
        let (frames, looks) = (user.frames(), user.looks());
        user.press(KeyCode::Enter);
        user.sees("✓ done after").await;
        let (frames, looks) = (user.frames() - frames, user.looks() - looks);
        assert!(looks <= frames * 8 + 10, "{looks} wake-ups for {frames} frames");
        user.press(KeyCode::Char('q'));
    })
    .await;
    // and no row was left out
    let session = app.session.unwrap();
    assert!(session.figures.iter().all(|figures| figures.ended == 4), "{:?}", session.figures);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_loop_though_a_run_is_under_way() {
    let (exit, running, _) = play(slow(), 200, async |user| {
        user.sees("200 prompts from quickstart").await;
        user.press(KeyCode::Enter);
        user.sees("order ✓").await;
        user.signals.send(15).unwrap();
    })
    .await;
    assert_eq!(exit, Exit::Signal(15));
    let start = Instant::now();
    running.unwrap().end(Duration::from_secs(10)).await;
    assert!(start.elapsed() < Duration::from_secs(5));
}
