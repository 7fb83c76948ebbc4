//! What workers print: read without delay, kept as last words, and written where it belongs.
//!
//! Reading happens on the manager's thread, writing on a thread of its own: a terminal that nobody reads, or a disk
//! that hangs, holds up the workers that print, as it would if they wrote themselves, and nobody else.
//!
//! Invariants:
//! - A worker's last words are there as soon as they were read, whatever becomes of writing them.
//! - At most [`QUEUE_CHUNKS`] chunks of [`CHUNK_BYTES`] wait to be written.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

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
    directory: Option<PathBuf>,
    queue: mpsc::Sender<Chunk>,
}

struct Chunk {
    target: Target,
    /// None at the end of a pipe.
    bytes: Option<Vec<u8>>,
}

/// Where a worker's output goes.
#[derive(Clone)]
pub(super) enum Target {
    StandardError,
    File(Arc<Mutex<LogFile>>),
}

pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// A write failed, and that was said.
    failed: bool,
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
    /// Starts the thread; the directory is there.
    pub(super) fn start(directory: Option<PathBuf>) -> io::Result<(Self, Writer)> {
        let (queue, mut chunks) = mpsc::channel::<Chunk>(QUEUE_CHUNKS);
        let (end, ended) = std::sync::mpsc::channel();
        thread::Builder::new().name("workfleet-log".into()).spawn(move || {
            while let Some(Chunk { target, bytes }) = chunks.blocking_recv() {
                write(&target, bytes.as_deref());
            }
            let _ = end.send(());
        })?;
        Ok((Self { directory, queue }, Writer { ended }))
    }

    /// Whether a worker's standard output is to be piped too.
    pub(super) fn takes_stdout(&self) -> bool {
        self.directory.is_some()
    }

    /// Opens a worker's log, if there are any. Not on the manager's thread: a directory may hang.
    pub(super) fn open(&self, worker: &str) -> io::Result<Target> {
        Ok(match &self.directory {
            None => Target::StandardError,
            Some(directory) => Target::File(Arc::new(Mutex::new(LogFile::open(directory, worker)?))),
        })
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
        if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = self.ended.recv_timeout(limit) {
            tracing::warn!("what workers printed could not be written within {limit:?}");
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
    let _ = queue.send(Chunk { target, bytes: None }).await;
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
            Ok(0) | Err(_) => return,
            Ok(read_bytes) => &buffer[..read_bytes],
        };
        if let Some(tail) = &tail {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend(bytes);
            let excess = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..excess);
        }
        if queue.send(Chunk { target: target.clone(), bytes: Some(bytes.to_vec()) }).await.is_err() {
            return;
        }
    }
}

fn write(target: &Target, bytes: Option<&[u8]>) {
    match (target, bytes) {
        (Target::StandardError, Some(bytes)) => {
            // Nowhere is left to report that standard error is gone.
            let _ = io::stderr().write_all(bytes);
        }
        (Target::StandardError, None) => {}
        (Target::File(file), bytes) => {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            match bytes {
                Some(bytes) => file.append(bytes, SystemTime::now()),
                // The last line needs no end to be one.
                None if file.line.is_empty() => {}
                None => file.append(b"\n", SystemTime::now()),
            }
        }
    }
}

impl LogFile {
    fn open(directory: &Path, worker: &str) -> io::Result<Self> {
        let path = directory.join(format!("{worker}.log"));
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        Ok(Self { file, path, line: Vec::new(), failed: false })
    }

    /// Writes every line that has ended, each behind the time at which its end came.
    fn append(&mut self, bytes: &[u8], now: SystemTime) {
        let time = humantime::format_rfc3339_millis(now);
        let mut text = Vec::with_capacity(bytes.len() + 64);
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            // A line without end is cut where it would grow without bound.
            if self.line.ends_with(b"\n") || self.line.len() >= CHUNK_BYTES {
                text.extend_from_slice(format!("{time} ").as_bytes());
                text.append(&mut self.line);
                if !text.ends_with(b"\n") {
                    text.push(b'\n');
                }
            }
        }
        self.write_text(&text);
    }

    fn write_text(&mut self, text: &[u8]) {
        if let Err(error) = self.file.write_all(text)
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::error!(path = %self.path.display(), %error, "a worker's log cannot be written");
        }
    }
}
