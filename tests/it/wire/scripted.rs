//! A tiny HTTP server whose every answer is scripted down to the byte, and that keeps what it
//! was sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Value,
    /// The body as it came.
    pub text: String,
    pub method: String,
}

impl Recorded {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map(|(_, value)| value.as_str())
    }
}

/// What is done with a connection after a request was read.
#[derive(Debug, Clone, Default)]
pub struct Script {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    Reset,
    Hang,
}

impl Script {
    /// The head of a stream that ends with its connection.
    pub fn stream(content_type: &str) -> Self {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n");
        Self::default().send(&head)
    }

    /// A whole stream of events.
    pub fn sse(data: &[&str]) -> Self {
        data.iter().fold(Self::stream("text/event-stream"), |script, data| script.event(data))
    }

    /// A whole stream of lines.
    pub fn ndjson(lines: &[&str]) -> Self {
        let start = Self::stream("application/x-ndjson");
        lines.iter().fold(start, |script, line| script.send(&format!("{line}\n")))
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::answer(status, &[("content-type", "application/json")], &body.to_string())
    }

    pub fn redirect(status: u16, to: &str) -> Self {
        Self::answer(status, &[("location", to)], "")
    }

    pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        Self::default().send(&format!(
            "HTTP/1.1 {status} Scripted\r\n{headers}content-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        ))
    }

    /// One event of a stream.
    pub fn event(self, data: &str) -> Self {
        self.send(&format!("data: {data}\n\n"))
    }

    pub fn send(mut self, text: &str) -> Self {
        self.steps.push(Step::Send(text.as_bytes().to_vec()));
        self
    }

    pub fn wait(mut self, time: Duration) -> Self {
        self.steps.push(Step::Wait(time));
        self
    }

    /// The connection is reset.
    pub fn reset(mut self) -> Self {
        self.steps.push(Step::Reset);
        self
    }

    /// Nothing more happens until the client goes away.
    pub fn hang(mut self) -> Self {
        self.steps.push(Step::Hang);
        self
    }

    /// The same after some time.
    pub fn after(mut self, time: Duration) -> Self {
        self.steps.insert(0, Step::Wait(time));
        self
    }

    /// The same, every byte in a packet of its own.
    pub fn byte_by_byte(self) -> Self {
        let single = self.steps.into_iter().flat_map(|step| match step {
            Step::Send(bytes) => {
                bytes.into_iter().map(|byte| Step::Send(vec![byte])).collect::<Vec<_>>()
            }
            other => vec![other],
        });
        Self { steps: single.collect() }
    }
}

/// The server; it ends with this value.
pub struct Scripted {
    pub address: String,
    requests: Arc<Mutex<Vec<Recorded>>>,
    closed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub async fn start(script: impl Fn(&Recorded) -> Script + Send + Sync + 'static) -> Self {
        Self::start_with(move |request, _| script(request)).await
    }

    /// The script is also told how many requests are being answered, itself included.
    pub async fn start_with(
        script: impl Fn(&Recorded, usize) -> Script + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (requests, closed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (kept, ended) = (requests.clone(), closed.clone());
        let (script, running) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (script, kept) = (script.clone(), kept.clone());
                let (running, ended) = (running.clone(), ended.clone());
                tokio::spawn(async move {
                    let Some(request) = read(&mut stream).await else { return };
                    kept.lock().unwrap().push(request.clone());
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    let gone = play(script(&request, now), &mut stream).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    ended.fetch_add(usize::from(gone), Ordering::SeqCst);
                });
            }
        });
        Self { address, requests, closed, task }
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests came for a path.
    pub fn asked(&self, path: &str) -> usize {
        self.requests().iter().filter(|request| request.path == path).count()
    }

    /// How often the client went away before the script was over.
    pub fn left(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Plays a script; says whether the client went away before its end.
async fn play(script: Script, stream: &mut TcpStream) -> bool {
    stream.set_nodelay(true).unwrap();
    for step in script.steps {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return true;
                }
            }
            Step::Wait(time) => {
                let mut byte = [0];
                if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(time, stream.read(&mut byte)).await
                {
                    return true;
                }
            }
            Step::Reset => {
                stream.set_zero_linger().unwrap();
                return false;
            }
            Step::Hang => {
                let mut byte = [0];
                let _ = stream.read(&mut byte).await;
                return true;
            }
        }
    }
    // the client has read to the end when it closes its side, or does not care for the rest
    let _ = stream.shutdown().await;
    let mut rest = [0; 64];
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut rest)).await;
    false
}

/// Reads the head and the body of a request.
pub async fn read(stream: &mut TcpStream) -> Option<Recorded> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    let headers: Vec<_> = headers.collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse::<usize>().unwrap());
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
    Some(Recorded { path, headers, body, text, method })
}
