//! The standard output of a worker process that is a test binary: its harness prints before the entry is reached.
//!
//! Invariant: what the process prints as a worker, and nothing before, goes where a worker's output goes. Until then its standard
//! output is `/dev/null`; the real one comes with the first frame.

use std::{
    io::{self, PipeReader},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{io::fcntl_dupfd_cloexec, stdio};

use crate::sys::{descriptor, naming::Naming};

/// Where the output goes from the first frame on.
#[derive(Debug)]
pub(super) struct HeldStdout {
    theirs: OwnedFd,
    /// Our end, if it is piped.
    ours: Option<PipeReader>,
}

impl HeldStdout {
    /// Piped, or to where this process prints.
    pub(super) fn new(is_piped: bool) -> io::Result<Self> {
        if is_piped {
            let (ours, theirs) = io::pipe().naming("pipe")?;
            return Ok(Self { theirs: theirs.into(), ours: Some(ours) });
        }
        // A lowest number at the limit of descriptors would be an invalid argument, and not a shortage that may pass.
        let theirs = match fcntl_dupfd_cloexec(stdio::stdout(), 0) {
            Ok(theirs) => theirs,
            // This program has closed it: nothing is printed anywhere.
            Err(rustix::io::Errno::BADF) => descriptor::null()?.into(),
            Err(error) => return Err(error).naming("fcntl(F_DUPFD_CLOEXEC) of standard output"),
        };
        Ok(Self { theirs, ours: None })
    }

    /// What the worker is sent.
    pub(super) fn theirs(&self) -> BorrowedFd<'_> {
        self.theirs.as_fd()
    }

    /// Our end, when the worker has been sent its own: which then is nobody else's.
    pub(super) fn into_ours(self) -> Option<OwnedFd> {
        self.ours.map(OwnedFd::from)
    }
}
