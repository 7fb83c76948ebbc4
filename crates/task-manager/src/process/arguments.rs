//! The arguments of a worker process, unless the builder sets others: those of this program, so that code before
//! [`init`](crate::init) does the same in the worker. A test binary gets the name of the test that
//! [`test_worker!`](crate::test_worker) makes instead: with its own arguments it would run tests.
//!
//! Which of both this program is shows by its having called [`init`](crate::init), as every program does before it starts a
//! manager, and no test binary. In which module its `test_worker!` stands, a test binary that has not run that test is asked.

use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind, Read},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process_group},
};

use super::program::{Arguments, own_program, own_program_start};
use crate::{
    markers::origin,
    sys::{descriptor, naming::Naming},
    worker::{
        ENTRY,
        entry::{self, Entry},
    },
};

/// More than this is not read of a list of tests.
const LIST_LIMIT_BYTES: usize = 16 << 20;

/// Whether this program has nobody to ask for them.
pub(super) fn are_known() -> bool {
    !matches!(entry::of_this_program(), Entry::Unknown)
}

/// The arguments of a worker process. A test binary may take this long to list its tests.
///
/// # Errors
/// This program could not be asked for its tests.
pub(super) fn of_a_worker(limit: Duration) -> io::Result<Arguments> {
    let test = match entry::of_this_program() {
        Entry::Main => return Ok(Arguments::given(env::args_os().skip(1).collect())),
        Entry::Test(name) => name,
        Entry::Unknown => match find_test(limit)? {
            Some(name) => {
                entry::is_test(name.clone());
                name
            }
            // It runs no test then, and ends: which is reported as a start that failed.
            None => ENTRY.to_owned(),
        },
    };
    // The harness must not catch what the worker prints, nor run a test whose name only contains this one.
    let list = [test.as_str(), "--exact", "--nocapture"].map(OsString::from).into();
    Ok(Arguments { list, are_for_harness: true })
}

/// Asks this program, which should be a test binary, for the test that makes a worker of it.
fn find_test(limit: Duration) -> io::Result<Option<String>> {
    let mut command = Command::new(own_program());
    // Should it be something else than a test binary, it must not start workers in turn.
    origin::prepare(&mut command);
    command
        .args(["--list", "--format", "terse"])
        .stdin(descriptor::null()?)
        .stdout(Stdio::piped())
        .stderr(descriptor::null()?);
    let mut child = command.spawn().naming(own_program_start())?;
    let list = read_list(&mut child, limit);
    // It has said what it was asked for, or is something else, which may go on forever. It is not reaped yet, so that the
    // number of its group is its own. An error means that nobody is left there.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    // An error means that somebody else in this program has reaped it.
    let _ = child.wait();
    Ok(find_entry(&String::from_utf8_lossy(&list?)).map(str::to_owned))
}

/// The name of the entry in a list of tests.
fn find_entry(list: &str) -> Option<&str> {
    let mut tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    tests.find(|test| test.strip_suffix(ENTRY).is_some_and(|path| path.is_empty() || path.ends_with("::")))
}

/// What the child prints until its end, or until it takes too long.
fn read_list(child: &mut Child, limit: Duration) -> io::Result<Vec<u8>> {
    let Some(mut output) = child.stdout.take() else { return Ok(Vec::new()) };
    let deadline = Instant::now().checked_add(limit);
    let mut list = Vec::new();
    let mut bytes = [0; 4096];
    while list.len() < LIST_LIMIT_BYTES {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(&output, PollFlags::IN)], left.as_ref()) {
            Ok(0) => break,
            Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error).naming("poll of the list of tests"),
        }
        match output.read(&mut bytes) {
            Ok(0) => break,
            Ok(read_bytes) => list.extend_from_slice(&bytes[..read_bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).naming("reading the list of tests"),
        }
    }
    Ok(list)
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_in_whichever_module_it_stands_and_not_where_its_name_is_a_part() {
        let others = "my_workfleet_worker: test\nworkfleet_worker_lives: test\nworkfleet_worker: benchmark\n";
        assert_eq!(find_entry(others), None);
        for entry in ["workfleet_worker", "tests::workfleet_worker", "a::b::workfleet_worker"] {
            assert_eq!(find_entry(&format!("{others}{entry}: test\nz: test\n")), Some(entry));
        }
    }
}
