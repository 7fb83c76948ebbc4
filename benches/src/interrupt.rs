//! Ctrl-C and SIGTERM: remembered, so that the run unwinds and its temporary files go; a second one kills.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::Error;

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Starts to listen. Only the process that people start does so: its children die of the signal.
pub(crate) fn watch() -> Result<(), Error> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag that the first has set.
        flag::register_conditional_default(signal, Arc::clone(&REQUESTED))
            .and_then(|_| flag::register(signal, Arc::clone(&REQUESTED)))
            .map_err(Error::io("listen for signals"))?;
    }
    Ok(())
}

/// An error once a signal has come.
pub(crate) fn check() -> Result<(), Error> {
    // A lone flag that orders nothing else.
    if REQUESTED.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}
