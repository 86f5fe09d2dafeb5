//! Connections that are kept for the next request, and servers that close them all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use batchgen::provider::{BatchSize, FailureKind, ServerEvent};
use batchgen::sampling::Sampling;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::heard::{Heard, batch, open, requests, spec};
use super::scripted::read;

const ANSWER: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ok\"},\
                      \"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// A server that lets every connection be kept, and closes it when a row comes over one that has
/// served a request before: what a client sees that is a moment too late.
struct Closing {
    address: String,
    /// Connections with a row on them.
    rows: Arc<AtomicUsize>,
    /// Rows that were closed on.
    closed: Arc<AtomicUsize>,
}

impl Closing {
    /// Even a new connection is closed on the first `also_new` rows.
    async fn start(also_new: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (rows, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (rows.clone(), closed.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, counts.0.clone(), counts.1.clone(), also_new));
            }
        });
        Self { address, rows, closed }
    }
}

async fn serve(
    mut stream: TcpStream,
    rows: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    also_new: usize,
) {
    let mut is_new = true;
    while let Some(request) = read(&mut stream).await {
        let is_row = request.path == "/v1/chat/completions";
        if is_row {
            rows.fetch_add(1, Ordering::SeqCst);
            if !is_new || closed.load(Ordering::SeqCst) < also_new {
                closed.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
        is_new = false;
        let (kind, body) = match is_row {
            true => ("text/event-stream", ANSWER),
            false => ("application/json", "{\"data\":[{\"id\":\"m\"}]}"),
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn eight_rows(server: &Closing, retries: Option<u32>) -> Heard {
    let mut spec = spec("openai", &server.address);
    spec.server.retries = retries;
    let opened = open(&spec).await.unwrap();
    let rows = requests(&["a", "b", "c", "d", "e", "f", "g", "h"], Sampling::default());
    batch(&opened, rows, BatchSize::new(2), CancellationToken::new()).await
}

/// The waits before rows were sent again.
fn waits(heard: &Heard) -> Vec<Duration> {
    let waits = heard.server_events().filter_map(|event| match event {
        ServerEvent::Retry { wait, .. } => Some(*wait),
        _ => None,
    });
    waits.collect()
}

#[tokio::test]
async fn a_row_on_a_connection_that_was_closed_is_sent_again_at_once() {
    let server = Closing::start(0).await;
    let started = Instant::now();
    let heard = eight_rows(&server, None).await;
    assert!((0..8).all(|row| heard.text(row) == "ok"), "{:?}", heard.failures());
    let waits = waits(&heard);
    let closed = server.closed.load(Ordering::SeqCst);
    // both of the first two may have been on their way when the server showed what it does
    assert!((1..=2).contains(&closed), "none is kept after the first: {closed}");
    assert_eq!(waits, vec![Duration::ZERO; closed], "and each is told");
    assert!(started.elapsed() < Duration::from_millis(400), "no backoff: {:?}", started.elapsed());
    let pressed = heard.server_events().any(|event| matches!(event, ServerEvent::Allowed(_)));
    assert!(!pressed, "a closed connection does not ask for fewer requests");
}

#[tokio::test]
async fn a_server_that_closes_new_connections_too_is_given_time() {
    let server = Closing::start(3).await;
    let heard = eight_rows(&server, None).await;
    assert!((0..8).all(|row| heard.text(row) == "ok"), "{:?}", heard.failures());
    assert!(waits(&heard).iter().any(|wait| *wait > Duration::from_millis(300)), "{heard:?}");
}

#[tokio::test]
async fn without_retries_no_row_is_sent_twice() {
    let server = Closing::start(0).await;
    let heard = eight_rows(&server, Some(0)).await;
    assert_eq!(server.rows.load(Ordering::SeqCst), 8);
    assert_eq!(waits(&heard), Vec::<Duration>::new());
    let failures = heard.failures();
    assert_eq!(failures.len(), server.closed.load(Ordering::SeqCst));
    for (_, failure) in failures {
        assert_eq!(failure.kind, FailureKind::Transport);
        assert!(failure.message.contains("closed before"), "{}", failure.message);
    }
}
