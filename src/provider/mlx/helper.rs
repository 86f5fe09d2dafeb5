//! The helper process: started, spoken to, and gone with the program.
//!
//! One task writes requests, one reads events and hands them to their calls. What the events
//! mean for rows is not decided here.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::last_words::LastWords;
use super::lines::{Lines, NoLine};
use super::message::{Ask, CallId, ErrorKind, Hello, Ready, Told};
use super::python;
use crate::prompts::printable;
use crate::provider::{Failure, FailureKind, Request};

/// The program, in Python.
const PROGRAM: &str = include_str!("helper.py");

/// The longest line of the helper, in bytes. A step of a thousand rows has a tenth of it.
const MOST_LINE: usize = 4 << 20;

/// How long Python may take until it says what it is.
const MOST_START_TIME: Duration = Duration::from_secs(120);

/// How long the exit status of a helper is waited for after its pipe ended.
const MOST_END_TIME: Duration = Duration::from_secs(5);

/// A helper with a loaded model. Dropping it ends the process.
pub(super) struct Helper {
    asks: UnboundedSender<Vec<u8>>,
    news: UnboundedSender<News>,
    calls: AtomicU64,
    /// Why the helper is gone.
    gone: Arc<OnceLock<Failure>>,
}

/// An event of a call and when its line arrived.
pub(super) type Heard = (Instant, Told);

/// What the reading task is told about calls.
enum News {
    Begun(CallId, UnboundedSender<Heard>),
    Forgotten(CallId),
}

/// A helper whose model is being loaded.
struct Starting {
    process: Process,
    asks: UnboundedSender<Vec<u8>>,
}

/// The process, and what it writes.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    last_words: LastWords,
}

impl Helper {
    /// Starts a helper with this Python and lets it load a model.
    ///
    /// # Errors
    /// What is missing and how it is installed; or why the model cannot be loaded.
    pub async fn start(
        program: &Path,
        model: &str,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(Self, Hello, Ready), Failure> {
        let (mut starting, hello) = Self::greet(program).await?;
        let ready = starting.load(model, &hello, progress).await?;
        Ok((starting.helper(), hello, ready))
    }

    /// What this Python has, without loading anything.
    ///
    /// # Errors
    /// What is missing and how it is installed.
    pub async fn hello(program: &Path) -> Result<Hello, Failure> {
        Self::greet(program).await.map(|(_, hello)| hello)
    }

    async fn greet(program: &Path) -> Result<(Starting, Hello), Failure> {
        let mut starting = Starting::spawn(program)?;
        let hello = starting.hello().await?;
        python::check(&hello)?;
        Ok((starting, hello))
    }

    /// Begins a call with these rows.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn begin(&self, requests: &[Request], batch_size: usize) -> Result<Call<'_>, Failure> {
        let id = self.calls.fetch_add(1, Ordering::Relaxed);
        let (sender, heard) = mpsc::unbounded_channel();
        self.news.send(News::Begun(id, sender)).map_err(|_| self.gone())?;
        let call = Call { id, helper: self, heard };
        let Some(first) = requests.first() else { return Ok(call) };
        let (rows, sampling) = (requests.len(), &*first.sampling);
        call.helper.ask(&Ask::Start { call: id, batch_size, rows, sampling });
        for request in requests {
            call.helper.ask(&Ask::of_row(id, request));
        }
        Ok(call)
    }

    fn ask(&self, ask: &Ask<'_>) {
        // where nobody writes any more, the reading task says why
        let _ = self.asks.send(line(ask));
    }

    fn gone(&self) -> Failure {
        self.gone.get().cloned().unwrap_or_else(|| transport("the mlx helper has ended".into()))
    }
}

/// A call under way. Dropping it cancels what has not ended.
pub(super) struct Call<'a> {
    id: CallId,
    helper: &'a Helper,
    heard: UnboundedReceiver<Heard>,
}

impl Call<'_> {
    /// The next event of this call.
    ///
    /// # Errors
    /// The helper is gone, and why.
    pub async fn next(&mut self) -> Result<Heard, Failure> {
        self.heard.recv().await.ok_or_else(|| self.helper.gone())
    }

    /// Changes how many rows are generated at a time.
    pub fn resize(&self, batch_size: usize) {
        self.helper.ask(&Ask::Size { call: self.id, batch_size });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // a helper that is gone has no calls
        let _ = self.helper.news.send(News::Forgotten(self.id));
        // one that has ended does not mind
        self.helper.ask(&Ask::Cancel { call: self.id });
    }
}

