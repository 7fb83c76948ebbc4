//! The markers in the environment by which a process knows what it was started as.
//!
//! Invariant: a marker says something only in the process that it was made for. A process that inherits the variable from that one
//! has another standard input, or another parent.

pub(crate) mod origin;

use std::{env, io, os::fd::AsFd};

use rustix::{
    fs::{FileType, fstat},
    stdio::stdin,
};

use crate::sys::naming::Naming;

/// The environment variable that markers a worker: the device and inode of the socket that is its standard input.
pub(crate) const WORKER: &str = "WORKFLEET_WORKER";

/// Whether standard input is the connection with the manager that has started this process.
pub(crate) fn has_connection() -> bool {
    says(WORKER, of_stdin())
}

/// Whether the environment has a variable of this name with this value.
pub(crate) fn says(name: &str, value: Option<String>) -> bool {
    env::var_os(name).is_some_and(|said| value.is_some_and(|value| said.to_str() == Some(&*value)))
}

/// What the marker of a process with this standard input would be, if that is a socket.
pub(crate) fn of_stdin() -> Option<String> {
    // An error means that there is no standard input: then this is no worker.
    of_socket(stdin()).ok().flatten()
}

/// The marker of a process whose standard input is `socket`; none if it is no socket.
pub(crate) fn of_socket(socket: impl AsFd) -> io::Result<Option<String>> {
    let stat = fstat(socket).naming("fstat of a socket")?;
    let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    Ok(is_socket.then(|| format!("{}:{}", stat.st_dev, stat.st_ino)))
}
