//! How files become tasks: a small one joins others, a large one has a task of its own.
//!
//! Invariants:
//! - Every file that is pushed comes out in exactly one batch, and a batch is never empty.
//! - No batch but one of a single file has more than [`BATCH_LIMIT_BYTES`].

use workfleet::prelude::Priority;

use crate::{name::FileName, walk::Found};

/// A file of more than this is digested alone and first: begun last, it would keep one worker busy when all others
/// are done.
pub(crate) const LARGE_BYTES: u64 = 8 << 20;

/// A task of this many bytes takes a few milliseconds: much longer than handing it over does, and little to do again if
/// its worker dies, or to wait for when all other workers are done.
const BATCH_LIMIT_BYTES: u64 = 4 << 20;

/// The same for files so small that opening them is what takes time.
const BATCH_LIMIT_FILES: usize = 256;

/// Files for one task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) files: Vec<FileName>,
    pub(crate) len_bytes: u64,
    pub(crate) priority: Priority,
}

/// Gathers small files until they are worth a task.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    files: Vec<FileName>,
    len_bytes: u64,
}

impl Batcher {
    /// Adds a file, and returns a batch if one is complete.
    pub(crate) fn push(&mut self, file: Found) -> Option<Batch> {
        let Found { name, len_bytes } = file;
        if len_bytes > LARGE_BYTES {
            return Some(Batch { files: vec![name], len_bytes, priority: Priority(0) });
        }
        let is_full = self.files.len() == BATCH_LIMIT_FILES || self.len_bytes + len_bytes > BATCH_LIMIT_BYTES;
        let complete = if is_full { self.take() } else { None };
        self.files.push(name);
        self.len_bytes += len_bytes;
        complete
    }

    /// The batch of the files that are left, if there are any.
    pub(crate) fn finish(mut self) -> Option<Batch> {
        self.take()
    }

    fn take(&mut self) -> Option<Batch> {
        let Self { files, len_bytes } = std::mem::take(self);
        (!files.is_empty()).then_some(Batch { files, len_bytes, priority: Priority(1) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The sizes of the files of each batch that files of these sizes make, and its priority.
    fn batches(sizes: &[u64]) -> Vec<(Vec<u64>, u8)> {
        let mut batcher = Batcher::default();
        let mut batches = Vec::new();
        for (number, &len_bytes) in sizes.iter().enumerate() {
            let name = FileName::from(PathBuf::from(number.to_string()));
            batches.extend(batcher.push(Found { name, len_bytes }));
        }
        batches.extend(batcher.finish());
        let size = |name: &FileName| sizes[name.to_string().parse::<usize>().expect("a number")];
        batches
            .into_iter()
            .map(|batch| {
                let files: Vec<u64> = batch.files.iter().map(size).collect();
                assert_eq!(files.iter().sum::<u64>(), batch.len_bytes);
                (files, batch.priority.0)
            })
            .collect()
    }

    #[test]
    fn nothing_makes_nothing() {
        assert_eq!(batches(&[]), []);
    }

    #[test]
    fn small_files_share_a_batch_up_to_its_count() {
        let sizes = [0; 2 * BATCH_LIMIT_FILES + 1];
        let (full, rest) = (vec![0; BATCH_LIMIT_FILES], vec![0]);
        assert_eq!(batches(&sizes), [(full.clone(), 1), (full, 1), (rest, 1)]);
    }

    #[test]
    fn small_files_share_a_batch_up_to_its_size() {
        let half = BATCH_LIMIT_BYTES / 2;
        assert_eq!(batches(&[half, half, 1]), [(vec![half, half], 1), (vec![1], 1)]);
        assert_eq!(batches(&[half, half + 1, 1]), [(vec![half], 1), (vec![half + 1, 1], 1)]);
    }

    #[test]
    fn a_file_beyond_a_batch_is_one() {
        let big = BATCH_LIMIT_BYTES + 1;
        assert_eq!(batches(&[1, big, 2]), [(vec![1], 1), (vec![big], 1), (vec![2], 1)]);
    }

    #[test]
    fn a_large_file_goes_ahead_alone() {
        let large = LARGE_BYTES + 1;
        assert_eq!(batches(&[1, large, 2]), [(vec![large], 0), (vec![1, 2], 1)]);
        assert_eq!(batches(&[LARGE_BYTES]), [(vec![LARGE_BYTES], 1)]);
    }
}
