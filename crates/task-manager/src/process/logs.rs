//! What workers print: read without delay, kept as last words, and written where it belongs.
//!
//! Reading happens on the manager's thread, writing on a thread of its own: a terminal that nobody reads, or a disk
//! that hangs, holds up the workers that print, as it would if they wrote themselves, and nobody else.
//!
//! Invariants:
//! - A worker's last words are there as soon as they were read, whatever becomes of writing them.
//! - At most [`QUEUE_CHUNKS`] chunks of [`CHUNK_BYTES`] wait to be written.
//! - No worker waits for its log to start: the thread that writes opens it, and does so again when it is gone.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc::RecvTimeoutError},
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::pool::{spawn_patiently, worker_name};

/// How much of a worker's standard error is kept for its death certificate.
const TAIL_BYTES: usize = 4096;
const CHUNK_BYTES: usize = 16 * 1024;
const QUEUE_CHUNKS: usize = 64;
/// The most that a pipe holds, without special rights.
const LARGEST_PIPE_BYTES: usize = 1024 * 1024;
/// How long a death waits for the last words to be read, which are in the pipe already.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(200);

/// Where chunks of output go.
#[derive(Clone)]
pub(super) struct Logs {
    /// One for each seat, or none at all.
    files: Option<Arc<[Arc<Mutex<LogFile>>]>>,
    queue: mpsc::Sender<Chunk>,
}

struct Chunk {
    target: Target,
    printed: Printed,
}

enum Printed {
    /// Nothing yet: the log should be there.
    Begin,
    Bytes(Vec<u8>),
    /// The end of a pipe.
    End,
}

/// Where a worker's output goes.
#[derive(Clone)]
pub(super) enum Target {
    StandardError,
    File {
        file: Arc<Mutex<LogFile>>,
        /// The line of this worker that has not ended yet.
        line: Arc<Mutex<Vec<u8>>>,
    },
}

/// The log of a seat: of one worker after the other.
pub(super) struct LogFile {
    directory: PathBuf,
    path: PathBuf,
    file: Option<File>,
    /// What could not be written since it last could; none while all goes well.
    lost: Option<Lost>,
}

#[derive(Clone, Copy, Default)]
struct Lost {
    lines: u64,
    /// The last that was written is no whole line.
    torn: bool,
}

/// The pipes of one worker.
pub(super) struct Taps {
    tail: Arc<Mutex<VecDeque<u8>>>,
    readers: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// The thread that writes; it ends when every [`Logs`] is gone.
pub(super) struct Writer {
    ended: std::sync::mpsc::Receiver<()>,
}

impl Logs {
    /// Starts the thread, patiently until `deadline`.
    pub(super) fn start(
        deadline: Instant,
        directory: Option<PathBuf>,
        seats: usize,
    ) -> io::Result<(Self, Writer)> {
        let (queue, mut chunks) = mpsc::channel::<Chunk>(QUEUE_CHUNKS);
        let (end, ended) = std::sync::mpsc::channel();
        let files: Option<Arc<[_]>> = directory.map(|directory| {
            let file = |seat| {
                let path = directory.join(format!("{}.log", worker_name(seat)));
                Arc::new(Mutex::new(LogFile { directory: directory.clone(), path, file: None, lost: None }))
            };
            (0..seats).map(file).collect()
        });
        let all = files.clone();
        spawn_patiently(deadline, "workfleet-log", move || {
            while let Some(chunk) = chunks.blocking_recv() {
                write(&chunk);
            }
            for file in all.iter().flat_map(|files| files.iter()) {
                file.lock().unwrap_or_else(PoisonError::into_inner).report_the_lost();
            }
            // An error means that nobody waited for so long.
            let _ = end.send(());
        })?;
        Ok((Self { files, queue }, Writer { ended }))
    }

    /// Whether a worker's standard output is to be piped too.
    pub(super) fn takes_stdout(&self) -> bool {
        self.files.is_some()
    }

    /// Where the next worker on `seat` prints. Its log is opened without anybody waiting for that.
    pub(super) fn of(&self, seat: usize) -> Target {
        let Some(files) = &self.files else { return Target::StandardError };
        let target = Target::File { file: Arc::clone(&files[seat]), line: Arc::default() };
        // An error means that the queue is full: then the first line opens it, as it would without this.
        let _ = self.queue.try_send(Chunk { target: target.clone(), printed: Printed::Begin });
        target
    }

