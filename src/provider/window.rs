//! Batching by a window: up to `batch_size` single requests at once, refilled as they end.

use futures_util::future::Future;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use super::{BatchSize, Failure, Request};

/// Runs every request through `one`, `batch_size` at a time; the size is read again at every
/// refill, and a change of it is a reason to refill.
///
/// # Errors
/// The first error of `one`; the requests that are under way are dropped.
pub(super) async fn run<F: Future<Output = Result<(), Failure>>>(
    requests: Vec<Request>,
    batch_size: &BatchSize,
    cancel: &CancellationToken,
    one: impl Fn(Request) -> F,
) -> Result<(), Failure> {
    let mut sizes = batch_size.subscribe();
    let mut waiting = requests.into_iter();
    let mut running = FuturesUnordered::new();
    loop {
        let size = *sizes.borrow_and_update();
        running.extend(waiting.by_ref().take(size.saturating_sub(running.len())).map(&one));
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::cancelled()),
            ended = running.next() => match ended {
                Some(ended) => ended?,
                None => return Ok(()),
            },
            Ok(()) = sizes.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::prompts::{Content, Prompt};
    use crate::provider::FailureKind;
    use crate::sampling::Sampling;

    fn requests(count: usize) -> Vec<Request> {
        let prompt = |index| Prompt {
            index,
            id: format!("row-{index}"),
            content: Content::Text(String::new()),
            expect: None,
        };
        let request = |row| Request {
            row,
            prompt: Arc::new(prompt(row)),
            raw: false,
            sampling: Arc::new(Sampling::default()),
            spending: None,
        };
        (0..count).map(request).collect()
    }

    #[tokio::test]
    async fn the_window_follows_the_batch_size_up_and_down() {
        let size = BatchSize::new(3);
        let running = AtomicUsize::new(0);
        let seen = std::sync::Mutex::new(Vec::new());
        let one = |request: Request| {
            let (size, running, seen) = (&size, &running, &seen);
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                seen.lock().unwrap().push(now);
                match request.row {
                    2 => size.set(6),
                    12 => size.set(1),
                    _ => {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        };
        run(requests(20), &size, &CancellationToken::new(), one).await.unwrap();
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), 20);
        assert_eq!(seen[..6], [1, 2, 3, 4, 5, 6], "raised while the first are under way");
        assert_eq!(seen.iter().max(), Some(&6));
        assert_eq!(seen[19], 1, "lowered to one at a time");
    }

    #[tokio::test]
    async fn no_requests_are_done_at_once() {
        let one = |_| async { Err(Failure::cancelled()) };
        let done = run(Vec::new(), &BatchSize::new(4), &CancellationToken::new(), one).await;
        assert_eq!(done, Ok(()));
    }

    #[tokio::test]
    async fn an_error_or_a_cancellation_ends_the_window_while_others_hang() {
        let auth = Failure::new(FailureKind::Auth, "no");
        let one = |request: Request| {
            let auth = auth.clone();
            async move { if request.row == 2 { Err(auth) } else { std::future::pending().await } }
        };
        let cancel = CancellationToken::new();
        let ended = run(requests(9), &BatchSize::new(4), &cancel, one).await;
        assert_eq!(ended, Err(auth.clone()));
        cancel.cancel();
        let hang = |_| std::future::pending();
        let ended = run(requests(9), &BatchSize::new(4), &cancel, hang).await;
        assert_eq!(ended, Err(Failure::cancelled()));
    }
}
