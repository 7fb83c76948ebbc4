//! What the library logs, kept: some events are told nowhere else.

use std::sync::{Condvar, Mutex, Once, PoisonError};

use tracing::{Event, Level};

use super::listener::{Listener, fields};

/// The texts of warnings and errors since [`listen`] was first called.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

/// Keeps the text of each warning and error from now on.
pub(crate) fn listen() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let listener = Listener { up_to: Level::WARN, hears: keep };
        tracing::subscriber::set_global_default(listener).expect("it is the only one");
    });
}

fn keep(event: &Event<'_>) {
    let mut text = String::new();
    fields(event, |name, value| {
        if name == "message" {
            text = format!("{value:?}");
        }
    });
    LOGGED.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    CHANGED.notify_all();
}

/// Takes the texts that were kept so far.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *LOGGED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How often a warning or an error of this text was logged up to now. The first call [begins](listen) the counting.
pub(crate) fn count(text: &str) -> u64 {
    listen();
    count_in(&LOGGED.lock().unwrap_or_else(PoisonError::into_inner), text)
}

fn count_in(logged: &[String], text: &str) -> u64 {
    logged.iter().filter(|logged| *logged == text).count() as u64
}

/// Waits until it was logged `times` more often than it was `before`.
pub(crate) fn await_more(text: &str, before: u64, times: u64) {
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    while count_in(&logged, text) < before + times {
        logged = CHANGED.wait(logged).unwrap_or_else(PoisonError::into_inner);
    }
}
