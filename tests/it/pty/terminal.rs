//! A terminal with a person in front of it.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};

/// How long anything on the screen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What runs in the terminal.
pub struct Program(CommandBuilder);

impl Program {
    pub fn new(program: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut command = CommandBuilder::new(program);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        Self(command)
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.0.arg(arg);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn folder(mut self, folder: &Path) -> Self {
        self.0.cwd(folder);
        self
    }
}

fn columns(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

/// How much of what a program wrote is kept.
const KEPT_BYTES: usize = 1 << 20;

/// What a program writes around a frame that is to be shown at once (synchronized output).
const FRAME_BEGINS: &[u8] = b"\x1b[?2026h";
const FRAME_ENDS: &[u8] = b"\x1b[?2026l";

/// How many of the last bytes belong to a frame that is not whole yet, or may.
fn unfinished(bytes: &[u8]) -> usize {
    let after_last = |mark: &[u8]| bytes.windows(mark.len()).rposition(|window| window == mark);
    let (begun, ended) = (after_last(FRAME_BEGINS), after_last(FRAME_ENDS));
    if begun > ended {
        return begun.map_or(0, |begun| bytes.len() - begun);
    }
    (1..FRAME_BEGINS.len())
        .rev()
        .find(|length| bytes.ends_with(&FRAME_BEGINS[..*length]))
        .unwrap_or(0)
}

/// A terminal of 80×24 that shows frames as a whole.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    /// Kept open, so that the terminal outlives the program.
    _slave: Box<dyn SlavePty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    /// The first bytes that the program wrote, as they came.
    written: Arc<Mutex<Vec<u8>>>,
    /// The line discipline before anything ran, in words.
    before: String,
}

impl Terminal {
    pub fn open(program: Program) -> Self {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let before = format!("{:?}", pair.master.get_termios().unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(columns(24), columns(80), 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let (shown, kept) = (screen.clone(), written.clone());
        let mut output = pair.master.try_clone_reader().unwrap();
        std::thread::spawn(move || {
            let (mut bytes, mut arrived) = ([0; 4096], Vec::new());
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut kept = kept.lock().unwrap();
                let room = KEPT_BYTES.saturating_sub(kept.len());
                kept.extend_from_slice(&bytes[..count.min(room)]);
                drop(kept);
                arrived.extend_from_slice(&bytes[..count]);
                let whole = arrived.len() - unfinished(&arrived);
                shown.lock().unwrap().process(&arrived[..whole]);
                arrived.drain(..whole);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        let child = pair.slave.spawn_command(program.0).unwrap();
        Self { master: pair.master, _slave: pair.slave, child, keyboard, screen, written, before }
    }

    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// What the program wrote outside of whole frames.
    pub fn outside_of_frames(&self) -> String {
        let written = String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned();
        let begins = std::str::from_utf8(FRAME_BEGINS).unwrap();
        let ends = std::str::from_utf8(FRAME_ENDS).unwrap();
        let (mut outside, mut left) = (String::new(), &*written);
        while let Some((before, frame)) = left.split_once(begins) {
            outside.push_str(before);
            left = frame.split_once(ends).map_or("", |(_, after)| after);
        }
        outside + left
    }

    pub fn resize(&mut self, cols: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(columns(rows), columns(cols));
        self.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Whether any cell has a colour of its own.
    pub fn is_coloured(&self) -> bool {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let plain = vt100::Color::Default;
        (0..24).flat_map(|row| (0..80).map(move |column| (row, column))).any(|(row, column)| {
            let cell = screen.cell(row, column);
            cell.is_some_and(|cell| cell.fgcolor() != plain || cell.bgcolor() != plain)
        })
    }

    /// Waits until a text is on the screen.
    pub fn sees(&mut self, text: &str) {
        self.waits_for(text, PATIENCE);
    }

    /// Waits until a text is on the screen, for this long at most.
    pub fn waits_for(&mut self, text: &str, patience: Duration) {
        let what = format!("{text:?} on the screen");
        self.waits(&what, patience, |terminal| terminal.text().contains(text));
    }

    pub fn waits(
        &mut self,
        what: &str,
        patience: Duration,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) {
        let start = Instant::now();
        while !holds(self) {
            let late = start.elapsed() > patience;
            assert!(!late, "no {what} after {patience:?}; the screen is\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the program to end; its exit status.
    pub fn ends(&mut self) -> u32 {
        let mut status = None;
        self.waits("end of the program", PATIENCE, |terminal| {
            status = terminal.child.try_wait().unwrap();
            status.is_some()
        });
        status.map_or(0, |status| status.exit_code())
    }

    fn line_discipline(&self) -> String {
        format!("{:?}", self.master.get_termios().unwrap())
    }

    /// The program has the terminal: its own screen, no cursor, raw mode.
    pub fn is_taken(&mut self) {
        self.waits("taken terminal", PATIENCE, |terminal| {
            let taken = {
                let parser = terminal.screen.lock().unwrap();
                let screen = parser.screen();
                screen.alternate_screen() && screen.hide_cursor() && screen.bracketed_paste()
            };
            taken && terminal.line_discipline() != terminal.before
        });
    }

    /// The terminal is as it was: the shell's screen, a cursor, no raw mode, no mouse.
    pub fn is_restored(&mut self) {
        let quiet = vt100::MouseProtocolMode::None;
        // what the program wrote last may still be on its way
        self.waits("restored terminal", Duration::from_secs(10), |terminal| {
            let parser = terminal.screen.lock().unwrap();
            let screen = parser.screen();
            !screen.alternate_screen()
                && !screen.hide_cursor()
                && !screen.bracketed_paste()
                && screen.mouse_protocol_mode() == quiet
        });
        assert_eq!(self.line_discipline(), self.before);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // only the one program started here, if it is still there
        let _ = self.child.kill();
    }
}
