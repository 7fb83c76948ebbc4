//! Pools of either kind, for tests that hold for both, and a door at which their tasks wait to be let on.

#![allow(dead_code, unused_macros, unused_imports, reason = "each test uses its part of this")]

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    ops::Deref,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workfleet_task_manager::{Message, MessageError, Pool, ProcessManager, TaskMessage, ThreadManager};

/// Far beyond the limit on hanging: whoever waits for it, hangs.
pub(crate) const GRACE: Duration = Duration::from_secs(3600);

/// Where tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Processes,
    Threads,
}

pub(crate) enum Started {
    Processes(ProcessManager),
    Threads(ThreadManager),
}

impl Deref for Started {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        match self {
            Self::Processes(manager) => manager,
            Self::Threads(manager) => manager,
        }
    }
}

/// Starts a pool of a kind from a registry, with settings that both kinds have.
macro_rules! start {
    ($kind:expr, $registry:expr $(, $setting:ident($value:expr))* $(,)?) => {
        match $kind {
            $crate::both::Kind::Processes => {
                let builder = workfleet_task_manager::ProcessManager::builder($registry);
                let builder = builder.grace($crate::both::GRACE)$(.$setting($value))*;
                $crate::both::Started::Processes(builder.start().expect("it starts"))
            }
            $crate::both::Kind::Threads => {
                let builder = workfleet_task_manager::ThreadManager::builder($registry);
                let builder = builder.grace($crate::both::GRACE)$(.$setting($value))*;
                $crate::both::Started::Threads(builder.start().expect("it starts"))
            }
        }
    };
}
pub(crate) use start;

/// Makes a test on worker processes and one on threads of each of these functions, which are given the kind.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_processes {
            $(#[test]
            fn $test() {
                let _alone = $crate::support::alone();
                super::$test($crate::both::Kind::Processes);
            })*
        }
        mod on_threads {
            $(#[test]
            fn $test() {
                let _alone = $crate::support::alone();
                super::$test($crate::both::Kind::Threads);
            })*
        }
    };
}
pub(crate) use on_both;

/// Every message there will be, in the order of their arrival.
pub(crate) fn messages<M: TaskMessage>(pool: &Pool) -> Vec<Message<M>> {
    let messages: Result<_, MessageError> = pool.messages().collect();
    messages.expect("messages, and no failures")
}

/// A door at which tasks wait, each with its name, until their test lets them on.
pub(crate) struct Door {
    directory: TempDir,
    listener: UnixListener,
}

/// A task at a door; it goes on when this is dropped.
#[must_use = "the task goes on when this is dropped"]
pub(crate) struct Guest {
    pub(crate) name: String,
    /// The process that it runs in.
    pub(crate) pid: u32,
    stream: UnixStream,
}

impl Door {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("door")).expect("a socket");
        Self { directory, listener }
    }

    /// What a task needs to come here.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("door")
    }

    /// Waits for the next task.
    pub(crate) fn next(&self) -> Guest {
        let (stream, _) = self.listener.accept().expect("a task");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("its name");
        let (pid, name) = line.trim_end().split_once(' ').expect("its process, then its name");
        Guest { name: name.to_owned(), pid: pid.parse().expect("a process id"), stream }
    }

    /// Waits for this many tasks, and sorts them by name.
    pub(crate) fn next_few(&self, count: usize) -> Vec<Guest> {
        let mut guests: Vec<_> = (0..count).map(|_| self.next()).collect();
        guests.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        guests
    }

    /// Whether a task waits that was not received yet.
    pub(crate) fn has_another(&self) -> bool {
        self.listener.set_nonblocking(true).expect("it is a socket");
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).expect("it is a socket");
        accepted.is_ok()
    }
}

impl Guest {
    pub(crate) fn go_on(self) {
        drop(self.stream);
    }
}

/// The names of guests.
pub(crate) fn names(guests: &[Guest]) -> Vec<&str> {
    guests.iter().map(|guest| &*guest.name).collect()
}

fn introduction(name: &str) -> Vec<u8> {
    format!("{} {name}\n", std::process::id()).into_bytes()
}

/// Waits at a door and keeps the thread.
pub(crate) fn wait_at(door: &Path, name: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(door)?;
    stream.write_all(&introduction(name))?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Waits at a door and leaves the thread to others.
pub(crate) async fn come_to(door: &Path, name: &str) -> io::Result<()> {
    let mut stream = tokio::net::UnixStream::connect(door).await?;
    stream.write_all(&introduction(name)).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}
