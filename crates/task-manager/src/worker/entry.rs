//! By which way a worker process of this program becomes one: through its `main`, or through a test of its harness.

use std::sync::{Mutex, PoisonError};

/// What is known of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Unknown,
    /// It has called [`init`](crate::init), or [`WorkerLoop::setup`](crate::WorkerLoop::setup), by itself.
    Main,
    /// It is a test binary, of which the test of this name does.
    Test(String),
}

static ENTRY: Mutex<Entry> = Mutex::new(Entry::Unknown);

pub(crate) fn of_this_program() -> Entry {
    ENTRY.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// This program has called what makes a worker of it. If it is known as a test binary, that was one of its tests.
pub(super) fn is_main() {
    let mut entry = ENTRY.lock().unwrap_or_else(PoisonError::into_inner);
    if *entry == Entry::Unknown {
        *entry = Entry::Main;
    }
}

/// This program is a test binary, whose harness calls the entry by this name.
pub(crate) fn is_test(name: String) {
    *ENTRY.lock().unwrap_or_else(PoisonError::into_inner) = Entry::Test(name);
}
