//! Tasks that send many messages.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use workfleet::prelude::*;

use crate::error::Error;
use crate::ours;

const WORKERS: u64 = 2;

/// Sends the numbers below its own, one message each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chatter(u64);

impl TaskSpec for Chatter {
    const NAME: &'static str = "chatter";
    type Output = ();
}

impl Task for Chatter {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        for number in 0..self.0 {
            cx.send_message(&Tick(number))?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Tick(u64);

impl TaskMessage for Tick {
    const NAME: &'static str = "tick";
}

/// Messages per second: from scheduling one task for each worker until the inbox has ended, every message typed
/// and summed up.
pub(crate) fn throughput(messages_each: u64) -> Result<f64, Error> {
    let manager = ours::start(WORKERS as usize)?;
    ours::wait_until_all_are_up(&manager)?;
    let started = Instant::now();
    for _ in 0..WORKERS {
        manager.schedule(Chatter(messages_each)).map_err(Error::contender)?;
    }
    let (mut count, mut sum) = (0, 0);
    for message in manager.messages::<Tick>() {
        sum += message.map_err(Error::contender)?.content.0;
        count += 1;
    }
    let took = started.elapsed();
    ours::close(&manager, ClosePolicy::Join)?;
    if (count, sum) != (WORKERS * messages_each, WORKERS * messages_each * (messages_each - 1) / 2) {
        return Err(Error::Wrong(format!("{count} messages came, which sum up to {sum}")));
    }
    Ok(count as f64 / took.as_secs_f64())
}
