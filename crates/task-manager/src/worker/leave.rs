//! How a worker process leaves in order: for its manager, or for the program whose loop it is.
//!
//! Every way goes through [`Worker::leave`], so what holds for one holds for all: what tasks have ended in reaches the manager
//! before the user's destructors run, which may hang or end the process.

use std::{process, thread};

use super::shared::Worker;

/// What a program exits with whose `main` panics.
const PANIC_CODE: i32 = 101;

impl Worker {
    /// Sends what is left to be sent, ends what is left to be ended, and exits: with code 0, or while the thread panics as a
    /// panic exits. On the thread of the tasks. A worker that takes longer than the grace is killed.
    pub(super) fn leave(&self) -> ! {
        self.flush_at_end();
        self.sessions.end();
        // What the destructors have said goes with the exit.
        process::exit(if thread::panicking() { PANIC_CODE } else { 0 })
    }
}