    /// Starts to read a worker's pipes.
    pub(super) fn tap(
        &self,
        target: &Target,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    ) -> io::Result<Taps> {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = Vec::new();
        let pipes = [(stdout, None), (stderr, Some(Arc::clone(&tail)))];
        for (pipe, tail) in pipes.into_iter().filter_map(|(pipe, tail)| Some((pipe?, tail))) {
            let (stop, rest) = oneshot::channel();
            let pipe = pipe::Receiver::from_owned_fd(pipe)?;
            let reader = drain(pipe, tail, target.clone(), self.queue.clone(), rest);
            readers.push((stop, tokio::spawn(reader)));
        }
        Ok(Taps { tail, readers })
    }
}

impl Taps {
    /// The last lines of standard error, once the worker is dead. A process that it started may hold the pipe open:
    /// what was written before is read, what comes later is not waited for.
    pub(super) async fn last_words(&mut self) -> String {
        for (stop, reader) in self.readers.drain(..) {
            // An error means that it has read to the end already.
            let _ = stop.send(());
            // On a timeout the reader goes on by itself: somebody does not take what the worker printed.
            let _ = timeout(LAST_WORDS_LIMIT, reader).await;
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        // A tail that was cut begins with the first whole line.
        let whole = if bytes.len() < TAIL_BYTES { 0 } else { line_start(&bytes) };
        String::from_utf8_lossy(&bytes[whole..]).trim_end().to_owned()
    }
}

fn line_start(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}

impl Writer {
    /// Waits for everything to be written, but not for ever: somebody may not be reading our standard error.
    pub(super) fn finish(self, limit: Duration) {
        match self.ended.recv_timeout(limit) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("what workers printed could not be written within {limit:?}");
            }
            Err(RecvTimeoutError::Disconnected) => {
                tracing::error!("the thread that writes what workers print has failed");
            }
        }
    }
}

/// Reads a pipe to its end; once `rest` fires, only what is in it.
async fn drain(
    pipe: pipe::Receiver,
    tail: Option<Arc<Mutex<VecDeque<u8>>>>,
    target: Target,
    queue: mpsc::Sender<Chunk>,
    rest: oneshot::Receiver<()>,
) {
    read_chunks(pipe, tail, &target, &queue, rest).await;
    // An error means that nobody writes any more.
    let _ = queue.send(Chunk { target, printed: Printed::End }).await;
}

async fn read_chunks(
    mut pipe: pipe::Receiver,
    tail: Option<Arc<Mutex<VecDeque<u8>>>>,
    target: &Target,
    queue: &mpsc::Sender<Chunk>,
    mut rest: oneshot::Receiver<()>,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut may_stop = true;
    let mut stopping = false;
    // A pipe holds no more; beyond that, somebody who outlives the worker is still writing.
    let mut left_bytes = LARGEST_PIPE_BYTES;
    loop {
        let read = if stopping {
            match pipe.try_read(&mut buffer) {
                _ if left_bytes == 0 => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                read => {
                    left_bytes = left_bytes.saturating_sub(*read.as_ref().unwrap_or(&0));
                    read
                }
            }
        } else {
            tokio::select! {
                biased;
                stop = &mut rest, if may_stop => {
                    stopping = stop.is_ok();
                    may_stop = false;
                    continue;
                }
                read = pipe.read(&mut buffer) => read,
            }
        };
        let bytes = match read {
            // An error is an end too: nothing more can be read here, and who writes finds the pipe broken.
            Ok(0) | Err(_) => return,
            Ok(read_bytes) => &buffer[..read_bytes],
        };
        if let Some(tail) = &tail {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend(bytes);
            let excess = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..excess);
        }
        // An error means that the thread that writes is gone. The last words are still to be read.
        let _ = queue.send(Chunk { target: target.clone(), printed: Printed::Bytes(bytes.to_vec()) }).await;
    }
}

fn write(chunk: &Chunk) {
    match (&chunk.target, &chunk.printed) {
        (Target::StandardError, Printed::Bytes(bytes)) => {
            // Nowhere is left to report that standard error is gone.
            let _ = io::stderr().write_all(bytes);
        }
        (Target::StandardError, Printed::Begin | Printed::End) => {}
        (Target::File { file, line }, printed) => {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            match printed {
                Printed::Begin => file.write_text(&[], SystemTime::now()),
                Printed::Bytes(bytes) => file.append(&mut line, bytes, SystemTime::now()),
                // The last line needs no end to be one.
                Printed::End if line.is_empty() => {}
                Printed::End => file.append(&mut line, b"\n", SystemTime::now()),
            }
        }
    }
}

