//! What workers print: read without delay, kept as last words, cut into whole lines, and written where it belongs.
//!
//! The manager's thread reads, and a thread of its own writes. If a terminal is not read or a disk hangs, only the
//! workers that print wait, as they would if they wrote themselves.
//!
//! Invariants:
//! - The last lines of a worker are available as soon as they were read, whether or not they can be written.
//! - At most [`QUEUE_CHUNKS`] chunks of two times [`LINE_BYTES`] wait to be written.
//! - No worker waits for its log to start: the thread that writes opens it, and does so again when it is gone.
//! - A pipe that a worker leaves to another process is read while the manager lives, up to [`LEFT_PIPES`] of them.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::RecvTimeoutError,
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::sinks::{LogFile, StandardError};
use crate::{
    pool::{spawn_patiently, worker_name},
    sys::{naming::Naming, signals},
};

/// How much of a worker's standard error is kept for its death certificate.
const TAIL_BYTES: usize = 4096;
/// A line that is longer is written in pieces. A read takes as much at most.
const LINE_BYTES: usize = 16 * 1024;
const QUEUE_CHUNKS: usize = 64;
/// The most that a pipe holds, without special rights.
const LARGEST_PIPE_BYTES: usize = 1024 * 1024;
/// How many pipes are read at a time whose workers are gone: processes that left their workers' groups hold them.
const LEFT_PIPES: usize = 64;
/// How long a death waits for the last words to be read, which are in the pipe already.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(200);

/// Where chunks of output go.
#[derive(Clone)]
pub(super) struct Logs {
    files: Option<Arc<Files>>,
    queue: mpsc::Sender<Chunk>,
    /// For each pipe that may still be left to another process.
    left_pipes: Arc<Semaphore>,
}

/// Has the logs of a manager opened again. It does not keep the thread that writes.
#[derive(Clone)]
pub(super) struct Reopener {
    files: Option<Arc<Files>>,
    queue: mpsc::WeakSender<Chunk>,
}

/// The logs of a manager's workers.
struct Files {
    directory: PathBuf,
    by_slot: Mutex<Vec<Arc<Mutex<LogFile>>>>,
    /// How often they were to be opened again.
    reopenings: Arc<AtomicU64>,
}

impl Files {
    fn new(directory: PathBuf) -> Self {
        Self { directory, by_slot: Mutex::default(), reopenings: Arc::default() }
    }

    fn of(&self, slot: usize) -> Arc<Mutex<LogFile>> {
        let mut files = self.by_slot.lock().unwrap_or_else(PoisonError::into_inner);
        for number in files.len()..=slot {
            let name = format!("{}.log", worker_name(number));
            let file = LogFile::new(self.directory.clone(), &name, Arc::clone(&self.reopenings));
            files.push(Arc::new(Mutex::new(file)));
        }
        Arc::clone(&files[slot])
    }

