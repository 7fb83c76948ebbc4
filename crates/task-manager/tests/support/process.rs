//! Processes: whose child they are, stopping and killing them, and waiting for their death.

use std::{
    fs,
    io::{self, BufRead, BufReader, Lines},
    os::fd::OwnedFd,
    process::{self, Child, ChildStdout, Command, Stdio},
    ptr,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// The children of this process, zombies included.
pub(crate) fn children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").expect("threads are listed");
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists.flat_map(|list| numbers(&list)).collect()
}

/// The numbers in a text.
pub(crate) fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

pub(crate) fn signal(process: u32, signal: Signal) {
    kill_process(to_pid(process), signal).expect("the process is there");
}

/// SIGSTOP has reached every thread of the process.
pub(crate) fn all_threads_stopped(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process is there");
    let mut stats = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    // The state stands behind the name, which is in parentheses and may hold anything.
    stats.all(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T")))
}

/// Waits until the process is dead, reaped or not.
pub(crate) fn await_death(pid: u32) {
    match pidfd_open(to_pid(pid), PidfdFlags::empty()) {
        Ok(process) => {
            poll(&mut [PollFd::new(&process, PollFlags::IN)], None).expect("its death");
        }
        Err(error) => assert_eq!(error, rustix::io::Errno::SRCH),
    }
}

/// Whether there is such a process that is neither dead nor a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    // The state comes behind the name, which stands in parentheses and may hold any character.
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// Whether a child of this process has this id, dead or alive.
pub(crate) fn is_child(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
    parent.and_then(|parent| parent.parse().ok()) == Some(process::id())
}

/// Sends a signal to a worker of this process, if it is still there.
pub(crate) fn signal_child(pid: u32, signal: Signal) {
    if is_child(pid) {
        // An error means that it has gone meanwhile.
        let _ = kill_process(to_pid(pid), signal);
    }
}

/// Waits until a worker of this process is stopped by SIGSTOP.
pub(crate) fn await_stop(pid: u32) {
    // SAFETY: all-zero is a valid value of this plain C struct, and `waitid` gets a pointer to one that outlives the
    // call. With WNOWAIT nothing is taken from whoever reaps the process.
    let result = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, pid, ptr::from_mut(&mut info), libc::WSTOPPED | libc::WNOWAIT)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

pub(crate) fn to_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().expect("a process id")).expect("not 0")
}

/// A process that was alive, to wait for its death.
#[derive(Debug)]
pub(crate) struct Watched {
    descriptor: OwnedFd,
}

impl Watched {
    pub(crate) fn new(process: u32) -> Self {
        let descriptor = pidfd_open(to_pid(process), PidfdFlags::empty()).expect("the process is there");
        Self { descriptor }
    }

    /// Returns when the process is dead, reaped or not.
    pub(crate) fn wait(&self) {
        while poll(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], None) != Ok(1) {}
    }
}

/// Names the part that this test binary plays as a program of its own.
const PART: &str = "WORKFLEET_TEST_PART";

/// The part that this process plays: none in the test run itself.
pub(crate) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Says something to the test that started this program.
pub(crate) fn say(text: &str) {
    // The harness prints on the same line.
    println!("\n@ {text}");
}

/// This test binary, run as a program of its own.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Runs the test `entry`, which finds its part by [`part`].
    pub(crate) fn start(entry: &str, part: &str) -> Self {
        let mut child = Command::new("/proc/self/exe")
            .args([entry, "--exact", "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    /// What the program [says](say) next.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let line = self.lines.next().expect("the program has something to say").expect("it is text");
            if let Some(text) = line.strip_prefix("@ ") {
                return text.to_owned();
            }
        }
    }
}
