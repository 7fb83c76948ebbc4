//! What is started as a worker, or as the guardian of workers: a program and its arguments.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{markers::origin, sys::naming::Naming};

/// What to start as a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// This process's own program if there is none.
    pub(super) path: Option<PathBuf>,
    pub(super) arguments: Arguments,
}

/// The arguments of a worker process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) list: Vec<OsString>,
    /// They are for a test harness, which prints before the entry is reached.
    pub(super) are_for_harness: bool,
}

impl Arguments {
    /// As a program has asked for.
    pub(super) fn given(list: Vec<OsString>) -> Self {
        Self { list, are_for_harness: false }
    }
}

impl Program {
    /// A command that runs it, [prepared](origin::prepare).
    pub(crate) fn command(&self) -> Command {
        let own = own_program();
        let mut command = Command::new(self.path.as_ref().unwrap_or(&own));
        command.args(&self.arguments.list);
        origin::prepare(&mut command);
        if self.path.is_none()
            && let Some(name) = std::env::args_os().next()
        {
            command.arg0(name);
        }
        command
    }

    /// Names this program in the error of its start.
    pub(crate) fn named<T>(&self, started: io::Result<T>) -> io::Result<T> {
        match &self.path {
            Some(path) => started.naming(format!("starting {}", path.display())),
            None => started.naming(own_program_start()),
        }
    }
}

/// What the start of the program that runs is called, with what is needed for it.
pub(super) fn own_program_start() -> String {
    let path = own_program();
    let starting = format!("starting {}", path.display());
    if path.starts_with("/proc") && !Path::new("/proc/self").exists() {
        starting + " (no /proc is mounted here: mount it, or name a file by ProcessManagerBuilder::program)"
    } else {
        starting
    }
}

/// The program that runs, even if its file was replaced since.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn own_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn own_program() -> PathBuf {
    // An empty path is refused by the start, with the system's own reason.
    std::env::current_exe().unwrap_or_default()
}