impl LogFile {
    /// Writes every line that has ended, each behind the time at which its end came.
    fn append(&mut self, line: &mut Vec<u8>, bytes: &[u8], now: SystemTime) {
        let time = humantime::format_rfc3339_millis(now);
        let mut text = Vec::with_capacity(bytes.len() + 64);
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            line.extend_from_slice(part);
            // A line without end is cut where it would grow without bound.
            if line.ends_with(b"\n") || line.len() >= CHUNK_BYTES {
                text.extend_from_slice(format!("{time} ").as_bytes());
                text.append(line);
                if !text.ends_with(b"\n") {
                    text.push(b'\n');
                }
            }
        }
        self.write_text(&text, now);
    }

    /// Writes whole lines, or counts them as lost.
    fn write_text(&mut self, text: &[u8], now: SystemTime) {
        if let Err(error) = self.make_up_for_the_lost(now) {
            return self.lose(text, 0, &error);
        }
        let written = self.open().map_or_else(|error| (0, Err(error)), |file| write_counted(file, text));
        if let (written_bytes, Err(error)) = written {
            self.lose(text, written_bytes, &error);
        }
    }

    /// After an outage, says in the log what is missing there.
    fn make_up_for_the_lost(&mut self, now: SystemTime) -> io::Result<()> {
        let Some(Lost { lines, torn }) = self.lost else { return Ok(()) };
        if lines == 0 && !torn {
            // Nothing was to be written.
            self.open()?;
            self.lost = None;
            return Ok(());
        }
        let time = humantime::format_rfc3339_millis(now);
        let begin = if torn { "\n" } else { "" };
        let note = format!("{begin}{time} workfleet: {lines} lines could not be written\n");
        let (written_bytes, written) = write_counted(self.open()?, note.as_bytes());
        if let Err(error) = written {
            self.lost = Some(Lost { lines, torn: torn || written_bytes > 0 });
            return Err(error);
        }
        self.report_the_lost();
        Ok(())
    }

    /// The text was written up to there, and the rest is lost.
    fn lose(&mut self, text: &[u8], written_bytes: usize, error: &io::Error) {
        let (written, rest) = text.split_at(written_bytes);
        let lines = rest.iter().filter(|&&byte| byte == b'\n').count() as u64;
        if self.lost.is_none() {
            tracing::warn!(path = %self.path.display(), %error, "a worker's log cannot be written");
        }
        let lost = self.lost.get_or_insert_default();
        lost.lines = lost.lines.saturating_add(lines);
        lost.torn |= !written.is_empty() && !written.ends_with(b"\n");
    }

    /// An outage is over, or nothing is written any more.
    fn report_the_lost(&mut self) {
        if let Some(Lost { lines, .. }) = self.lost.take()
            && lines > 0
        {
            tracing::warn!(path = %self.path.display(), lines, "lines of a worker are missing in its log");
        }
    }

    /// The file, opened if it is not, or is not in any directory any more.
    fn open(&mut self) -> io::Result<&mut File> {
        let is_there = |file: &File| file.metadata().is_ok_and(|state| state.nlink() > 0);
        let file = match self.file.take().filter(is_there) {
            Some(file) => file,
            None => {
                fs::create_dir_all(&self.directory)?;
                // Does not wait for a reader, if it is a pipe.
                let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
                let file =
                    OpenOptions::new().append(true).create(true).custom_flags(no_wait).open(&self.path)?;
                let flags = rustix::fs::fcntl_getfl(&file)?;
                rustix::fs::fcntl_setfl(&file, flags - rustix::fs::OFlags::NONBLOCK)?;
                file
            }
        };
        Ok(self.file.insert(file))
    }
}

/// Writes all of it. If that fails, the number says how much was written.
fn write_counted(file: &mut File, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written_bytes = 0;
    while written_bytes < text.len() {
        match file.write(&text[written_bytes..]) {
            Ok(0) => return (written_bytes, Err(ErrorKind::WriteZero.into())),
            Ok(more_bytes) => written_bytes += more_bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written_bytes, Err(error)),
        }
    }
    (written_bytes, Ok(()))
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    fn log(directory: PathBuf) -> LogFile {
        LogFile { path: directory.join("worker-0.log"), directory, file: None, lost: None }
    }

    /// Without the times.
    fn lines(log: &LogFile) -> Vec<String> {
        let text = fs::read_to_string(&log.path).expect("a text");
        text.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()).collect()
    }

    #[test]
    fn a_log_comes_back_with_its_directory_and_tells_how_many_lines_are_missing() {
        let home = tempfile::tempdir().expect("a directory");
        let mut log = log(home.path().join("logs"));
        let (now, mut line) = (SystemTime::UNIX_EPOCH, Vec::new());
        log.append(&mut line, b"one\ntwo", now);
        fs::remove_dir_all(&log.directory).expect("it is there");
        fs::write(&log.directory, "in the way").expect("a file");
        log.append(&mut line, b"\nthree\nfour\nfive", now);
        log.append(&mut line, b"\n", now);
        fs::remove_file(&log.directory).expect("it is there");
        log.append(&mut line, b"six\n", now);
        assert_eq!(lines(&log), ["workfleet: 4 lines could not be written", "six"]);
        assert!(log.lost.is_none());
    }

    #[test]
    fn a_log_that_is_removed_is_made_again() {
        let home = tempfile::tempdir().expect("a directory");
        let mut log = log(home.path().join("logs"));
        let (now, mut line) = (SystemTime::UNIX_EPOCH, Vec::new());
        for text in ["one", "two"] {
            log.append(&mut line, format!("{text}\n").as_bytes(), now);
            assert_eq!(lines(&log), [text]);
            fs::remove_dir_all(&log.directory).expect("it is there");
        }
    }

    /// As when the disk is full amid a line.
    #[test]
    fn a_line_that_was_torn_is_ended_before_the_next() {
        let home = tempfile::tempdir().expect("a directory");
        let mut log = log(home.path().to_owned());
        let now = SystemTime::UNIX_EPOCH;
        log.write_text(b"- one\n- tw", now);
        log.lose(b"- one\n- two\n- three\n", 9, &ErrorKind::StorageFull.into());
        log.write_text(b"- four\n", now);
        assert_eq!(lines(&log), ["one", "tw", "workfleet: 2 lines could not be written", "four"]);
    }
}
