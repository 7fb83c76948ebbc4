//! What a panic's payload does not tell: where it was. A hook before the program's own keeps it for the threads that
//! run tasks, and does nothing on others.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    cell::RefCell,
    panic,
    sync::Once,
};

#[derive(Default)]
struct Seen {
    /// This thread runs tasks.
    wanted: bool,
    location: Option<String>,
    backtrace: Option<String>,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// From now on, the current thread's panics are kept.
pub(crate) fn keep() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let earlier = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // An error means that the thread ends.
            let _ = SEEN.try_with(|seen| {
                let mut seen = seen.borrow_mut();
                if seen.wanted {
                    let backtrace = Backtrace::capture();
                    seen.location = info.location().map(ToString::to_string);
                    let captured = backtrace.status() == BacktraceStatus::Captured;
                    seen.backtrace = captured.then(|| backtrace.to_string());
                }
            });
            earlier(info);
        }));
    });
    SEEN.with_borrow_mut(|seen| seen.wanted = true);
}

/// Forgets what was seen on this thread.
pub(super) fn forget() {
    SEEN.with_borrow_mut(|seen| (seen.location, seen.backtrace) = (None, None));
}

/// Where this thread panicked last, and the backtrace if there is one.
pub(super) fn last() -> (Option<String>, Option<String>) {
    SEEN.with_borrow_mut(|seen| (seen.location.take(), seen.backtrace.take()))
}
