//! The status page, in which a worker publishes the attempts that it runs, for its manager to read after its death.
//!
//! Invariants:
//! - The manager makes the page and fixes its size, so that no worker can make reading it fail.
//! - Publishing is one atomic store (release), reading one load (acquire) a place: neither ever waits for the other.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{memory_file, naming::Naming};

/// Enough for what is published, and what every supported system maps at least.
const LEN_BYTES: usize = 4096;

/// How many attempts that share a thread a worker can publish.
pub(crate) const SHARED_PLACES: usize = 256;
/// How many attempts a worker can publish: one in each place, and one of them has the thread to itself.
const PLACES: usize = 1 + SHARED_PLACES;
const _: () = assert!(PLACES * size_of::<AtomicU64>() <= LEN_BYTES);

/// The status page, mapped.
#[derive(Debug)]
pub(crate) struct StatusPage {
    base: NonNull<[AtomicU64; PLACES]>,
}

// SAFETY: the mapping is shared memory that is only accessed through an atomic, and it is unmapped only on drop.
unsafe impl Send for StatusPage {}
// SAFETY: as above.
unsafe impl Sync for StatusPage {}

impl StatusPage {
    /// A new page, with a descriptor that another process can map it from.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let file = memory_file::of_len("workfleet-page", LEN_BYTES as u64)?;
        Ok((Self::map(&file)?, file))
    }

    /// Maps a page that another process made.
    pub(crate) fn map(file: impl AsFd) -> io::Result<Self> {
        let len_bytes = rustix::fs::fstat(&file).naming("fstat of the status page")?.st_size;
        if len_bytes != LEN_BYTES as i64 {
            let reason = format!("the status page has {len_bytes} bytes, not {LEN_BYTES}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        // SAFETY: a fresh mapping at an address that the kernel chooses overlaps nothing of this process.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                LEN_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        };
        let base = base.naming("mmap of the status page")?;
        let base =
            NonNull::new(base.cast()).ok_or_else(|| io::Error::other("the page was mapped at null"))?;
        Ok(Self { base })
    }

    /// Worker: `lease` is what runs in this place from now on. It stays published after its end, until the next
    /// begins there: a death in between is charged to it unless its result was received.
    ///
    /// # Panics
    /// If `place` is beyond [`SHARED_PLACES`].
    pub(crate) fn publish(&self, place: usize, lease: u64) {
        self.places()[place].store(lease, Ordering::Release);
    }

    /// Manager: the last lease that was published in each place where any was.
    pub(crate) fn read(&self) -> Vec<u64> {
        let leases = self.places().iter().map(|place| place.load(Ordering::Acquire));
        leases.filter(|&lease| lease != 0).collect()
    }

    fn places(&self) -> &[AtomicU64; PLACES] {
        // SAFETY: the mapping is at least as large and as aligned as the atomics, lives as long as `self`, and every
        // process accesses them atomically.
        unsafe { self.base.as_ref() }
    }
}

impl Drop for StatusPage {
    fn drop(&mut self) {
        // SAFETY: `base` is what mmap returned for LEN_BYTES, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), LEN_BYTES) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_publishes_the_other_reads() {
        let (manager, file) = StatusPage::create().expect("a page");
        let worker = StatusPage::map(&file).expect("a second mapping");
        assert!(manager.read().is_empty());
        worker.publish(PLACES - 1, u64::MAX);
        worker.publish(0, 7);
        assert_eq!(manager.read(), [7, u64::MAX]);
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1).expect("a length");
        assert_eq!(StatusPage::map(&file).expect_err("too small").kind(), io::ErrorKind::InvalidData);
    }
}
