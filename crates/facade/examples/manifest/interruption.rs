//! Ctrl-C and SIGTERM: a thread of its own waits for them, and ends the program.
//!
//! Invariants:
//! - What must not happen after an interruption happens under the [gate](Interruption::gate). An interruption takes
//!   the gate and keeps it.
//! - A limit on the size of files is an error of the write that meets it, and does not end the program.
//! - A second signal ends the program on the spot; the workers then end themselves, as their connections do.

use std::{
    fs, io,
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGXFSZ},
    flag,
    iterator::Signals,
};
use workfleet::prelude::*;

use crate::meter::Meter;

/// What a shell adds to the number of the signal that ended a program.
const SIGNAL_CODE: i32 = 128;

/// Whether somebody wants the program to end, and what it may still do then.
#[derive(Debug, Default)]
pub(crate) struct Interruption {
    is_requested: Arc<AtomicBool>,
    gate: Mutex<Option<PathBuf>>,
}

impl Interruption {
    /// Begins to catch signals.
    pub(crate) fn watch(manager: &Arc<ProcessManager>, meter: &Arc<Meter>) -> io::Result<Arc<Self>> {
        let interruption = Arc::new(Self::default());
        for signal in [SIGINT, SIGTERM] {
            let is_requested = &interruption.is_requested;
            // In this order: the first signal finds the flag unset and sets it.
            flag::register_conditional_shutdown(signal, SIGNAL_CODE + signal, Arc::clone(is_requested))?;
            flag::register(signal, Arc::clone(is_requested))?;
        }
        // Its handler is what counts: without one, the signal ends the program, and what it writes stays behind.
        flag::register(SIGXFSZ, Arc::default())?;
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (watched, manager, meter) = (Arc::clone(&interruption), Arc::clone(manager), Arc::clone(meter));
        thread::Builder::new().name("signals".into()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                watched.end(signal, &manager, &meter);
            }
        })?;
        Ok(interruption)
    }

    /// Whether the program is about to end. Work that nobody will see may stop; it does not have to.
    pub(crate) fn is_requested(&self) -> bool {
        // It orders nothing: what must not happen any more waits at the gate.
        self.is_requested.load(Ordering::Relaxed)
    }

    /// Waits until it is certain that nothing interrupts before the guard is dropped; after an interruption, forever.
    /// In the guard stands a file that an interruption has to remove.
    pub(crate) fn gate(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, signal: i32, manager: &ProcessManager, meter: &Meter) -> ! {
        let mut temporary = self.gate();
        if let Some(path) = temporary.take() {
            // Gone or not, there is no manifest under the name that was asked for.
            let _ = fs::remove_file(path);
        }
        meter.abandon();
        // Every worker is dead and reaped when this returns.
        let closed = manager.close(ClosePolicy::Kill);
        let (remaining, found) = meter.remaining();
        meter.say(&format_args!("interrupted: {remaining} of {found} files remain"));
        if let Err(error) = closed {
            meter.say(&error);
        }
        process::exit(SIGNAL_CODE + signal)
    }
}
