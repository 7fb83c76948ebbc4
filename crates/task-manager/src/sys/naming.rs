//! Errors of the system that name the call or the file: the system's own text says neither.
//!
//! Invariant: an error that was named has the kind, and by [`errno_of`] the number, of the one that the system gave.

use std::{borrow::Cow, io};

use rustix::io::Errno;

/// What the system refused, and why. The reason is part of the text, and so no source: many who show an error show no source, and
/// nobody shows the reason twice.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
struct Named {
    what: Cow<'static, str>,
    reason: io::Error,
}

/// Names what failed.
pub(crate) trait Naming<T> {
    /// `what` is a system call, or what is done to which file; where a user can do something about it, also what.
    fn naming(self, what: impl Into<Cow<'static, str>>) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Naming<T> for Result<T, E> {
    fn naming(self, what: impl Into<Cow<'static, str>>) -> io::Result<T> {
        self.map_err(|error| {
            let reason = error.into();
            io::Error::new(reason.kind(), Named { what: what.into(), reason })
        })
    }
}

/// The system's number of an error, also of one that was named.
pub(crate) fn errno_of(error: &io::Error) -> Option<Errno> {
    let mut error = error;
    while let Some(named) = error.get_ref().and_then(|inner| inner.downcast_ref::<Named>()) {
        error = &named.reason;
    }
    Errno::from_io_error(error)
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;
    use workfleet_causes::chain;

    #[test]
    fn a_named_error_keeps_what_the_system_said() {
        let refused = || Err::<(), _>(Errno::MFILE);
        let plain = io::Error::from(Errno::MFILE);
        let named = refused().naming("pidfd_open").expect_err("it was refused");
        assert_eq!((named.kind(), errno_of(&named)), (plain.kind(), Some(Errno::MFILE)));
        assert_eq!(chain(&named), [format!("pidfd_open: {plain}")]);
        let twice = refused().naming("pidfd_open").naming("a start").expect_err("it was refused");
        assert_eq!(errno_of(&twice), Some(Errno::MFILE));
        assert_eq!(chain(&twice), [format!("a start: pidfd_open: {plain}")]);
    }
}
