//! A gate between a test and its tasks, wherever they run: a task waits there until its test lets it go on.

use std::{
    io,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process,
};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use workfleet_task_manager::{Task, TaskContext, TaskError, TaskSpec};

/// A place where tasks wait until their test lets them go on, and the test until a task is there.
pub(crate) struct Gate {
    directory: TempDir,
    listener: UnixListener,
}

/// A task at a gate; it goes on when this is dropped.
#[must_use = "the task goes on when this is dropped"]
pub(crate) struct Waiting {
    stream: UnixStream,
    /// The process that the task runs in.
    pub(crate) pid: u32,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("gate")).expect("a socket");
        Self { directory, listener }
    }

    /// What a task needs to come here.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("gate")
    }

    /// Waits for the next task.
    pub(crate) fn wait(&self) -> Waiting {
        let (mut stream, _) = self.listener.accept().expect("a task");
        let mut pid = [0; 4];
        stream.read_exact(&mut pid).expect("its process id");
        Waiting { stream, pid: u32::from_ne_bytes(pid) }
    }
}

impl Waiting {
    pub(crate) fn go_on(self) {
        drop(self.stream);
    }
}

/// A task's side of a [`Gate`]: returns when the test lets it.
pub(crate) fn wait_at(gate: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(gate)?;
    stream.write_all(&process::id().to_ne_bytes())?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Waits at a gate. It is of a type of its own, so that its duration teaches nothing about other tasks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hold(pub(crate) PathBuf);

impl TaskSpec for Hold {
    const NAME: &'static str = "hold";
    type Output = ();
}

impl Task for Hold {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(wait_at(&self.0)?)
    }
}
