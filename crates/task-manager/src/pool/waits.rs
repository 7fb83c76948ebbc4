//! Waiting for workers in time that this program saw pass: the driver of [`Patience`].

use std::{
    future::{Future, pending},
    pin::pin,
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use workfleet_heartbeat::cores::Patience;

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Begins a wait.
pub(crate) fn patience(limit: Duration) -> Patience {
    Patience::new(now(), limit)
}

/// The future's output; none if the patience ends first. If both are there at once, it is the output.
pub(crate) async fn within<F: Future>(patience: &mut Patience, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    loop {
        let Some(at) = patience.poll_timeout() else { return Some(future.await) };
        match timeout_at(at.into(), &mut future).await {
            Ok(output) => return Some(output),
            Err(_) if patience.handle_timeout(now()) => return None,
            // This program was stopped meanwhile, and its workers may have been.
            Err(_) => {}
        }
    }
}

/// Returns when the patience ends, if there is any.
///
/// # Cancel safety
/// Dropping this future loses nothing.
pub(crate) async fn run_out(patience: &mut Option<Patience>) {
    let Some(patience) = patience else { return pending().await };
    within(patience, pending()).await.unwrap_or(())
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    fn block_on(future: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
            .block_on(future);
    }

    #[test]
    fn what_is_there_at_the_end_of_the_patience_counts() {
        block_on(async {
            assert_eq!(within(&mut patience(Duration::ZERO), async { 1 }).await, Some(1));
            assert_eq!(within(&mut patience(Duration::MAX), async { 2 }).await, Some(2));
            assert_eq!(within(&mut patience(Duration::ZERO), pending::<()>()).await, None);
            run_out(&mut Some(patience(Duration::ZERO))).await;
        });
    }
}
