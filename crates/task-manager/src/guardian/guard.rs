//! The guardian's side: it is told of each worker, and kills the workers' groups when the program is dead.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::fd::{BorrowedFd, OwnedFd},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, FdFlags, fcntl_getfd, ioctl_fionbio},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    stdio::stdin,
};

use super::record::{self, Record};
use crate::{
    markers::{self, origin},
    sys::{limits, pidfd, signals, socket, stat, terminal},
};

/// What guardians are listed as.
const NAME: &str = "workfleet-guard";

/// When to look for a worker that the program was starting when it died. It shows its marker as soon as it is a program of its
/// own, which takes it a moment from the program's death on.
const SWEEPS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(1000),
];

/// How soon to look again where the system cannot tell when to.
const WITHOUT_EVENT: Duration = Duration::from_millis(20);

/// A longer environment is looked at up to here.
const ENVIRONMENT_LIMIT_BYTES: u64 = 4 << 20;

/// Makes a guardian of this process if a keeper has started it as one; then it never returns.
pub(crate) fn become_guardian() {
    if markers::says(super::MARKER, markers::of_stdin()) {
        settle();
        Guard::default().run();
    }
}

/// Takes this process out of everything that could end it with the program, or hold something of the program's.
///
/// What fails here costs a little of that, and no guardian is the worse: nobody could be told either.
fn settle() {
    // Only who leads no group may begin a session; it was started as the leader of one, so that it can be ended with all
    // that the program's main has started in it before this.
    // SAFETY: these calls take numbers, and a path that ends in zero, and touch no memory.
    unsafe {
        libc::setpgid(0, libc::getpgid(libc::getppid()));
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        for signal in IGNORED {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    // What is blocked as well would stay pending.
    let _ = signals::block_none();
    // The name of its first thread is that of a process, whichever thread this is.
    let _ = fs::write("/proc/self/comm", NAME);
    let _ = terminal::give_up();
    let _ = ioctl_fionbio(stdin(), true);
    limits::raise_descriptors();
    close_inherited();
}

/// What is sent to whole groups and sessions, and what is no reason to end.
const IGNORED: [i32; 13] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGXCPU,
    libc::SIGVTALRM,
];

/// Closes what this process has inherited besides its standard streams. A reader that waits for the end of a pipe of the program's
/// must not wait for the guardian. What this process has opened itself is closed on exec, and so tells itself apart.
fn close_inherited() {
    let listed = fs::read_dir("/proc/self/fd").map(|entries| {
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers.collect::<Vec<i32>>()
    });
    let numbers = listed.unwrap_or_else(|_| (0..1024).collect());
    for number in numbers.into_iter().filter(|&number| number > 2) {
        // SAFETY: it is only asked for its flags, which does no harm to one that is not open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        if fcntl_getfd(descriptor).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC)) {
            // SAFETY: it was inherited by exec, so nothing in this process owns it.
            unsafe { libc::close(number) };
        }
    }
}

/// A worker, as the guardian knows it.
#[derive(Debug)]
struct Worker {
    /// What its process shows in its environment.
    marker: String,
    /// The number of its process, and of its group.
    pid: Option<u32>,
    process: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Guard {
    program: Option<OwnedFd>,
    program_pid: u32,
    workers: BTreeMap<u64, Worker>,
}

impl Guard {
    fn run(mut self) -> ! {
        while self.wait() {}
        self.kill_all();
        // SAFETY: it ends the process and runs nothing: what there is to clean up is the program's main's.
        unsafe { libc::_exit(0) }
    }

    /// Waits for news and takes them in. False if the program is dead, or has let go of this process.
    fn wait(&mut self) -> bool {
        let connection = stdin();
        let mut watched = vec![PollFd::new(&connection, PollFlags::IN)];
        watched.extend(self.program.as_ref().map(|program| PollFd::new(program, PollFlags::IN)));
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            // The system has no memory for it. That is no reason to kill anybody.
            Err(_) => {
                thread::park_timeout(WITHOUT_EVENT);
                return self.receive();
            }
        }
        let dead = watched.get(1).is_some_and(|program| !program.revents().is_empty());
        drop(watched);
        // What the program has said before it died counts.
        self.receive() && !dead
    }

