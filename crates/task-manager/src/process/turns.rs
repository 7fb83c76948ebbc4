//! Starting a process, off the manager's thread, when its turn has come: few are started at a time.
//!
//! Invariant: the time that a start may take begins with its turn. A start that waits for others has not failed.

use std::{
    future::Future,
    io::{self, ErrorKind},
    thread,
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};

use crate::{pool::waits, sys::naming::Naming};

/// Waits for a turn, and runs `start` on a thread of its own, for which the turn is kept. None if it is given up before its
/// turn has come.
pub(super) async fn in_turn<T: Send + 'static>(
    turns: &Semaphore,
    given_up: impl Future<Output = ()>,
    limit: Duration,
    start: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<io::Result<T>> {
    // Nobody closes the semaphore: it is there for as long as this.
    let _turn = tokio::select! {
        biased;
        () = given_up => return None,
        turn = turns.acquire() => turn,
    };
    Some(off_this_thread(limit, start).await)
}

/// Starts a process on a thread of its own. That takes a millisecond, or forever if the program's file cannot be read.
/// The other workers go on meanwhile. Not on the runtime's threads, which panic where the system allows no more of them.
async fn off_this_thread<T: Send + 'static>(
    limit: Duration,
    start: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    let run = move || {
        if tell.is_closed() {
            return;
        }
        // What nobody waits for any more is killed where it is dropped.
        drop(tell.send(start()));
    };
    thread::Builder::new().name("workfleet-start".into()).spawn(run).naming("starting a thread")?;
    match waits::within(&mut waits::patience(limit), told).await {
        Some(told) => {
            told.unwrap_or_else(|_| Err(io::Error::other("the thread that starts workers panicked")))
        }
        None => {
            let reason = format!("the process has not been started within {limit:?}");
            Err(io::Error::new(ErrorKind::TimedOut, reason))
        }
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use std::{future::pending, pin::pin, sync::mpsc, task::Poll};

    use super::*;

    /// Far more than a thread needs to start.
    const LIMIT: Duration = Duration::from_secs(60);

    fn block_on(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().expect("a runtime").block_on(test);
    }

    /// Lets so much time pass on the runtime's clock, and on no other.
    async fn let_pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    /// The future has been polled, and is not ready.
    async fn assert_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) {
        assert!(
            std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending()))
                .await
        );
    }

    #[test]
    fn time_that_a_start_waits_for_its_turn_is_not_its_own() {
        block_on(async {
            let turns = Semaphore::new(1);
            let turn = turns.acquire().await.expect("it is open");
            let (go_on, wait) = mpsc::channel();
            let waits = move || wait.recv().map_err(io::Error::other);
            let mut start = pin!(in_turn(&turns, pending(), LIMIT, waits));
            assert_pending(&mut start).await;
            // Its end would be seen a moment later: a wait that is seen to have ended long ago begins again.
            let_pass(LIMIT - LIMIT / 4).await;
            assert_pending(&mut start).await;
            drop(turn);
            assert_pending(&mut start).await;
            let_pass(LIMIT / 4 + Duration::from_millis(2)).await;
            assert_pending(&mut start).await;
            go_on.send(7).expect("it waits");
            assert_eq!(start.await.expect("it was not given up").expect("it has all its time"), 7);
        });
    }

    #[test]
    fn a_start_that_takes_longer_than_its_own_time_has_failed_and_gives_its_turn_back() {
        block_on(async {
            let turns = Semaphore::new(1);
            let (go_on, wait) = mpsc::channel::<()>();
            let (told, tell) = mpsc::channel();
            let slow = move || {
                told.send(()).expect("the test waits");
                // Until the test has seen that nobody waits for this.
                let _ = wait.recv();
                Ok(())
            };
            let mut start = pin!(in_turn(&turns, pending(), LIMIT, slow));
            assert_pending(&mut start).await;
            tell.recv().expect("it begins");
            assert_eq!(turns.available_permits(), 0);
            // From timer to timer, for nothing else happens.
            tokio::time::pause();
            let error = start.await.expect("it was not given up").expect_err("it is too slow");
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(turns.available_permits(), 1);
            drop(go_on);
        });
    }

    #[test]
    fn what_is_given_up_before_its_turn_is_not_started() {
        block_on(async {
            let turns = Semaphore::new(0);
            let never = || -> io::Result<()> { panic!("it is not started") };
            assert!(in_turn(&turns, async {}, LIMIT, never).await.is_none());
        });
    }
}
