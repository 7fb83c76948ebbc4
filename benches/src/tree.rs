//! The tree of files that M1 digests: made from a fixed seed, warm, and gone when dropped.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Error;
use crate::interrupt;

const SEED: u64 = 0x5eed_f1ee_7000_0001;
const SMALL_FILES: usize = 20_000;
const FILES_PER_DIRECTORY: usize = 64;
const DIRECTORIES_PER_PARENT: usize = 16;
/// Small files have 0 to this many bytes, log-uniformly: as many of 1–2 KiB as of 32–64 KiB.
const SMALL_MAX_BYTES: f64 = 64.0 * KIB;
/// Big files have this many bytes, log-uniformly too, until the tree reaches its size.
const BIG_MIN_BYTES: f64 = 8.0 * KIB * KIB;
const BIG_MAX_BYTES: f64 = 64.0 * KIB * KIB;
const TREE_LEN_BYTES: u64 = 1 << 30;
const KIB: f64 = 1024.0;

/// A tree of files in a temporary directory of its own, with room beside it.
#[derive(Debug)]
pub(crate) struct Tree {
    directory: TempDir,
    root: PathBuf,
    files: Vec<TreeFile>,
    len_bytes: u64,
}

/// A file of the tree.
#[derive(Debug)]
pub(crate) struct TreeFile {
    pub(crate) path: PathBuf,
    pub(crate) len_bytes: u64,
}

impl Tree {
    /// Writes the tree, waits until the disk has it, so that writing back disturbs no measurement, and reads
    /// it once, so that it is warm.
    pub(crate) fn make() -> Result<Tree, Error> {
        let directory = tempfile::Builder::new()
            .prefix("workfleet-bench-")
            .tempdir()
            .map_err(Error::io("make a temporary directory"))?;
        let root = directory.path().join("tree");
        let mut tree = Tree { directory, root, files: Vec::new(), len_bytes: 0 };
        let mut random = Random(SEED);
        let mut buffer = vec![0; BIG_MAX_BYTES as usize];
        for number in 0..SMALL_FILES {
            let parent = tree.directory_of(number);
            let len = random.log_uniform(1.0, SMALL_MAX_BYTES + 1.0) - 1;
            tree.add(&parent, &format!("small-{number:05}"), &mut buffer[..len], &mut random)?;
        }
        // Big files stand among the small ones, as they do in life: whoever takes files in the order of
        // the directories, so many at a time, must not get all the big ones at once.
        while tree.len_bytes < TREE_LEN_BYTES {
            let number = tree.files.len() - SMALL_FILES;
            let parent = tree.directory_of(random.below(SMALL_FILES));
            let len = random.log_uniform(BIG_MIN_BYTES, BIG_MAX_BYTES);
            tree.add(&parent, &format!("big-{number:02}"), &mut buffer[..len], &mut random)?;
        }
        let root = File::open(&tree.root).map_err(Error::io("open the tree"))?;
        rustix::fs::syncfs(&root).map_err(Error::io("wait for the disk"))?;
        for file in &tree.files {
            interrupt::check()?;
            fs::read(&file.path).map_err(Error::io("read the tree"))?;
        }
        Ok(tree)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn files(&self) -> &[TreeFile] {
        &self.files
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// A path for a file that is not in the tree and goes with it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where a small file belongs, and a big one beside it.
    fn directory_of(&self, small_file: usize) -> PathBuf {
        let group = small_file / FILES_PER_DIRECTORY;
        self.root.join(format!("d{:03}/d{group:04}", group / DIRECTORIES_PER_PARENT))
    }

    fn add(
        &mut self,
        parent: &Path,
        name: &str,
        content: &mut [u8],
        random: &mut Random,
    ) -> Result<(), Error> {
        interrupt::check()?;
        random.fill(content);
        fs::create_dir_all(parent).map_err(Error::io("make a directory"))?;
        let path = parent.join(name);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(content));
        written.map_err(Error::io(format!("write {}", path.display())))?;
        let len_bytes = content.len() as u64;
        self.len_bytes += len_bytes;
        self.files.push(TreeFile { path, len_bytes });
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `bound`; the bias of a remainder does not matter here.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A whole number from `low` to `high`, its logarithm uniform.
    fn log_uniform(&mut self, low: f64, high: f64) -> usize {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        (low * (high / low).powf(unit)) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_in_range_and_spread_over_magnitudes() {
        let mut random = Random(SEED);
        let lens: Vec<usize> =
            (0..10_000).map(|_| random.log_uniform(1.0, SMALL_MAX_BYTES + 1.0) - 1).collect();
        assert!(lens.iter().all(|len| *len <= SMALL_MAX_BYTES as usize));
        // Half of 16 doublings lie under 256 bytes.
        let tiny = lens.iter().filter(|len| **len < 255).count();
        assert!((4_700..5_300).contains(&tiny), "{tiny}");
    }

    #[test]
    fn one_seed_gives_the_published_sequence() {
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }
}
