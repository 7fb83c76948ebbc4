//! Where the tasks of the table stop until the test lets them go on, and where it sees which of them still live.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, channel},
    },
    thread::{self, JoinHandle},
};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use workfleet_task_manager::{ScheduleErrorKind, Task, TaskContext, TaskError, TaskSpec};

use crate::support::tasks::Mark;

/// What a task says where it stops.
pub(crate) const BEGUN: &str = "begun";
/// It was told to end.
pub(crate) const TOLD: &str = "told";
/// Its child was taken, or refused.
pub(crate) const TAKEN: &str = "taken";
pub(crate) const REFUSED: &str = "refused";

/// A task that stopped. It goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) said: String,
    stream: UnixStream,
}

impl Stop {
    /// Whether the task still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        // Nothing is ever sent to the test from here: there is either the end, or nothing yet.
        self.stream.set_nonblocking(true).expect("a socket");
        let read = self.stream.read_exact(&mut [0]);
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

/// Where tasks stop.
pub(crate) struct Stops {
    directory: TempDir,
    arrivals: Mutex<Receiver<Stop>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Stops {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("stops")).expect("a socket");
        let (tell, arrivals) = channel();
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                let mut said = String::new();
                let read = BufReader::new(&stream).read_line(&mut said);
                match (read, said.pop()) {
                    (Ok(1), _) => return,
                    (Ok(_), Some('\n')) => drop(tell.send(Stop { said, stream })),
                    // It was killed before it had said anything.
                    _ => {}
                }
            }
        });
        Self { directory, arrivals: Mutex::new(arrivals), acceptor: Some(acceptor) }
    }

    /// What a task needs to stop here.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("stops")
    }

    /// The file in which marks are left.
    pub(crate) fn marks(&self) -> PathBuf {
        self.directory.path().join("marks")
    }

    /// The next task that stops.
    pub(crate) fn next(&self) -> Stop {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).recv().expect("it is open")
    }

    /// Something to be told in the order in which tasks stop.
    pub(crate) fn announce(&self, what: &str) {
        open(&self.path(), what).expect("it is open");
    }
}

impl Drop for Stops {
    fn drop(&mut self) {
        self.announce("");
        let ended = self.acceptor.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// Comes to a stop, and does not wait.
fn open(stops: &Path, say: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(stops)?;
    stream.write_all(format!("{say}\n").as_bytes())?;
    Ok(stream)
}

/// Stops until the test says otherwise.
fn stop(stops: &Path, say: &str) -> io::Result<()> {
    open(stops, say)?.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Runs until the test lets it go on, or until it is told to end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) stops: PathBuf,
    pub(crate) manner: Manner,
}

/// What it does when it is told to end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Manner {
    /// Ends as cancelled.
    Obey,
    /// Ends with its output.
    Finish,
    /// Nothing.
    Ignore,
    /// Schedules a mark, then ends with its output.
    Breed { marks: PathBuf },
}

impl TaskSpec for Held {
    const NAME: &'static str = "held";
    type Output = ();
}

impl Task for Held {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        // Open for as long as the task runs: that is how the test sees that it does.
        let begun = open(&self.stops, BEGUN)?;
        if let Manner::Ignore = self.manner {
            (&begun).read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        if is_told_before_it_is_let_go(cx, &begun)? {
            stop(&self.stops, TOLD)?;
        }
        match &self.manner {
            Manner::Obey => cx.check_cancelled()?,
            Manner::Finish | Manner::Ignore => {}
            Manner::Breed { marks } => {
                let child = Mark { file: marks.clone(), line: String::new() };
                let said = match cx.schedule(child) {
                    Ok(()) => TAKEN,
                    Err(error) if matches!(error.kind(), ScheduleErrorKind::AttemptEnded) => REFUSED,
                    Err(error) => return Err(error.into()),
                };
                stop(&self.stops, said)?;
            }
        }
        Ok(())
    }
}

fn is_told_before_it_is_let_go(cx: &TaskContext, begun: &UnixStream) -> Result<bool, TaskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let token = cx.cancellation_token();
    let waiting = begun.try_clone()?;
    waiting.set_nonblocking(true)?;
    runtime.block_on(async {
        let waiting = tokio::net::UnixStream::from_std(waiting)?;
        tokio::select! {
            () = token.cancelled() => Ok(true),
            ready = waiting.readable() => Ok(ready.map(|()| false)?),
        }
    })
}
