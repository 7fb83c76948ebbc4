//! The floor for digesting files: threads that do nothing else.
//!
//! The list of files is known beforehand and sorted by falling size, so that no thread is left alone with a
//! big file at the end; no directory is walked, no process started, nothing written.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::tree::TreeFile;

const BUFFER_LEN_BYTES: usize = 256 * 1024;

/// How long `threads` threads need to digest the files.
pub(crate) fn digest_all(files: &[TreeFile], threads: usize) -> Result<Duration, Error> {
    let mut by_size: Vec<&TreeFile> = files.iter().collect();
    by_size.sort_by_key(|file| std::cmp::Reverse(file.len_bytes));
    // Hands out each index once and orders nothing else.
    let next = AtomicUsize::new(0);
    let digest_some = || {
        let mut buffer = vec![0; BUFFER_LEN_BYTES];
        while let Some(file) = by_size.get(next.fetch_add(1, Ordering::Relaxed)) {
            black_box(digest(&file.path, &mut buffer)?);
        }
        Ok(())
    };
    let started = Instant::now();
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(digest_some)).collect();
        running.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::Wrong("a digesting thread panicked".to_owned())))
        })
    })?;
    Ok(started.elapsed())
}

fn digest(path: &Path, buffer: &mut [u8]) -> Result<[u8; 32], Error> {
    let reading = || format!("read {}", path.display());
    let mut file = File::open(path).map_err(Error::io(reading()))?;
    let mut hasher = Sha256::new();
    loop {
        match file.read(buffer).map_err(Error::io(reading()))? {
            0 => return Ok(hasher.finalize().into()),
            len => hasher.update(&buffer[..len]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_published_one() -> Result<(), Error> {
        let mut file = tempfile::NamedTempFile::new().map_err(Error::io("make a file"))?;
        std::io::Write::write_all(&mut file, b"abc").map_err(Error::io("write a file"))?;
        // FIPS 180-2, appendix B.1; a buffer shorter than the file.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = digest(file.path(), &mut [0; 2])?;
        assert_eq!(digest.map(|byte| format!("{byte:02x}")).concat(), expected);
        Ok(())
    }
}
