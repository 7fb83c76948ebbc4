//! What the process knows of its signals: one state for all watches, which the handler reads and writes.
//!
//! Invariants:
//! - A signal never does nothing: it ends the process, or it is a first or a second that somebody hears.
//! - The handler takes no lock, and waits for no thread: it decides by who watches, which is written under the lock of the counts, and
//!   by what has come, which it alone writes while somebody watches.
//! - The state is written before the threads that listen are woken: this handler was registered before their own.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level,
};
use workfleet_fork::PerProcess;

/// What a shell adds to the number of the signal that ended a program.
pub const SIGNAL_CODE: i32 = 128;

/// What the second signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// It ends the process at once, in its handler.
    EndsProcess,
    /// It is heard, as the first is, unless somebody else watches for whom it ends the process.
    IsHeard,
}

pub(crate) const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Each signal is for somebody. While it is not set, a signal ends the process in its handler.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// The second signal ends the process.
static SECOND_ENDS: AtomicBool = AtomicBool::new(false);

/// The first signal since somebody watches; 0 before.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// The last signal after the first; 0 before.
static SECOND: AtomicI32 = AtomicI32::new(0);

/// Who watches.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// For whom the second signal is heard.
    hearing: usize,
    /// For whom the second signal ends the process.
    ending: usize,
    /// Who has served the second signal.
    armed: usize,
}

impl Counts {
    fn of(&mut self, second: Second) -> &mut usize {
        match second {
            Second::EndsProcess => &mut self.ending,
            Second::IsHeard => &mut self.hearing,
        }
    }

    fn nobody_watches(self) -> bool {
        self.hearing == 0 && self.ending == 0
    }

    /// Tells the handler.
    fn publish(self) {
        SECOND_ENDS.store(self.ending > 0, Ordering::SeqCst);
        IS_WATCHED.store(!self.nobody_watches() && self.armed == 0, Ordering::SeqCst);
    }
}

/// A fork begins with nobody.
fn counts() -> MutexGuard<'static, Counts> {
    static COUNTS: PerProcess<Mutex<Counts>> = PerProcess::new();
    COUNTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Catches the signals, for good: what catches a signal cannot give it back its default.
pub(crate) fn catch_signals() -> io::Result<()> {
    static CAUGHT: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();
    let register = || -> io::Result<()> {
        for signal in SIGNALS {
            // SAFETY: `handle` loads and stores atomics and calls `_exit`, which is allowed in a handler; it neither
            // allocates, locks nor panics.
            unsafe { low_level::register(signal, move || handle(signal)) }?;
        }
        Ok(())
    };
    let caught = CAUGHT.get_or_init(|| register().map_err(|error| error.kind()));
    (*caught).map_err(io::Error::from)
}

fn handle(signal: i32) {
    if !IS_WATCHED.load(Ordering::SeqCst) {
        low_level::exit(SIGNAL_CODE + signal);
    }
    if FIRST.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        return;
    }
    if SECOND_ENDS.load(Ordering::SeqCst) {
        low_level::exit(SIGNAL_CODE + signal);
    }
    SECOND.store(signal, Ordering::SeqCst);
}

pub(crate) fn begin(second: Second) {
    let mut counts = counts();
    if counts.nobody_watches() {
        // Until now a signal has ended the process: these are of watches that have ended.
        FIRST.store(0, Ordering::SeqCst);
        SECOND.store(0, Ordering::SeqCst);
    }
    *counts.of(second) += 1;
    counts.publish();
}

/// A watch ends. It may have been armed, and is not from now on.
pub(crate) fn end(second: Second, is_armed: &AtomicBool) {
    let mut counts = counts();
    *counts.of(second) -= 1;
    counts.armed -= usize::from(is_armed.swap(true, Ordering::SeqCst));
    counts.publish();
}

/// A watch has served the second signal. If it is armed, or has ended, there is nothing to do.
pub(crate) fn arm(is_armed: &AtomicBool) {
    let mut counts = counts();
    counts.armed += usize::from(!is_armed.swap(true, Ordering::SeqCst));
    counts.publish();
}

/// For a fork: there, nobody listens.
pub(crate) fn end_process_by_signals() {
    IS_WATCHED.store(false, Ordering::SeqCst);
}

pub(crate) fn first() -> Option<i32> {
    came(&FIRST)
}

pub(crate) fn second() -> Option<i32> {
    came(&SECOND)
}

fn came(signal: &AtomicI32) -> Option<i32> {
    match signal.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}