    fn all(&self) -> Vec<Arc<Mutex<LogFile>>> {
        self.by_slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Chunk {
    target: Target,
    /// Whole lines, or a piece of a long one. Nothing: the log should be there.
    text: Vec<u8>,
    /// When it was read.
    at: SystemTime,
}

/// Where a worker's output goes.
#[derive(Clone)]
pub(super) enum Target {
    StandardError,
    File(Arc<Mutex<LogFile>>),
}

/// The pipes of one worker.
pub(super) struct Taps {
    tail: Arc<Mutex<VecDeque<u8>>>,
    readers: Vec<ReaderHandle>,
}

struct ReaderHandle {
    /// Tells the reader that the worker is dead.
    stop: oneshot::Sender<()>,
    /// The reader has read what the worker had printed.
    emptied: oneshot::Receiver<()>,
}

/// The thread that writes; it ends when every [`Logs`] is gone.
pub(super) struct Writer {
    ended: std::sync::mpsc::Receiver<()>,
}

impl Logs {
    /// Starts the thread, patiently until `deadline`.
    pub(super) fn start(deadline: Instant, directory: Option<PathBuf>) -> io::Result<(Self, Writer)> {
        let (queue, mut chunks) = mpsc::channel::<Chunk>(QUEUE_CHUNKS);
        let (end, ended) = std::sync::mpsc::channel();
        let files = directory.map(|directory| Arc::new(Files::new(directory)));
        let all = files.clone();
        spawn_patiently(deadline, "workfleet-log", move || {
            if let Err(error) = signals::survive_writes() {
                workfleet_notice::warn!(%error, "a write to a broken standard error may end the program");
            }
            let mut standard_error = StandardError::default();
            while let Some(Chunk { target, text, at }) = chunks.blocking_recv() {
                match target {
                    Target::StandardError => standard_error.write(&text),
                    Target::File(file) => lock(&file).write(&text, at),
                }
            }
            standard_error.report_the_lost();
            for file in all.iter().flat_map(|files| files.all()) {
                lock(&file).report_the_lost();
            }
            // An error means that nobody waited for so long.
            let _ = end.send(());
        })?;
        let left_pipes = Arc::new(Semaphore::new(LEFT_PIPES));
        Ok((Self { files, queue, left_pipes }, Writer { ended }))
    }

    /// Whether a worker's standard output is to be piped too.
    pub(super) fn takes_stdout(&self) -> bool {
        self.files.is_some()
    }

    /// Where the next worker on `slot` prints. Its log is opened without anybody waiting for that.
    pub(super) fn of(&self, slot: usize) -> Target {
        let Some(files) = &self.files else { return Target::StandardError };
        let target = Target::File(files.of(slot));
        open(&self.queue, target.clone());
        target
    }

    pub(super) fn reopener(&self) -> Reopener {
        Reopener { files: self.files.clone(), queue: self.queue.downgrade() }
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
            let (tell_emptied, emptied) = oneshot::channel();
            let reader = Reader {
                pipe: pipe::Receiver::from_owned_fd(pipe)
                    .naming("registering a pipe with epoll or kqueue")?,
                tail,
                line: Line::default(),
                target: target.clone(),
                queue: self.queue.clone(),
            };
            tokio::spawn(drain(reader, rest, tell_emptied, Arc::clone(&self.left_pipes)));
            readers.push(ReaderHandle { stop, emptied });
        }
        Ok(Taps { tail, readers })
    }
}

impl Reopener {
    /// Has every log opened again before the next line is written. Waits for nothing.
    pub(super) fn reopen(&self) {
        let Some(files) = &self.files else { return };
        files.reopenings.fetch_add(1, Ordering::Relaxed);
        let Some(queue) = self.queue.upgrade() else { return };
        for file in files.all() {
            open(&queue, Target::File(file));
        }
    }
}

fn open(queue: &mpsc::Sender<Chunk>, target: Target) {
    // An error means that the queue is full: then the first line opens it, as it would without this.
    let _ = queue.try_send(Chunk { target, text: Vec::new(), at: SystemTime::now() });
}

fn lock(file: &Mutex<LogFile>) -> std::sync::MutexGuard<'_, LogFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taps {
    /// The last lines of standard error, once the worker is dead. A process that it started may hold the pipe open:
    /// what was written before is read, what comes later is not waited for. It goes where the worker's output went.
    pub(super) async fn last_words(&mut self) -> String {
        for ReaderHandle { stop, emptied } in self.readers.drain(..) {
            // An error means that it has read to the end already.
            let _ = stop.send(());
            // On a timeout the reader goes on by itself: somebody does not take what the worker printed.
            let _ = timeout(LAST_WORDS_LIMIT, emptied).await;
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        last_lines(&bytes)
    }
}

/// The text of a tail, at most as long as that may be. One that was cut begins with the first whole line, if there is any.
fn last_lines(tail: &[u8]) -> String {
    // What is no UTF-8 takes three bytes for one.
    let text = String::from_utf8_lossy(tail);
    let excess = text.len().saturating_sub(TAIL_BYTES);
    let begin = (excess..=text.len()).find(|&begin| text.is_char_boundary(begin)).unwrap_or(text.len());
    let text = text[begin..].trim_end();
    let is_cut = tail.len() >= TAIL_BYTES || begin > 0;
    let whole = text.find('\n').filter(|_| is_cut).map_or(0, |end| end + 1);
    text[whole..].to_owned()
}

impl Writer {
    /// Waits until everything is written, but not forever: the reader of our standard error may not read.
    pub(super) fn finish(self, limit: Duration) {
        match self.ended.recv_timeout(limit) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                workfleet_notice::warn!("what workers printed could not be written within {limit:?}");
            }
            Err(RecvTimeoutError::Disconnected) => {
                workfleet_notice::error!("the thread that writes what workers print has failed");
            }
        }
    }
}

/// One pipe of a worker.
struct Reader {
    pipe: pipe::Receiver,
    tail: Option<Arc<Mutex<VecDeque<u8>>>>,
    line: Line,
    target: Target,
    queue: mpsc::Sender<Chunk>,
}

/// Reads a pipe to its end. Once `rest` fires, the worker is dead: what is in the pipe is read, and told to be; what comes
/// later is of a process that holds the pipe, and would die by SIGPIPE of its end.
async fn drain(
    mut reader: Reader,
    rest: oneshot::Receiver<()>,
    emptied: oneshot::Sender<()>,
    left_pipes: Arc<Semaphore>,
) {
    let open = reader.read_until(rest).await && reader.read_rest().await;
    let last = reader.line.end();
    reader.send(last).await;
    // An error means that nobody waited for so long.
    let _ = emptied.send(());
    if !open {
        return;
    }
    match left_pipes.try_acquire() {
        Ok(_permit) => {
            // A stop that cannot come.
            let (_never, rest) = oneshot::channel();
            reader.read_until(rest).await;
            let last = reader.line.end();
            reader.send(last).await;
        }
        Err(_) => workfleet_notice::warn!(
            "the output of a process that a dead worker has left is read no more: so many others hold theirs"
        ),
    }
}

