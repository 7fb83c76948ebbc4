//! Who started this process: the marker in the environment of everything that a program starts to run itself again.
//!
//! The marker names a process by its number and the time of its start, so that no other process is meant, whatever a variable of
//! this name may hold. It is inherited by what a worker's tasks start: so it says something only in a process that its own
//! parent has started, as the leader of a group, like a worker.

use std::{
    os::unix::process::CommandExt,
    process::{self, Command},
};

use rustix::process::{Pid, getpid, getppid};

use super::says;
use crate::sys::{own, stat};

/// The environment variable that says who started a worker: its manager's process. It tells a worker that has not reached
/// [`init`](crate::init) also where standard input was replaced before.
pub(crate) const MANAGER: &str = "WORKFLEET_MANAGER";

/// Variables by which systemd addresses the main process of a service, and no other.
const FOR_THE_PROGRAM: [&str; 8] = [
    "FDSTORE",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Prepares a command that runs this program again: marked, as the leader of a process group, and without what is meant for
/// the program itself.
pub(crate) fn prepare(command: &mut Command) {
    FOR_THE_PROGRAM.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.env(MANAGER, marker_of(process::id(), getpid())).process_group(0);
}

/// Whether this process was started by its parent, to be a worker, a guardian, or a list of tests.
pub(crate) fn has_marker() -> bool {
    let Some(parent) = getppid() else { return false };
    own::leads_its_group()
        && own::is_in_session_of(parent)
        && says(MANAGER, Some(marker_of(parent.as_raw_nonzero().get().unsigned_abs(), parent)))
}

/// Whether `said`, the value of the variable, names the process of this number.
pub(crate) fn names(said: &[u8], number: u32) -> bool {
    said.split(|&byte| byte == b':').next() == Some(number.to_string().as_bytes())
}

fn marker_of(number: u32, process: Pid) -> String {
    // Where the system does not say when, both sides leave it out.
    format!("{number}:{}", stat::field(process, stat::START_TIME).unwrap_or_default())
}