impl Starting {
    fn spawn(program: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.arg("-c").arg(PROGRAM).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PYTHONUNBUFFERED", "1").env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
        command.env("TRANSFORMERS_VERBOSITY", "error").env("TOKENIZERS_PARALLELISM", "false");
        let mut child = command.spawn().map_err(|error| python::cannot_start(program, &error))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(transport("the mlx helper has no pipes".into()));
        };
        let (asks, lines) = mpsc::unbounded_channel();
        tokio::spawn(write(stdin, lines));
        let lines = Lines::new(BufReader::with_capacity(1 << 16, stdout), MOST_LINE);
        let process = Process { child, lines, last_words: LastWords::of(stderr) };
        Ok(Self { process, asks })
    }

    async fn hello(&mut self) -> Result<Hello, Failure> {
        let told = tokio::time::timeout(MOST_START_TIME, self.process.next()).await;
        match told.map_err(|_| self.silent())?? {
            (_, Told::Hello(hello)) => Ok(hello),
            _ => Err(protocol("the mlx helper did not begin with its name".into())),
        }
    }

    fn silent(&self) -> Failure {
        let seconds = MOST_START_TIME.as_secs();
        transport(format!("the mlx helper said nothing for {seconds} s after it was started"))
    }

    async fn load(
        &mut self,
        model: &str,
        hello: &Hello,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Ready, Failure> {
        // a helper that is gone is noticed by its silence
        let _ = self.asks.send(line(&Ask::Load { model }));
        loop {
            match self.process.next().await?.1 {
                Told::Progress { line } => progress(printable(&line)),
                Told::Ready(ready) => return Ok(ready),
                Told::Error { kind: ErrorKind::Import, message } => {
                    return Err(python::cannot_import(hello, &message));
                }
                Told::Error { kind, message } => {
                    let message = format!("mlx-lm cannot load {model}: {message}");
                    return Err(failure(kind, &message));
                }
                Told::Hello(_) | Told::Step(_) | Told::Done { .. } | Told::Failed { .. } => {
                    return Err(protocol("the mlx helper ran calls before it had a model".into()));
                }
            }
        }
    }

    fn helper(self) -> Helper {
        let (news, told) = mpsc::unbounded_channel();
        let gone = Arc::new(OnceLock::new());
        let reading = read(self.process, told, gone.clone());
        tokio::spawn(reading);
        Helper { asks: self.asks, news, calls: AtomicU64::new(1), gone }
    }
}

impl Process {
    /// The next event, stamped before it is parsed.
    async fn next(&mut self) -> Result<Heard, Failure> {
        let line = match self.lines.next().await {
            Ok(line) => line,
            Err(NoLine::TooLong(most)) => {
                let message = format!("the mlx helper sent a line of more than {most} bytes");
                return Err(protocol(message));
            }
            Err(NoLine::End) => return Err(self.ended().await),
        };
        let at = Instant::now();
        let told = serde_json::from_slice(&line).map_err(|error| {
            let shown = String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned();
            protocol(format!("the mlx helper sent a damaged line: {error}: {shown}"))
        })?;
        Ok((at, told))
    }

    /// Why there is no more to read.
    async fn ended(&mut self) -> Failure {
        let status = tokio::time::timeout(MOST_END_TIME, self.child.wait()).await;
        let status = match status {
            Ok(Ok(status)) => format!("ended with {status}"),
            Ok(Err(_)) | Err(_) => "closed its output".to_owned(),
        };
        let last = self.last_words.get().await;
        let last = if last.is_empty() { String::new() } else { format!(": {last}") };
        Failure::new(FailureKind::Server, printable(&format!("the mlx helper {status}{last}")))
    }
}

/// Reads events and hands them to their calls, until the helper or its owner is gone.
async fn read(
    mut process: Process,
    mut news: UnboundedReceiver<News>,
    gone: Arc<OnceLock<Failure>>,
) {
    let mut calls: HashMap<CallId, UnboundedSender<Heard>> = HashMap::new();
    loop {
        tokio::select! {
            // a call is known before its first event is read
            biased;
            news = news.recv() => match news {
                Some(News::Begun(call, sender)) => drop(calls.insert(call, sender)),
                Some(News::Forgotten(call)) => drop(calls.remove(&call)),
                None => return,
            },
            heard = process.next() => match heard {
                Ok(heard) => {
                    // an event of a call that was cancelled meanwhile is for nobody
                    if let Some(sender) = call_of(&heard.1).and_then(|call| calls.get(&call)) {
                        let _ = sender.send(heard);
                    }
                }
                Err(failure) => {
                    let _ = gone.set(failure);
                    // the calls see their channels close, and look why
                    return;
                }
            },
        }
    }
}

fn call_of(told: &Told) -> Option<CallId> {
    match told {
        Told::Step(step) => Some(step.call),
        Told::Done { call } | Told::Failed { call, .. } => Some(*call),
        Told::Hello(_) | Told::Progress { .. } | Told::Ready(_) | Told::Error { .. } => None,
    }
}

/// Writes requests until nobody asks any more; closing the pipe then ends the helper.
async fn write(mut stdin: ChildStdin, mut lines: UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        // the reading task says why the helper is gone
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}

fn line(ask: &Ask<'_>) -> Vec<u8> {
    let mut line = serde_json::to_vec(ask).expect("requests are plain data with text keys");
    line.push(b'\n');
    line
}

/// A failure that the helper reports.
pub(super) fn failure(kind: ErrorKind, message: &str) -> Failure {
    let kind = match kind {
        ErrorKind::Import => FailureKind::Unsupported,
        ErrorKind::Memory => FailureKind::OutOfMemory,
        ErrorKind::Model => FailureKind::Model,
    };
    Failure::new(kind, printable(message))
}

/// A failure of what the helper sends.
pub(super) fn protocol(message: String) -> Failure {
    Failure::new(FailureKind::Protocol, printable(&message))
}

fn transport(message: String) -> Failure {
    Failure::new(FailureKind::Transport, printable(&message))
}
