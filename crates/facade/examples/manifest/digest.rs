//! The task: digests files.
//!
//! Invariants:
//! - A task yields one result for each of its files, in their order. What is wrong with a file is that file's result
//!   and fails no task.
//! - A file is waited for only while somebody has a lease on it, which the system bounds. What has become a FIFO since it
//!   was found is opened without waiting for a writer, and refused.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use workfleet::prelude::*;

use crate::name::{FileName, reason};

/// How much is read at once: the digest then finds it in the processor's cache.
const READ_LEN_BYTES: usize = 256 << 10;

/// A person sees no more than this often that a bar has moved.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// A SHA-256 digest.
pub(crate) type Sum = [u8; 32];

/// For each file of a task its digest, or why it has none.
pub(crate) type Results = Vec<Result<Sum, String>>;

/// Digests files.
#[derive(Serialize, Deserialize)]
pub(crate) struct Digest {
    files: Vec<FileName>,
}

/// How far an attempt at a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) files: u64,
    pub(crate) len_bytes: u64,
}

/// What the workers can do, and what each of them keeps.
pub(crate) fn registry() -> Registry {
    Registry::new().task::<Digest>().session(|| Ok(ReadBuffer(Mutex::new(vec![0; READ_LEN_BYTES]))))
}

/// A worker's buffer, made once.
struct ReadBuffer(Mutex<Vec<u8>>);

impl Digest {
    pub(crate) fn new(files: Vec<FileName>) -> Self {
        Self { files }
    }
}

/// As it stands in failures, where the names of all files would be too much.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.files {
            [] => f.write_str("digest nothing"),
            [file] => write!(f, "digest {file}"),
            [first, rest @ ..] => write!(f, "digest {first} and {} more", rest.len()),
        }
    }
}

impl TaskSpec for Digest {
    const NAME: &'static str = "digest";
    type Output = Results;
}

impl TaskMessage for Progress {
    const NAME: &'static str = "progress";
}

impl Task for Digest {
    fn run(self, cx: &TaskContext) -> Result<Results, TaskError> {
        let ReadBuffer(buffer) = cx.session()?;
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reporter = Reporter { cx, progress: Progress::default(), reported: Instant::now() };
        let mut results = Vec::with_capacity(self.files.len());
        for file in &self.files {
            results.push(digest(file, &mut buffer, |len_bytes| reporter.add(0, len_bytes))?);
            reporter.add(1, 0)?;
        }
        reporter.send()?;
        Ok(results)
    }
}

/// Sends progress now and then, and notices when the task should stop.
struct Reporter<'a> {
    cx: &'a TaskContext,
    progress: Progress,
    reported: Instant,
}

impl Reporter<'_> {
    fn add(&mut self, files: u64, len_bytes: u64) -> Result<(), TaskError> {
        self.cx.check_cancelled()?;
        self.progress.files += files;
        self.progress.len_bytes += len_bytes;
        if self.reported.elapsed() >= PROGRESS_INTERVAL { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), TaskError> {
        self.reported = Instant::now();
        Ok(self.cx.send_message(&self.progress)?)
    }
}

/// Digests a file, and calls `after_read` with how much each read got. The outer error is `after_read`'s.
fn digest<E>(
    name: &FileName,
    buffer: &mut [u8],
    mut after_read: impl FnMut(u64) -> Result<(), E>,
) -> Result<Result<Sum, String>, E> {
    let (mut file, file_len_bytes) = match open(name) {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(reason(&error))),
    };
    let mut hasher = Sha256::new();
    let mut read_bytes = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(Ok(hasher.finalize().into())),
            Ok(len) => {
                hasher.update(&buffer[..len]);
                after_read(len as u64)?;
                read_bytes += len as u64;
                // Nothing can follow: to read a small file takes one call rather than two. The length alone would not
                // do, since some file systems make it up.
                if len < buffer.len() && read_bytes == file_len_bytes {
                    return Ok(Ok(hasher.finalize().into()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(reason(&error))),
        }
    }
}

