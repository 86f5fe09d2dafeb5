use reqwest::header::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::provider::address::Address;
use crate::provider::http::KeyStyle;
use crate::provider::{ProviderSpec, Stamped};

/// Ends at its first message.
struct Whole;

impl Decoder for Whole {
    fn take(&mut self, _message: &[u8], to: &mut Delivery<'_>) -> Result<Flow, Failure> {
        to.content(0, "ok".into())?;
        Ok(Flow::End)
    }
}

/// A server that answers everything with one message.
async fn server() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                          connection: close\r\n\r\ndata: {}\n\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

async fn exchange(limits: Limits) -> Exchange {
    let address = Address::parse(&server().await).unwrap();
    let spec = ProviderSpec::default();
    let http = Http::new(&spec, address, None, KeyStyle::Bearer, HeaderMap::new()).unwrap();
    Exchange { limits, ..Exchange::new(http, &ServerOptions::default()) }
}

/// What each of some rows that are submitted together is told, in the order it is told.
async fn told(exchange: &Exchange, rows: usize) -> Vec<Stamped<Event>> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let (sink, cancel) = (Sink::new(sender), CancellationToken::new());
    let call = Call { sink: &sink, cancel: &cancel, since: Instant::now() };
    for row in 0..rows {
        let url = exchange.http().address().at("x");
        let (body, framing) = (b"{}".to_vec(), Framing::Sse);
        let ask = Ask { url, body, framing, rows: vec![row], max_tokens: 1 };
        exchange.run(&ask, || Whole, call).await.unwrap();
    }
    drop(sink);
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

#[tokio::test]
async fn what_the_limits_a_minute_hold_back_is_told_before_the_row_is_sent() {
    let minute = Duration::from_millis(300);
    let exchange = exchange(Limits::new(Quota::within(minute, Some(2), None))).await;
    let started = Instant::now();
    let told = told(&exchange, 3).await;
    let waits: Vec<_> = told
        .iter()
        .filter_map(|stamp| match &stamp.event {
            Event::Server(ServerEvent::Held { row, wait }) => Some((*row, *wait, stamp.at)),
            _ => None,
        })
        .collect();
    assert_eq!(waits.iter().map(|(row, ..)| *row).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(waits[1].1 < minute / 2, "{waits:?}");
    assert!(waits[2].1 >= minute, "the third waits for the next minute: {waits:?}");
    for (row, wait, at) in waits {
        // a clock that starts so much later starts when the row is sent
        assert!(at - wait >= started && at - wait < started + minute / 4);
        let text = |stamp: &&Stamped<Event>| matches!(&stamp.event, Event::Tokens { row: of, .. } if *of == row);
        assert!(told.iter().find(text).unwrap().at >= at);
    }
}

#[tokio::test]
async fn without_limits_a_minute_nothing_is_held_back() {
    let told = told(&exchange(Limits::default()).await, 2).await;
    let held =
        |stamp: &Stamped<Event>| matches!(stamp.event, Event::Server(ServerEvent::Held { .. }));
    assert!(!told.iter().any(held), "{told:?}");
}
