//! A terminal whose changes are stamped when they arrive.

use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

const COLUMNS: u16 = 200;
const ROWS: u16 = 60;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at a run that is measured.
const LEISURE: Duration = Duration::from_millis(500);

/// What has arrived from the program.
struct Arrived {
    parser: vt100::Parser,
    bytes: usize,
    at: Instant,
}

/// A program in a terminal of 200×60.
pub struct Screen {
    _master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    arrived: Arc<(Mutex<Arrived>, Condvar)>,
}

impl Screen {
    pub fn open(command: CommandBuilder) -> Self {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let (rows, columns) = (NonZero::new(ROWS).unwrap(), NonZero::new(COLUMNS).unwrap());
        let parser = vt100::Parser::new(rows, columns, 0);
        let arrived = Arrived { parser, bytes: 0, at: Instant::now() };
        let arrived = Arc::new((Mutex::new(arrived), Condvar::new()));
        let mut output = pair.master.try_clone_reader().unwrap();
        let keyboard = pair.master.take_writer().unwrap();
        let child = pair.slave.spawn_command(command).unwrap();
        let shared = arrived.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let at = Instant::now();
                let mut arrived = shared.0.lock().unwrap();
                arrived.parser.process(&bytes[..count]);
                arrived.bytes += count;
                arrived.at = at;
                shared.1.notify_all();
            }
        });
        Self { _master: pair.master, child, keyboard, arrived }
    }

    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Bytes that the program has drawn so far.
    pub fn bytes(&self) -> usize {
        self.arrived.0.lock().unwrap().bytes
    }

    pub fn text(&self) -> String {
        self.arrived.0.lock().unwrap().parser.screen().contents()
    }

    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits until the screen is as wanted; when the bytes that made it so arrived.
    pub fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> Instant {
        let mut arrived = self.arrived.0.lock().unwrap();
        loop {
            let text = arrived.parser.screen().contents();
            if holds(&text) {
                return arrived.at;
            }
            let waited = self.arrived.1.wait_timeout(arrived, PATIENCE).unwrap();
            assert!(!waited.1.timed_out(), "no {what} after {PATIENCE:?}:\n{text}");
            arrived = waited.0;
        }
    }

    /// As [`Screen::until`], but looks only now and then: looking takes time from the cores that a
    /// run is measured on.
    pub fn until_at_leisure(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !holds(&self.text()) {
            assert!(start.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}:\n{}", self.text());
            std::thread::sleep(LEISURE);
        }
    }

    /// Leaves with the program's own key and waits for its end.
    pub fn quit(mut self) {
        self.types("q");
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends a program whose run is not wanted any more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