/// Opens a regular file, and returns its length as well.
fn open(name: &FileName) -> io::Result<(File, u64)> {
    // Without waiting: a FIFO in the file's place may never be written to.
    let file = match open_with(OFlags::NONBLOCK, name.as_path()) {
        // Somebody has a lease on it (a file server does that for its clients), and was asked just now to give it up.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => open_leased(name.as_path())?,
        opened => opened?,
    };
    let len_bytes = regular_len(&file)?;
    Ok((file, len_bytes))
}

fn open_with(flags: OFlags, path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Waits until the lease is given up, or the system takes it away. That file and no other is waited for, whatever comes
/// into its place.
#[cfg(target_os = "linux")]
fn open_leased(path: &Path) -> io::Result<File> {
    let place = open_with(OFlags::PATH, path)?;
    regular_len(&place)?;
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn open_leased(path: &Path) -> io::Result<File> {
    File::open(path)
}

fn regular_len(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok(metadata.len()),
        false => Err(io::Error::other("not a regular file any more")),
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, fs, io::Write, path::Path};

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::tempdir;

    use super::*;

    fn digest_at(path: &Path) -> Result<Sum, String> {
        let name = FileName::from(path.to_owned());
        let Ok(result) = digest(&name, &mut [0; 2], |_| Ok::<(), Infallible>(()));
        result
    }

    #[test]
    fn the_digest_is_the_published_one() {
        let directory = tempdir().expect("a directory");
        let path = directory.path().join("abc");
        fs::write(&path, "abc").expect("a file");
        let hex: String =
            digest_at(&path).expect("it is read").iter().map(|byte| format!("{byte:02x}")).collect();
        // FIPS 180-4's example; the buffer is shorter than the file.
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_file_any_more_has_a_reason() {
        let directory = tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        for (path, expected) in [
            (directory.path(), "not a regular file any more"),
            (&fifo, "not a regular file any more"),
            (&directory.path().join("gone"), "No such file or directory"),
        ] {
            assert_eq!(digest_at(path), Err(expected.to_owned()));
        }
    }

    /// What is read of a file that is 4 bytes long at first, when this is done to it after the first 2.
    fn digest_of_one_that(changes: impl Fn(&Path)) -> Sum {
        let directory = tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "abcd").expect("a file");
        let mut is_first = true;
        let result = digest(&FileName::from(path.clone()), &mut [0; 2], |_| {
            if std::mem::take(&mut is_first) {
                changes(&path);
            }
            Ok::<(), Infallible>(())
        });
        let Ok(sum) = result;
        sum.expect("it is read")
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_to_where_it_ends() {
        let expected = |content: &str| Sum::from(Sha256::digest(content));
        let append = |path: &Path| {
            let mut file = File::options().append(true).open(path).expect("it is there");
            file.write_all(b"efg").expect("it is written");
        };
        let shorten = |path: &Path, len_bytes| {
            let file = File::options().write(true).open(path).expect("it is there");
            file.set_len(len_bytes).expect("it is ours");
        };
        assert_eq!(digest_of_one_that(append), expected("abcdefg"));
        assert_eq!(digest_of_one_that(|path| shorten(path, 3)), expected("abc"));
        assert_eq!(digest_of_one_that(|path| shorten(path, 0)), expected("ab"));
        // What was opened is read, whatever becomes of its name.
        assert_eq!(digest_of_one_that(|path| fs::remove_file(path).expect("it is there")), expected("abcd"));
        assert_eq!(
            digest_of_one_that(|path| {
                fs::rename(path, path.with_extension("old")).expect("it is there");
                fs::write(path, "another").expect("a file");
            }),
            expected("abcd")
        );
    }

    #[test]
    fn a_failure_names_a_task_shortly() {
        let names = |count: usize| {
            (0..count).map(|n| FileName::from(Path::new(&format!("f{n}")).to_owned())).collect()
        };
        assert_eq!(format!("{:?}", Digest::new(names(1))), "digest f0");
        assert_eq!(format!("{:?}", Digest::new(names(64))), "digest f0 and 63 more");
    }
}
