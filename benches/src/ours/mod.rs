//! workfleet itself, as its users would write it: one file for each kind of task that is measured.
//!
//! Each function starts a pool, warms it up, and measures; unless it says otherwise, start and stop do not count.

pub(crate) mod busy;
pub(crate) mod events;
pub(crate) mod fleet;
pub(crate) mod heartbeats;
pub(crate) mod idle;
pub(crate) mod killed;
pub(crate) mod messages;
pub(crate) mod noop;
pub(crate) mod queued;

use std::thread;
use std::time::{Duration, Instant};

use workfleet::prelude::*;

use crate::error::Error;

/// First in `main`: in a worker process this never returns.
pub(crate) fn init() {
    workfleet::init(&registry());
}

fn registry() -> Registry {
    Registry::new()
        .task::<busy::Busy>()
        .task::<events::Look>()
        .task::<events::SetEach>()
        .task::<events::WaitForEach>()
        .task::<heartbeats::BeatMany>()
        .task::<heartbeats::BeatOnceEach>()
        .task::<heartbeats::Flood>()
        .task::<heartbeats::SendAlone>()
        .task::<heartbeats::SendInTurn>()
        .task::<heartbeats::SendMany>()
        .task::<killed::Logged>()
        .task::<killed::Victim>()
        .task::<messages::Chatter>()
        .task::<noop::Noop>()
        .task::<queued::Gate>()
        .task::<queued::Small>()
}

/// Starts a manager; its first worker is ready, the others may still be on their way.
fn start(workers: usize) -> Result<ProcessManager, Error> {
    ProcessManager::builder(registry()).workers(workers).start().map_err(Error::contender)
}

/// Waits until every worker has shaken hands, to within about a millisecond.
fn wait_until_all_are_up(manager: &ProcessManager) -> Result<(), Error> {
    const LIMIT: Duration = Duration::from_secs(30);
    const PERIOD: Duration = Duration::from_millis(1);
    let started = Instant::now();
    while !manager.stats().workers.iter().all(|worker| worker.pid.is_some()) {
        if started.elapsed() > LIMIT {
            return Err(Error::Wrong(format!("not every worker was up after {LIMIT:?}")));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the manager announces no worker; nothing is measured by it"
        )]
        thread::sleep(PERIOD);
    }
    Ok(())
}

fn close(manager: &ProcessManager, policy: ClosePolicy) -> Result<(), Error> {
    manager.close(policy).map_err(Error::contender).map(drop)
}
