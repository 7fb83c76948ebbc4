//! Files without a name, to share memory and data with a worker.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use rustix::fs::{fstat, ftruncate};

use super::{
    limits::{self, Limit},
    naming::Naming,
};

/// A file of this length, full of zeros, that stays that long.
pub(crate) fn of_len(name: &str, len_bytes: u64) -> io::Result<OwnedFd> {
    // The system would answer by a signal that ends the process.
    if let Some(limit_bytes) = limits::current(Limit::FileLen).filter(|limit| *limit < len_bytes) {
        let reason = format!(
            "a file of {len_bytes} bytes exceeds the process's limit of {limit_bytes} (RLIMIT_FSIZE)"
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    let file = system::create(name)?;
    ftruncate(&file, len_bytes).naming("ftruncate of a file in memory")?;
    system::fix_len(&file)?;
    Ok(file)
}

/// A file with these bytes, which nobody can change any more.
pub(crate) fn holding(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = File::from(of_len(name, bytes.len() as u64)?);
    file.write_all_at(bytes, 0).naming("writing a file in memory")?;
    let file = OwnedFd::from(file);
    system::fix_content(&file)?;
    Ok(file)
}

/// What such a file holds.
pub(crate) fn content(file: OwnedFd) -> io::Result<Vec<u8>> {
    let len_bytes = fstat(&file).naming("fstat of a file in memory")?.st_size;
    let mut bytes = vec![0; usize::try_from(len_bytes).map_err(io::Error::other)?];
    File::from(file).read_exact_at(&mut bytes, 0).naming("reading a file in memory")?;
    Ok(bytes)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use super::{AsFd, Naming, OwnedFd, io};
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    /// Why the call is needed: there is no way around it.
    const CREATE: &str = "memfd_create (a manager shares memory with its workers)";
    const SEAL: &str = "fcntl(F_ADD_SEALS) of a file in memory";

    pub(super) fn create(name: &str) -> io::Result<OwnedFd> {
        memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).naming(CREATE)
    }

    pub(super) fn fix_len(file: impl AsFd) -> io::Result<()> {
        fcntl_add_seals(file, SealFlags::SHRINK | SealFlags::GROW).naming(SEAL)
    }

    pub(super) fn fix_content(file: impl AsFd) -> io::Result<()> {
        fcntl_add_seals(file, SealFlags::WRITE | SealFlags::SEAL).naming(SEAL)
    }
}

/// Where there are no anonymous files: one that is unlinked at once. It cannot be sealed; a worker that changes it could only
/// harm the manager that trusts it with its own code.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{AsFd, Naming, OwnedFd, io};

    pub(super) fn create(name: &str) -> io::Result<OwnedFd> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("{name}-{}-{count}", std::process::id()));
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.naming(format!("making {}", path.display()))?;
        std::fs::remove_file(&path).naming(format!("removing {}", path.display()))?;
        Ok(file.into())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it fails where there are seals")]
    pub(super) fn fix_len(_file: impl AsFd) -> io::Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it fails where there are seals")]
    pub(super) fn fix_content(_file: impl AsFd) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_holds_is_read_and_cannot_be_changed() {
        let file = holding("workfleet-test", b"a value").expect("a file");
        assert!(File::from(file.try_clone().expect("a copy")).write_all_at(b"other", 0).is_err());
        assert_eq!(content(file).expect("it is read"), b"a value");
        assert_eq!(content(holding("workfleet-test", b"").expect("a file")).expect("it is read"), b"");
    }
}
