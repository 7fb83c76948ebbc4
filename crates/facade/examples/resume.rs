//! A long task that beats with how far it is, is killed, and goes on from there.
//!
//! It looks for the number below a limit from which Collatz's rule takes the most steps to 1: halve what is even, triple what
//! is odd and add one. When it has come a third of the way, its worker process is killed, as the kernel does when memory
//! runs out; the next attempt begins where the last beat was.
//!
//! ```sh
//! cargo run --release --example resume -- 10000000
//! ```

use std::{env, error::Error, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use workfleet::prelude::*;

/// Finds the number below a limit with the most steps to 1.
#[derive(Debug, Serialize, Deserialize)]
struct Search {
    below: u64,
}

/// How far a search is: what its beats say, and what another attempt needs to go on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Progress {
    next: u64,
    best: u64,
    steps: u32,
}

/// What a search has found, and where its last attempt began.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    best: u64,
    steps: u32,
    attempt: u32,
    began_at: u64,
}

impl TaskSpec for Search {
    const NAME: &'static str = "search";
    type Output = Found;
    /// Silent for so long, it hangs.
    const HEARTBEAT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(5));
}

impl Task for Search {
    fn run(self, cx: &TaskContext) -> Result<Found, TaskError> {
        let begin = Progress { next: 1, best: 1, steps: 0 };
        let mut progress = cx.last_heartbeat()?.unwrap_or(begin);
        let began_at = progress.next;
        while progress.next < self.below {
            let steps = steps_to_one(progress.next);
            if steps > progress.steps {
                (progress.best, progress.steps) = (progress.next, steps);
            }
            progress.next += 1;
            if progress.next.is_multiple_of(1000) {
                cx.heartbeat(&progress)?;
                cx.check_cancelled()?;
            }
        }
        Ok(Found { best: progress.best, steps: progress.steps, attempt: cx.attempt(), began_at })
    }
}

fn steps_to_one(mut number: u64) -> u32 {
    let mut steps = 0;
    while number != 1 {
        number = if number.is_multiple_of(2) { number / 2 } else { 3 * number + 1 };
        steps += 1;
    }
    steps
}

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new().task::<Search>();
    workfleet::init(&registry);

    let below: u64 = env::args().nth(1).ok_or("usage: resume LIMIT")?.parse()?;
    // However often it beats, a beat leaves its worker every 10 ms: so much is done again at most.
    let often = Duration::from_millis(10);
    let manager = ProcessManager::builder(registry).workers(1).max_heartbeat_throttle(often).start()?;
    let mut search = manager.submit(Search { below })?;
    let mut killed = false;
    let found = loop {
        if let Some(found) = search.wait_timeout(often) {
            break found?;
        }
        let Some(beat) = search.last_heartbeat() else { continue };
        let progress: Progress = beat.decode()?;
        let worker = manager.stats().workers.first().and_then(|worker| worker.pid);
        if let Some(pid) = worker.filter(|_| !killed && progress.next > below / 3) {
            kill_process(Pid::from_raw(i32::try_from(pid)?).ok_or("no such process")?, Signal::KILL)?;
            println!("killed process {pid} when it had looked at the numbers below {}", progress.next);
            killed = true;
        }
    };
    println!("attempt {} went on at {}", found.attempt, found.began_at);
    println!("{} takes {} steps, the most of all numbers below {below}", found.best, found.steps);
    manager.close(ClosePolicy::Join)?;
    Ok(())
}
