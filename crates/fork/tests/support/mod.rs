//! Real forks, for the tests of each crate that has to notice them.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does this in a fork, which is killed if it hangs, and fails if that does.
pub(crate) fn in_a_fork(then: impl FnOnce()) {
    let mut status = 0;
    // SAFETY: the child has one thread, and what it calls takes no lock that another thread may have held, which is what is
    // tested; glibc sees to its own. `waitpid` gets a pointer to a number that outlives the call.
    unsafe {
        match libc::fork() {
            0 => {
                libc::alarm(60);
                libc::_exit(i32::from(catch_unwind(AssertUnwindSafe(then)).is_err()));
            }
            child => assert_eq!(libc::waitpid(child, &raw mut status, 0), child),
        }
    }
    assert_eq!(status, 0, "exit code 0 and no signal");
}
