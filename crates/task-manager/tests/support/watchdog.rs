//! A limit on hanging.

use std::{
    io::{self, Write},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

/// No test takes a tenth of this on a busy machine; one that does hangs.
const HANG_LIMIT: Duration = Duration::from_secs(120);

/// Ends the test program, and with it every worker, if the test that holds this does not end.
#[must_use = "it watches until it is dropped"]
pub(crate) struct Watchdog {
    _test_ends: mpsc::Sender<()>,
}

pub(crate) fn watchdog() -> Watchdog {
    let (test_ends, ended) = mpsc::channel();
    let test = thread::current().name().unwrap_or("a test").to_owned();
    thread::spawn(move || {
        if ended.recv_timeout(HANG_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Not through print macros, which the harness captures.
            let threads = super::pool_threads();
            let _ = writeln!(
                io::stderr(),
                "{test} hangs: it has not ended within {HANG_LIMIT:?}; threads of pools: {threads:?}"
            );
            process::abort();
        }
    });
    Watchdog { _test_ends: test_ends }
}
