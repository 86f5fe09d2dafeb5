//! A server that streams chat completions of words, one a chunk and a write each, and tells the
//! time of its first token by its own clock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Tokens of an answer, and the time between them.
#[derive(Clone, Copy)]
struct Pace {
    tokens: usize,
    pause: Duration,
}

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n";

/// Serves until it is killed: `serve TOKENS PAUSE_IN_MICROSECONDS`.
pub fn serve() {
    let number = |place| std::env::args().nth(place).unwrap().parse::<u64>().unwrap();
    let pace = Pace { tokens: number(2) as usize, pause: Duration::from_micros(number(3)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream, pace));
        }
    });
}

async fn connection(mut stream: TcpStream, pace: Pace) {
    let mut held = Vec::new();
    while let Some(path) = request(&mut stream, &mut held).await {
        let arrived = Instant::now();
        let sent = match path.as_str() {
            "/v1/chat/completions" => answer(&mut stream, pace, arrived).await,
            "/v1/models" => whole(&mut stream, "200 OK", r#"{"data":[{"id":"m"}]}"#).await,
            _ => whole(&mut stream, "404 Not Found", "{}").await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Reads a request to its end and gives its path.
async fn request(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<String> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&held[..end]).to_lowercase();
            let length = head.split("content-length:").nth(1);
            let length = length.and_then(|rest| rest.split_whitespace().next());
            let all = end + 4 + length.map_or(0, |length| length.parse().unwrap());
            if held.len() >= all {
                held.drain(..all);
                return head.split_whitespace().nth(1).map(str::to_owned);
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(size) => held.extend_from_slice(&chunk[..size]),
        }
    }
}

async fn whole(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await
}

async fn answer(stream: &mut TcpStream, pace: Pace, arrived: Instant) -> std::io::Result<()> {
    stream.write_all(STREAM).await?;
    stream.write_all(&event(&choice(r#""role":"assistant","content":null"#))).await?;
    let token = event(&choice(r#""content":" word""#));
    if !pace.pause.is_zero() {
        tokio::time::sleep(prefill()).await;
    }
    let mut next = tokio::time::Instant::now() + pace.pause;
    let mut first = None;
    for _ in 0..pace.tokens {
        if !pace.pause.is_zero() {
            tokio::time::sleep_until(next).await;
            next += pace.pause;
        }
        first.get_or_insert_with(|| arrived.elapsed());
        stream.write_all(&token).await?;
    }
    let end = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[],"usage":{{"prompt_tokens":9,"completion_tokens":{}}},"timings":{{"prompt_ms":{}}}}}"#,
        pace.tokens,
        first.unwrap_or_default().as_secs_f64() * 1e3
    );
    let mut last = event(&end);
    last.extend(event("[DONE]"));
    last.extend(b"0\r\n\r\n");
    stream.write_all(&last).await
}

/// As prompts differ in length, so do the times until their first tokens: 0 to 255 ms. Without
/// that all streams would begin and end their rows in the same instant for ever.
fn prefill() -> Duration {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    Duration::from_millis(u64::from(number.wrapping_mul(0x9e37_79b9) >> 24))
}

fn choice(delta: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":null}}]}}"#
    )
}

/// An event in a chunk of its own.
fn event(data: &str) -> Vec<u8> {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}
