//! The warning at the end of a program with an open manager: one in a static, one that was leaked, one on another
//! thread, or any if the program calls `exit`. No destructor is run there.
//!
//! It is said by a hook of `exit`, so also behind `main`. A program that is killed, aborts, or calls `_exit` gives no
//! warning.
//!
//! Invariants:
//! - What a manager loses is said once: by this hook, or by the code that closes the manager.
//! - A fork of the program says nothing of the managers of its original.
//! - The end of the program waits for this for at most [`LIMIT`], and for no lock that may be held forever.

use std::{
    mem,
    panic::catch_unwind,
    sync::{
        Arc, Mutex, PoisonError, TryLockError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use workfleet_fork::PerProcess;

use super::Shared;

/// How long the end of the program waits for the subscriber that is told. It may want something that the thread holds which
/// ends the program, say the lock of standard output.
const LIMIT: Duration = Duration::from_secs(1);

/// The managers of this process. Those that are gone are removed when the next is added.
static MANAGERS: PerProcess<Mutex<Vec<Weak<Shared>>>> = PerProcess::new();

/// From now on, the end of the program says what this manager has.
pub(super) fn warn_about(manager: &Arc<Shared>) {
    let mut managers = MANAGERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    managers.retain(|other| other.strong_count() > 0);
    managers.push(Arc::downgrade(manager));
    drop(managers);
    /// A fork inherits the hook together with this.
    static HOOKED: AtomicBool = AtomicBool::new(false);
    if !HOOKED.swap(true, Ordering::Relaxed) {
        // SAFETY: the hook does not unwind, and it stays mapped as long as the process.
        let registered = unsafe { libc::atexit(at_exit) };
        if registered != 0 {
            workfleet_notice::warn!(
                "if the program ends before its managers close, nobody will say what is lost"
            );
        }
    }
}

extern "C" fn at_exit() {
    // An error means that there was no memory: the program ends anyway.
    let _ = catch_unwind(|| {
        if has_managers() && !told_elsewhere() {
            workfleet_notice::write(format_args!("the program ends, and {NOT_CLOSED}"), &[]);
        }
    });
}

const NOT_CLOSED: &str = "a manager that has not closed loses what it has: wait for the handles of its tasks, or close it by \
                          ClosePolicy::Join, before the program ends";

fn has_managers() -> bool {
    match MANAGERS.get_or_init(Mutex::default).try_lock() {
        Ok(managers) => managers.iter().any(|manager| manager.strong_count() > 0),
        // Another thread starts one just now, or has panicked meanwhile.
        Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => true,
    }
}

/// Checks the managers and warns on a thread of its own. That thread may wait for their locks. It also has its
/// thread-locals, which subscribers use; the thread that ends the program has dropped its own. False if that takes too
/// long.
fn told_elsewhere() -> bool {
    let (tell, told) = mpsc::channel();
    let told_them = move || {
        let managers =
            MANAGERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner).clone();
        for manager in managers.iter().filter_map(Weak::upgrade) {
            manager.tell_at_exit();
            // If everybody else has let go of it, its end would run code of users.
            mem::forget(manager);
        }
        // An error means that nobody waited for so long.
        let _ = tell.send(());
    };
    thread::Builder::new().name("workfleet-exit".into()).spawn(told_them).is_ok()
        && told.recv_timeout(LIMIT).is_ok()
}

impl Shared {
    fn tell_at_exit(&self) {
        if self.closing.has_ended() {
            // The report, if nobody has got it, says more.
            self.leave_alone();
            return;
        }
        let books = self.books();
        let tasks = books.pending() + books.returned + self.closing.cut_short(books.cancelled);
        let unread = self.inbox.len();
        if (tasks > 0 || unread > 0) && self.closing.is_to_be_said() {
            workfleet_notice::warn!(tasks, unread, "the program ends, and {NOT_CLOSED}");
        }
    }
}
