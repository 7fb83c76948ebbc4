//! Reaping what a dead worker's process group leaves to this process.
//!
//! Where this process is the first of its PID namespace, or a subreaper, it becomes the parent of what a dead worker had
//! started. No other process reaps them then.
//!
//! Invariants:
//! - The group's leader is reaped last: until then no other group can get its number.
//! - No child is reaped that belongs to another group: it is the program's own.

use std::{fs, io};

use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, getpid, waitid},
};

use crate::failure::ExitStatus;

/// Whether this process becomes the parent of its children's orphans.
pub(crate) fn adopts() -> bool {
    getpid().is_init() || is_subreaper()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_subreaper() -> bool {
    // An error means that the system knows nothing of the kind.
    rustix::process::child_subreaper().is_ok_and(|set| set.is_some())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_subreaper() -> bool {
    false
}

/// How a dead child ended. This does not reap it.
pub(crate) fn status_of(child: Pid) -> ExitStatus {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error means that somebody else in this program has reaped it.
    let Ok(Some(status)) = waitid(WaitId::Pid(child), options) else { return ExitStatus::Unknown };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Exited(code),
        (None, Some(signal)) => ExitStatus::Signaled(signal),
        (None, None) => ExitStatus::Unknown,
    }
}

/// Waits until a child is dead. This does not reap it.
pub(crate) fn await_death(child: Pid) {
    // Any other error means that somebody else in this program has reaped it.
    while let Err(Errno::INTR) = waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
}

/// Waits for every adopted process of the group of `leader`, which is dead, and reaps it. All of them were killed. The
/// leader itself is left, but where the system does not list children: there it is reaped as the first.
pub(crate) fn rest_of_group(leader: Pid) {
    // The system's list of children may leave one out while another goes: so the last word is said twice.
    let mut none_before = false;
    loop {
        none_before = match reap_dead(leader) {
            Ok(Found::Living(child)) => {
                await_death(child);
                false
            }
            // Each of the dead has left its own children, which may be of the group as well, to this process.
            Ok(Found::Dead) => false,
            Ok(Found::None) if none_before => return,
            Ok(Found::None) => true,
            Err(_) => break,
        };
    }
    // Ends by an error: no child is left in the group.
    while matches!(waitid(WaitId::Pgid(Some(leader)), WaitIdOptions::EXITED), Ok(_) | Err(Errno::INTR)) {}
}

/// Which adopted processes of a group there were.
enum Found {
    None,
    /// All of them were dead, and are reaped now.
    Dead,
    /// This one, and maybe others, is not dead yet. The dead are reaped now.
    Living(Pid),
}

/// Reaps the dead of the group.
fn reap_dead(leader: Pid) -> io::Result<Found> {
    let mut found = Found::None;
    for child in children()? {
        if child == leader || group_of(child) != Some(leader) {
            continue;
        }
        // A child of this process keeps its number until somebody in this program reaps it.
        match waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) => found = Found::Living(child),
            _ if matches!(found, Found::None) => found = Found::Dead,
            _ => {}
        }
    }
    Ok(found)
}

/// The children of this process, those that are dead included.
fn children() -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    let mut lists = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(thread?.path().join("children")) {
            Ok(list) => {
                lists += 1;
                children.extend(list.split_whitespace().filter_map(to_pid));
            }
            // The thread has ended. Where no thread has a list, the kernel makes none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    if lists == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(children) }
}

/// None for what is no process id, such as the group of a process that was just reaped: -1.
fn to_pid(number: &str) -> Option<Pid> {
    let number = number.parse().ok().filter(|&number| number > 0)?;
    Pid::from_raw(number)
}

/// The process group of a process, dead or alive.
fn group_of(process: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name, which is in parentheses: the state, the parent, and the group.
    to_pid(stat.rsplit_once(") ")?.1.split(' ').nth(2)?)
}
