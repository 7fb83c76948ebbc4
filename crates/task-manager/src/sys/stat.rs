//! What Linux says of a process in `/proc/…/stat`.

use std::fs;

use rustix::process::Pid;

pub(crate) const STATE: usize = 0;
pub(crate) const GROUP: usize = 2;
pub(crate) const SESSION: usize = 3;
pub(crate) const TERMINAL: usize = 4;
/// In clock ticks since the system started. With the number, it tells a process from every other.
pub(crate) const START_TIME: usize = 19;

/// A field, counted from behind the name, which is in parentheses and may hold anything. None if the process is gone, or the
/// system does not say.
pub(crate) fn field(process: Pid, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(field).map(str::to_owned)
}
