//! Processes: whose child they are, stopping and killing them, and waiting for their death.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Lines, Write},
    os::fd::OwnedFd,
    process::{self, Child, ChildStdout, Command, Stdio},
    ptr, thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

use super::{let_pass, until};

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

/// Sends a signal to this process, which another of its threads may be the one to take, and does not go on.
pub(crate) fn signal_itself(by: Signal) -> ! {
    signal(process::id(), by);
    loop {
        thread::park();
    }
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

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("descriptors are listed").count()
}

/// The descriptors of this process that are sockets, apart from its standard ones, by their numbers.
pub(crate) fn sockets() -> io::Result<Vec<i32>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        // The directory's own descriptor is listed too, and is no socket.
        let is_socket =
            fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        sockets.extend(number.filter(|number| is_socket && *number > 2));
    }
    sockets.sort_unstable();
    Ok(sockets)
}

/// A number of this process's own status, such as `VmHWM`, in the unit in which it stands there.
pub(crate) fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).expect("it is there");
    number.parse().expect("a number")
}

/// Forks without exec. The child calls `then`, and is ended if that returns. Returns its process id.
pub(crate) fn fork(then: impl FnOnce()) -> u32 {
    // SAFETY: the child has one thread; what it calls is for the test that forks to answer for.
    match unsafe { libc::fork() } {
        0 => {
            then();
            // SAFETY: it ends the process and runs nothing.
            unsafe { libc::_exit(0) }
        }
        child => u32::try_from(child).expect("it forks"),
    }
}

/// Waits until a child of this process that a test forked is dead, and reaps it. Returns its status.
pub(crate) fn reap(child: u32) -> i32 {
    let mut status = 0;
    // SAFETY: `waitpid` gets a pointer to a number that outlives the call.
    let reaped = unsafe { libc::waitpid(child.cast_signed(), &raw mut status, 0) };
    assert_eq!(reaped, child.cast_signed(), "{}", io::Error::last_os_error());
    status
}

/// Waits for a signal, forever.
pub(crate) fn pause() -> ! {
    loop {
        // SAFETY: it takes nothing and changes nothing.
        unsafe { libc::pause() };
    }
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
pub(crate) const PART: &str = "WORKFLEET_TEST_PART";

/// The part that this process plays: none in the test run itself.
pub(crate) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Says something to the test that started this program.
pub(crate) fn say(text: &str) {
    // The harness prints on the same line.
    println!("\n@ {text}");
}

/// Waits until the test that started this program lets it go on.
pub(crate) fn wait_for_the_test() {
    let read_bytes = io::stdin().read_line(&mut String::new()).expect("it can be read");
    assert!(read_bytes > 0, "the test is gone");
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
        Self::start_as("/proc/self/exe", entry, part, |_| ())
    }

    /// The same, from some copy of this program, and with settings of its own.
    pub(crate) fn start_as(
        path: impl AsRef<OsStr>,
        entry: &str,
        part: &str,
        set_up: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(path);
        set_up(&mut command);
        Self::start_by(command, entry, part)
    }

    /// The same, by a command that runs this program, or another that does.
    pub(crate) fn start_by(mut command: Command, entry: &str, part: &str) -> Self {
        command
            .args([entry, "--exact", "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
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

    /// Stops the program, with every thread of it, for so long.
    pub(crate) fn stop_for(&self, time: Duration) {
        signal(self.child.id(), Signal::STOP);
        until(|| all_threads_stopped(self.child.id()));
        let_pass(time);
        signal(self.child.id(), Signal::CONT);
    }

    /// Lets the program go on from where it [waits](wait_for_the_test).
    pub(crate) fn go_on(&mut self) {
        let mut input = self.child.stdin.as_ref().expect("it is piped");
        input.write_all(b"\n").expect("the program waits");
    }

    /// Waits for the program's end, which is that of a test that has passed.
    pub(crate) fn assert_success(mut self) {
        drop(self.child.stdin.take());
        let said: Vec<_> = self.lines.map(|line| line.expect("it is text")).collect();
        let status = self.child.wait().expect("it can be reaped");
        assert!(status.success(), "{status}\n{}", said.join("\n"));
        assert!(said.iter().any(|line| line.contains("1 passed")), "{}", said.join("\n"));
    }
}
