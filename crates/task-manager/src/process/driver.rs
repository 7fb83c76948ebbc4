//! The manager's thread: every seat, and the core's timer.
//!
//! Invariant: however the thread ends, every task has ended by then, so that nobody waits for it.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, task::JoinSet, time::sleep_until};

use super::{
    logs::Writer,
    seat::{self, Plan},
};

/// How long the log thread may take to write what workers printed last.
const LOG_LIMIT: Duration = Duration::from_secs(1);

/// Starts the thread; it ends when every seat has.
pub(super) fn start(runtime: Runtime, plan: Arc<Plan>, log_writer: Writer) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("workfleet".into()).spawn(move || {
        let shared = Arc::clone(&plan.shared);
        let driven = catch_unwind(AssertUnwindSafe(|| runtime.block_on(drive(plan))));
        // What a blocked writer keeps must not keep us: the rest ends with the process.
        runtime.shutdown_background();
        if let Err(panic) = driven {
            // The panic was printed. Whoever waits must not wait for ever.
            std::mem::forget(panic);
            tracing::error!("the manager's thread has failed: its tasks end as not run");
            shared.abandon();
        }
        log_writer.finish(LOG_LIMIT);
    })
}

async fn drive(plan: Arc<Plan>) {
    let shared = Arc::clone(&plan.shared);
    let seats = shared.look(|_, _, seats| seats.len());
    let mut lives = JoinSet::new();
    for seat in 0..seats {
        lives.spawn(seat::run(Arc::clone(&plan), seat));
    }
    drop(plan);
    let mut deadline: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            ended = lives.join_next() => match ended {
                None => return,
                Some(Ok(())) => {}
                // A bug of ours, and its tasks are nobody's now: rather no manager than one that hangs.
                Some(Err(error)) => panic!("a seat is lost: {error}"),
            },
            () = shared.timer.notified() => deadline = shared.deadline(),
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                deadline = shared.handle_timeout();
            }
        }
    }
}