    /// Takes in what has come. False at the end of the connection.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; record::LIMIT_BYTES];
        loop {
            let (length_bytes, mut descriptors) = match socket::receive_with_descriptors(stdin(), &mut bytes)
            {
                Ok((0, _)) => return false,
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // An error is told once, before what is left to be received.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
                Err(_) => return false,
            };
            if let Some(record) = bytes.get(..length_bytes).and_then(Record::decode) {
                self.learn(record, descriptors.pop());
            }
        }
    }

    fn learn(&mut self, record: Record, descriptor: Option<OwnedFd>) {
        match record {
            Record::Program { pid } => (self.program_pid, self.program) = (pid, descriptor),
            Record::Announced { id, marker } => {
                self.workers.insert(id, Worker { marker, pid: None, process: None });
            }
            Record::Registered { id, pid, marker } => {
                self.workers.insert(id, Worker { marker, pid: Some(pid), process: descriptor });
            }
            Record::Forgotten { id } => {
                self.workers.remove(&id);
            }
        }
    }

    /// Kills each worker and its group.
    fn kill_all(&mut self) {
        // Where the process is not known, or its descriptor did not fit in among this process's own, its marker tells.
        let mut unknown = Vec::new();
        for worker in std::mem::take(&mut self.workers).into_values() {
            match &worker.process {
                Some(process) => kill(process, worker.pid, &worker.marker, self.program_pid),
                None => unknown.push(worker),
            }
        }
        for pause in SWEEPS {
            if unknown.is_empty() {
                return;
            }
            if let Ok(pause) = Timespec::try_from(pause) {
                let _ = poll(&mut [], Some(&pause));
            }
            unknown.retain(|worker| !kill_by_marker(&worker.marker, self.program_pid, worker.pid));
        }
    }
}

/// Kills a worker and its group.
fn kill(process: &OwnedFd, pid: Option<u32>, marker: &str, program: u32) {
    // Before Linux 6.9, the group has to be looked for.
    if pidfd::kill_group(process) == Err(Errno::INVAL)
        && let Some(pid) = pid
    {
        kill_members(process, pid, marker, program);
    }
    // It may have gone to another group. An error means that it is dead.
    let _ = pidfd_send_signal(process, Signal::KILL);
}

/// Kills the members of the group that the process `pid` leads, or has led, one by one.
///
/// The number is the group's own while its leader is not reaped. After that, another group may have it, unless a member bears
/// the worker's marker.
fn kill_members(leader: &OwnedFd, pid: u32, marker: &str, program: u32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // One that was being started is found by the next look. A killed one starts nothing.
    for _ in 0..MEMBER_LOOKS {
        let mut found = false;
        for member in processes() {
            if group_of(member) != Some(pid) || is_dead(member) {
                continue;
            }
            let Ok(descriptor) = pidfd_open(member, PidfdFlags::empty()) else { continue };
            // Of the process that the descriptor is of: one with that number was there before and after.
            let is_ours =
                group_of(member) == Some(pid) && (pidfd::exists(leader) || bears(member, marker, program));
            if is_ours && pidfd_send_signal(&descriptor, Signal::KILL).is_ok() {
                found = true;
            }
        }
        if !found {
            return;
        }
    }
}

/// No group grows faster than it is killed for longer than this.
const MEMBER_LOOKS: usize = 100;

/// Kills the worker that was started with this marker, with its group, if it shows it. True if it does.
fn kill_by_marker(marker: &str, program: u32, known: Option<u32>) -> bool {
    let known = known.and_then(|pid| i32::try_from(pid).ok());
    let mut found = false;
    for process in processes() {
        let number = process.as_raw_nonzero().get();
        // What was moved out of the group is not the worker's any more.
        let is_of_group = |group: Option<i32>| group.is_some() && (group == Some(number) || group == known);
        if !is_of_group(group_of(process)) || !bears(process, marker, program) || leads_a_session(process) {
            continue;
        }
        let Ok(descriptor) = pidfd_open(process, PidfdFlags::empty()) else { continue };
        if bears(process, marker, program) && is_of_group(group_of(process)) {
            let pid = u32::try_from(number).ok();
            if group_of(process) == Some(number) {
                kill(&descriptor, pid, marker, program);
            } else {
                let _ = pidfd_send_signal(&descriptor, Signal::KILL);
            }
            found = true;
        }
    }
    found
}

