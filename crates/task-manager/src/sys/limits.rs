//! The limits of this process, for a system that may refuse to tell them: what it does not tell counts as unlimited.

use std::mem::MaybeUninit;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The length of a file, in bytes.
    FileLen,
    /// How many descriptors may be open.
    Descriptors,
}

/// What holds now. `None`: no limit.
pub(crate) fn current(limit: Limit) -> Option<u64> {
    let found = get(limit)?.rlim_cur;
    #[expect(clippy::useless_conversion, reason = "where a pointer has 32 bits, a limit has as many")]
    (found != libc::RLIM_INFINITY).then(|| found.into())
}

/// Lets this process open as many descriptors as it may allow itself.
pub(crate) fn raise_descriptors() {
    if let Some(mut limit) = get(Limit::Descriptors) {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the limit outlives the call. An error leaves what held before.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

fn get(limit: Limit) -> Option<libc::rlimit> {
    let resource = match limit {
        Limit::FileLen => libc::RLIMIT_FSIZE,
        Limit::Descriptors => libc::RLIMIT_NOFILE,
    };
    let mut found = MaybeUninit::uninit();
    // SAFETY: there is room for a limit, which the call fills unless it fails.
    unsafe { (libc::getrlimit(resource, found.as_mut_ptr()) == 0).then(|| found.assume_init()) }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    use super::*;

    #[test]
    fn are_what_the_system_says() {
        assert_eq!(current(Limit::Descriptors), getrlimit(Resource::Nofile).current);
        assert_eq!(current(Limit::FileLen), getrlimit(Resource::Fsize).current);
    }
}
