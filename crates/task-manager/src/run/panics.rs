//! What a panic's payload does not tell: where it was. A hook before the program's own keeps it for the threads that
//! run tasks, and does nothing on others.

use std::{cell::RefCell, mem, panic, sync::Once};

use super::traces::{self, Trace};

#[derive(Default)]
struct Seen {
    /// This thread runs tasks.
    wanted: bool,
    location: Option<String>,
    trace: Trace,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// From now on, the current thread's panics are kept, and there are backtraces of these and of errors, or not.
pub(crate) fn keep(backtraces: bool) {
    traces::keep(backtraces);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let earlier = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // An error means that the thread ends.
            let _ = SEEN.try_with(|seen| {
                let mut seen = seen.borrow_mut();
                if seen.wanted {
                    seen.location = info.location().map(ToString::to_string);
                    seen.trace = Trace::capture();
                }
            });
            earlier(info);
        }));
    });
    SEEN.with_borrow_mut(|seen| seen.wanted = true);
}

/// Forgets what was seen on this thread.
pub(super) fn forget() {
    SEEN.with_borrow_mut(|seen| (seen.location, seen.trace) = (None, Trace::None));
}

/// Where this thread panicked last.
pub(super) fn last() -> (Option<String>, Trace) {
    SEEN.with_borrow_mut(|seen| (seen.location.take(), mem::take(&mut seen.trace)))
}