/// Every process that can be seen.
fn processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|&number| number > 0).filter_map(Pid::from_raw).collect()
}

fn group_of(process: Pid) -> Option<i32> {
    stat::field(process, stat::GROUP)?.parse().ok()
}

fn leads_a_session(process: Pid) -> bool {
    stat::field(process, stat::SESSION)
        .is_some_and(|session| session.parse() == Ok(process.as_raw_nonzero().get()))
}

fn is_dead(process: Pid) -> bool {
    stat::field(process, stat::STATE).is_none_or(|state| matches!(&*state, "Z" | "X"))
}

/// Whether the environment that a process was started with has this marker of a worker of the program.
fn bears(process: Pid, marker: &str, program: u32) -> bool {
    let Ok(file) = fs::File::open(format!("/proc/{process}/environ")) else { return false };
    let mut environment = Vec::new();
    // What can be read of it counts.
    let _ = file.take(ENVIRONMENT_LIMIT_BYTES).read_to_end(&mut environment);
    let value = |name: &str| {
        let mut variables = environment.split(|&byte| byte == 0);
        variables.find_map(|said| said.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    value(markers::WORKER) == Some(marker.as_bytes())
        && value(origin::MANAGER).is_some_and(|manager| origin::names(manager, program))
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use std::{
        os::unix::process::CommandExt,
        process::{Child, ChildStdout, Command, Stdio},
    };

    use super::*;

    /// A group of processes that bear a marker of program 7; its output ends with the last of them.
    fn group(marker: &str, script: &str) -> (Child, OwnedFd, ChildStdout) {
        let mut leader = Command::new("sh")
            .args(["-c", script])
            .env(markers::WORKER, marker)
            .env(origin::MANAGER, "7:1")
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let descriptor = pidfd_open(Pid::from_child(&leader), PidfdFlags::empty()).expect("its descriptor");
        let mut output = leader.stdout.take().expect("it is piped");
        output.read_exact(&mut [0; 3]).expect("it is up");
        (leader, descriptor, output)
    }

    fn assert_ends(mut output: ChildStdout) {
        assert_eq!(output.read_to_end(&mut Vec::new()).expect("it can be read"), 0);
    }

    #[test]
    fn the_members_of_a_group_are_found_and_killed_where_the_kernel_cannot() {
        let (mut leader, descriptor, output) =
            group("1:1", "sleep 1000 & (sleep 1000 & sleep 1000) & echo up; wait");
        kill_members(&descriptor, leader.id(), "", 0);
        assert_ends(output);
        leader.wait().expect("it can be reaped");
    }

    #[test]
    fn a_group_whose_leader_was_reaped_is_known_by_its_marker_alone() {
        let (mut leader, descriptor, output) = group("1:2", "sleep 1000 & echo up");
        leader.wait().expect("it can be reaped");
        let group = i32::try_from(leader.id()).expect("a number");
        let lives = || processes().into_iter().any(|process| group_of(process) == Some(group));
        for (marker, program) in [("", 7), ("1:2", 8)] {
            kill_members(&descriptor, leader.id(), marker, program);
            assert!(lives(), "its number may be another's");
        }
        kill_members(&descriptor, leader.id(), "1:2", 7);
        assert_ends(output);
    }

    #[test]
    fn a_process_that_leads_its_group_is_found_by_its_marker_and_no_other_is() {
        let (mut leader, _descriptor, output) = group("1:3", "sleep 1000 & echo up; wait");
        assert!(!kill_by_marker("1:3", 8, None));
        assert!(!kill_by_marker("1:4", 7, None));
        assert!(kill_by_marker("1:3", 7, None));
        assert_ends(output);
        leader.wait().expect("it can be reaped");
    }
}