impl Reader {
    /// Reads to the end, which is false, or until `rest` fires.
    async fn read_until(&mut self, mut rest: oneshot::Receiver<()>) -> bool {
        let mut buffer = vec![0; LINE_BYTES];
        let mut may_stop = true;
        loop {
            // What was read is handed on outside of this, where nothing interrupts that.
            let read = tokio::select! {
                biased;
                stop = &mut rest, if may_stop => {
                    if stop.is_ok() {
                        return true;
                    }
                    may_stop = false;
                    continue;
                }
                read = self.pipe.read(&mut buffer) => read,
            };
            match read {
                // An error is an end too: nothing more can be read here, and who writes finds the pipe broken.
                Ok(0) | Err(_) => return false,
                Ok(read_bytes) => self.take(&buffer[..read_bytes]).await,
            }
        }
    }

    /// Reads what is there. False at the end.
    async fn read_rest(&mut self) -> bool {
        // A pipe holds no more; beyond that, somebody who outlives the worker is still writing.
        let mut left_bytes = LARGEST_PIPE_BYTES;
        let mut buffer = vec![0; LINE_BYTES];
        while left_bytes > 0 {
            match self.pipe.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Ok(0) | Err(_) => return false,
                Ok(read_bytes) => {
                    left_bytes = left_bytes.saturating_sub(read_bytes);
                    self.take(&buffer[..read_bytes]).await;
                }
            }
        }
        true
    }

    async fn take(&mut self, bytes: &[u8]) {
        if let Some(tail) = &self.tail {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend(bytes);
            let excess = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..excess);
        }
        let text = self.line.add(bytes);
        self.send(text).await;
    }

    async fn send(&self, text: Vec<u8>) {
        if !text.is_empty() {
            // An error means that the thread that writes is gone. The last words are still to be read.
            let _ = self.queue.send(Chunk { target: self.target.clone(), text, at: SystemTime::now() }).await;
        }
    }
}

/// The line of a pipe that has not ended yet.
#[derive(Default)]
struct Line(Vec<u8>);

impl Line {
    /// Adds bytes. Returns the lines that have ended by them, and the last one too where it would grow without bound.
    fn add(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(bytes);
        let ended = self.0.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let ended = if self.0.len() - ended >= LINE_BYTES { self.0.len() } else { ended };
        let rest = self.0.split_off(ended);
        std::mem::replace(&mut self.0, rest)
    }

    /// The last line, which needs no end to be one.
    fn end(&mut self) -> Vec<u8> {
        let mut line = std::mem::take(&mut self.0);
        if !line.is_empty() {
            line.push(b'\n');
        }
        line
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_whole_lines_or_what_there_is_of_a_long_one_and_never_longer() {
        assert_eq!(last_lines(b""), "");
        assert_eq!(last_lines(b"one\ntwo\n\n"), "one\ntwo");
        let long = "x".repeat(TAIL_BYTES);
        let tail = |text: &str| last_lines(&text.as_bytes()[text.len().saturating_sub(TAIL_BYTES)..]);
        assert_eq!(tail(&format!("{long}\ntwo\nthree\n")), "two\nthree");
        // One line alone.
        assert_eq!(tail(&long), long);
        assert_eq!(tail(&format!("{long}\n")), long[1..]);
        // What is no text.
        let words = last_lines(&[0xff; TAIL_BYTES]);
        assert!((TAIL_BYTES - 4..=TAIL_BYTES).contains(&words.len()), "{}", words.len());
        assert_eq!(last_lines(&[&[0xff; TAIL_BYTES - 6][..], b"\ntwo\n"].concat()), "two");
    }

    #[test]
    fn lines_come_whole_but_for_those_that_would_grow_without_bound() {
        let mut line = Line::default();
        assert_eq!(line.add(b"a"), b"");
        assert_eq!(line.add(b"b\nc\nd"), b"ab\nc\n");
        assert_eq!(line.end(), b"d\n");
        assert_eq!(line.end(), b"");
        let long = [b'x'; LINE_BYTES];
        assert_eq!(line.add(&long[1..]), b"");
        assert_eq!(line.add(b"x"), long);
        assert_eq!(line.add(b"\n"), b"\n");
        assert_eq!(line.end(), b"");
    }
}
