//! Whether a descriptor is still what it was: a task runs in its worker's process, and may close or replace any. And one that
//! stands for nothing.

use std::{fs::File, io, os::fd::AsFd};

use rustix::fs::fstat;

use super::{
    limits::{self, Limit},
    naming::Naming,
};

/// What stands behind a descriptor, whatever its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(descriptor: impl AsFd) -> io::Result<Self> {
        let stat = fstat(descriptor)?;
        // The types of both differ from system to system, and so does what they are converted from.
        Ok(Self { device: stat.st_dev as u64, inode: stat.st_ino as u64 })
    }

    /// Whether the descriptor is open and leads where it did.
    pub(crate) fn is_of(self, descriptor: impl AsFd) -> bool {
        Self::of(descriptor).is_ok_and(|found| found == self)
    }
}

/// What takes whatever is written, and holds nothing to be read.
pub(crate) fn null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null").naming("opening /dev/null")
}

/// Whether the system lets this process poll so many descriptors at once: not more than it may have open.
pub(crate) fn may_poll(descriptors: u64) -> bool {
    limits::current(Limit::Descriptors).is_none_or(|limit| descriptors <= limit)
}
