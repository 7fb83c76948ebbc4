//! Real forks.

use workfleet_fork::Home;

/// Forks; the child ends with what `then` returns. Returns its exit code.
fn in_a_fork(then: impl FnOnce() -> i32) -> i32 {
    let mut status = 0;
    // SAFETY: the child has one thread, and takes no lock that another thread may have held: it compares numbers, and forks
    // again. `waitpid` gets a pointer to a number that outlives the call.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(then()),
            child => assert_eq!(libc::waitpid(child, &raw mut status, 0), child),
        }
    }
    assert!(libc::WIFEXITED(status), "{status}");
    libc::WEXITSTATUS(status)
}

#[test]
fn a_fork_and_a_fork_of_it_are_other_homes_and_have_their_own() {
    let home = Home::here();
    assert!(home.is_here());
    let code = in_a_fork(|| {
        let own = Home::here();
        let in_its_fork = in_a_fork(|| i32::from(home.is_here() || own.is_here() || !Home::here().is_here()));
        i32::from(home.is_here() || !own.is_here() || own == home) + 2 * in_its_fork
    });
    assert_eq!(code, 0);
    assert!(home.is_here() && home == Home::here());
}
