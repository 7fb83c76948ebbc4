//! What workers print arrives whole: in logs that are renamed, removed and opened again, on a standard error that many share,
//! that does not wait, or that nobody reads; and what outlives its worker may go on printing.

mod support;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use rustix::{
    fs::OFlags,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::Signal,
};
use serde::{Deserialize, Serialize};
use support::{
    alone, builder, close, only_worker,
    process::{Program, Watched, fork, is_alive, part, pause, signal, signal_child},
    tasks::{self, Text, next_text},
    until,
};
use workfleet_task_manager::{ProcessManager, Registry, Task, TaskContext, TaskError, TaskSpec};

/// Prints numbered lines, to one stream and the other in turn, in pieces.
#[derive(Debug, Serialize, Deserialize)]
struct Print {
    name: String,
    from: u32,
    to: u32,
}

impl TaskSpec for Print {
    const NAME: &'static str = "print";
    type Output = ();
}

impl Task for Print {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        let Self { name, from, to } = self;
        for number in from..to {
            // In two writes each, and the other stream between both.
            let (first, rest) = (format!("{name} {number} "), format!("{}|\n", "x".repeat(50)));
            io::stderr().write_all(first.as_bytes())?;
            if number % 100 == 0 {
                await_read(io::stderr());
            }
            print!("{first}");
            io::stdout().flush()?;
            if number % 100 == 0 {
                await_read(io::stdout());
            }
            io::stderr().write_all(rest.as_bytes())?;
            print!("{rest}");
            io::stdout().flush()?;
        }
        Ok(())
    }
}

/// Prints as many lines at once as a reader of the worker's output takes in one read.
#[derive(Debug, Serialize, Deserialize)]
struct PrintAtOnce;

impl TaskSpec for PrintAtOnce {
    const NAME: &'static str = "print at once";
    type Output = ();
}

impl Task for PrintAtOnce {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        // So that the reader finds nothing else in the pipe.
        await_read(io::stderr());
        Ok(io::stderr().write_all(LINE_AT_ONCE.repeat(LINES_AT_ONCE).as_bytes())?)
    }
}

const LINE_AT_ONCE: &str =
    "a line of which a whole number fits 16 KiB, beginning with a letter, ending in a bar..........|\n";
const LINES_AT_ONCE: usize = 16 * 1024 / LINE_AT_ONCE.len();

/// What was written to a pipe was read.
fn await_read(pipe: impl AsFd) {
    // An error means that it is no pipe.
    while rustix::io::ioctl_fionread(&pipe).is_ok_and(|left_bytes| left_bytes > 0) {
        thread::yield_now();
    }
}

/// Leaves a process behind that has left the group, and says its number. It prints when it is told by SIGUSR1, and goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Leave;

impl TaskSpec for Leave {
    const NAME: &'static str = "leave";
    type Output = ();
}

/// A process that a test has forgotten goes after this.
const DAEMON_LIFE_SECONDS: u32 = 100;

extern "C" fn print_from_handler(_signal: i32) {
    let text = b"a daemon lives\n";
    // SAFETY: writing is allowed in a handler, and the text outlives the call.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

impl Task for Leave {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let (mut begun, begin) = io::pipe()?;
        let daemon = fork(|| {
            rustix::process::setsid().expect("it leads no group");
            let handler: extern "C" fn(i32) = print_from_handler;
            // SAFETY: the handler only writes; the alarm is this process's own.
            unsafe {
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                libc::signal(libc::SIGUSR1, handler as libc::sighandler_t);
                libc::alarm(DAEMON_LIFE_SECONDS);
            }
            (&begin).write_all(b"!").expect("the task reads");
            pause();
        });
        begun.read_exact(&mut [0])?;
        cx.send_message(&Text(daemon.to_string()))?;
        Ok(cx.flush()?)
    }
}

fn registry() -> Registry {
    tasks::registry().task::<Print>().task::<PrintAtOnce>().task::<Leave>()
}
workfleet_task_manager::test_worker!(registry());

fn print(manager: &ProcessManager, name: &str, from: u32, to: u32) {
    manager.submit(Print { name: name.into(), from, to }).expect("it is taken").wait().expect("it is done");
}

/// The text of a log without the times, which have their form. Harness's own lines are left out.
fn texts(log: &str) -> Vec<String> {
    assert!(log.is_empty() || log.ends_with('\n'));
    let mut texts = Vec::new();
    for line in log.lines() {
        let (time, text) = line.split_once(' ').expect("a time");
        assert_eq!((time.len(), time.ends_with('Z')), ("2026-01-01T00:00:00.000Z".len(), true), "{line}");
        humantime::parse_rfc3339(time).expect("a time");
        if text.contains('|') {
            texts.push(text.to_owned());
        }
    }
    texts
}

/// Lines of [`Print`], each `times` times.
fn assert_lines(texts: &[String], name: &str, to: u32, times: usize) {
    let mut found: Vec<u32> = texts
        .iter()
        .filter(|text| text.starts_with(name))
        .map(|text| {
            let mut words = text.split(' ');
            let number = words.nth(1).and_then(|number| number.parse().ok()).expect("a number");
            assert_eq!(*text, format!("{name} {number} {}|", "x".repeat(50)), "a whole line");
            number
        })
        .collect();
    found.sort_unstable();
    let wanted: Vec<u32> = (0..to).flat_map(|number| vec![number; times]).collect();
    assert_eq!(found, wanted);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_log_has_both_streams_in_whole_lines_behind_their_times() {
    let _alone = alone();
    let logs = tempfile::tempdir().expect("a directory");
    let manager = builder(registry(), 1).log_directory(logs.path()).start().expect("it starts");
    print(&manager, "a", 0, 500);
    close(&manager);
    assert_lines(&texts(&read(&logs.path().join("worker-0.log"))), "a", 500, 2);
}

#[test]
fn a_log_that_is_rotated_loses_no_line_and_doubles_none() {
    let _alone = alone();
    let home = tempfile::tempdir().expect("a directory");
    let logs = home.path().join("logs");
    let log = logs.join("worker-0.log");
    let manager = builder(registry(), 1).log_directory(&logs).start().expect("it starts");
    let mut old = Vec::new();
    for turn in 0..4_u32 {
        until(|| log.exists());
        let mut file = File::open(&log).expect("it is there");
        let printing = manager
            .submit(Print { name: "r".into(), from: turn * 100, to: (turn + 1) * 100 })
            .expect("taken");
        match turn {
            // Amid the printing.
            0 => fs::rename(&log, home.path().join("old")).expect("it is there"),
            1 => fs::remove_file(&log).expect("it is there"),
            2 => fs::rename(&logs, home.path().join("gone")).expect("it is there"),
            _ => manager.reopen_logs(),
        }
        printing.wait().expect("it is done");
        // What comes from now on is in the new one.
        let last = format!("t{turn}");
        print(&manager, &last, 0, 1);
        until(|| texts(&read(&log)).iter().any(|text| text.starts_with(&last)));
        if turn < 3 {
            let mut text = String::new();
            file.read_to_string(&mut text).expect("a text");
            old.extend(texts(&text));
            assert!(!old.iter().any(|text| text.starts_with(&last)), "the old one gets no more lines");
        }
    }
    close(&manager);
    let mut all = old;
    all.extend(texts(&read(&log)));
    assert_lines(&all, "r", 400, 2);
}

#[test]
fn a_process_that_left_its_workers_group_prints_on_when_the_worker_is_gone() {
    let _alone = alone();
    let logs = tempfile::tempdir().expect("a directory");
    let log = logs.path().join("worker-0.log");
    let manager = builder(registry(), 1).log_directory(logs.path()).start().expect("it starts");
    let leave = manager.submit(Leave).expect("it is taken");
    let daemon: u32 = next_text(&manager).parse().expect("a number");
    let watched = Watched::new(daemon);
    leave.wait().expect("it is done");
    let before = only_worker(&manager).expect("it works");
    signal_child(before, Signal::KILL);
    until(|| only_worker(&manager).is_some_and(|pid| pid != before));
    print(&manager, "p", 0, 1);
    for times in 1..=3 {
        signal(daemon, Signal::USR1);
        until(|| read(&log).matches("a daemon lives\n").count() == times || !is_alive(daemon));
        assert!(is_alive(daemon));
    }
    signal(daemon, Signal::KILL);
    watched.wait();
    close(&manager);
}

/// Not a test by itself: the programs that the tests below start, whose standard error is theirs.
#[test]
fn program() {
    let Some(part) = part() else { return };
    match &*part {
        "shares" => {
            let manager = builder(registry(), 4).start().expect("it starts");
            let printing: Vec<_> = ["a", "b", "c", "d"]
                .into_iter()
                .map(|name| {
                    manager.submit(Print { name: name.into(), from: 0, to: 2000 }).expect("it is taken")
                })
                .collect();
            printing.into_iter().for_each(|handle| handle.wait().expect("it is done"));
            close(&manager);
        }
        "prints at once" => {
            let manager = builder(registry(), 1).start().expect("it starts");
            manager.submit(PrintAtOnce).expect("it is taken").wait().expect("it is done");
            close(&manager);
        }
        "broken" => {
            // SAFETY: the default runs nothing of ours.
            unsafe {
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
            }
            let manager = builder(registry(), 1).start().expect("it starts");
            (0..10).for_each(|turn| print(&manager, "b", turn, turn + 100));
            close(&manager);
        }
        other => panic!("no part is called {other}"),
    }
}

/// What four workers print at once, by a standard error of this kind.
fn shared_by_four(nonblocking: bool) -> String {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    if nonblocking {
        // SAFETY: it takes numbers. With room for one page, a write of more than that does not fit, however fast the reader is.
        assert!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 0);
        rustix::fs::fcntl_setfl(writer.as_fd(), OFlags::NONBLOCK | OFlags::WRONLY).expect("it is set");
    }
    let shared = |command: &mut Command| {
        command.stderr(Stdio::from(writer));
    };
    let program = Program::start_as("/proc/self/exe", "program", "shares", shared);
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("a text");
        text
    });
    program.assert_success();
    reading.join().expect("it does not panic")
}

#[test]
fn workers_that_share_a_standard_error_print_whole_lines_also_where_it_does_not_wait() {
    let _alone = alone();
    for nonblocking in [false, true] {
        let text = shared_by_four(nonblocking);
        let lines: Vec<String> = text.lines().filter(|line| line.contains('|')).map(str::to_owned).collect();
        for name in ["a", "b", "c", "d"] {
            assert_lines(&lines, name, 2000, 1);
        }
    }
}

#[test]
fn what_workers_print_is_written_to_a_shared_standard_error_in_whole_lines_that_a_pipe_takes_whole() {
    let _alone = alone();
    // Each write to it is one message.
    let flags = SocketFlags::CLOEXEC;
    let (reader, writer) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("two sockets");
    let shared = |command: &mut Command| {
        command.stderr(Stdio::from(writer));
    };
    let program = Program::start_as("/proc/self/exe", "program", "prints at once", shared);
    let mut reader = File::from(reader);
    let reading = thread::spawn(move || {
        let (mut writes, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            match reader.read(&mut buffer).expect("a message, or the end") {
                0 => return writes,
                write_bytes => writes.push(String::from_utf8_lossy(&buffer[..write_bytes]).into_owned()),
            }
        }
    });
    program.assert_success();
    let mut writes = reading.join().expect("it does not panic");
    writes.retain(|write| write.contains('|'));
    assert_eq!(writes.concat(), LINE_AT_ONCE.repeat(LINES_AT_ONCE));
    for write in writes {
        assert!(write.len() <= 4096 && write.ends_with('\n'), "{} bytes: {write}", write.len());
    }
}

#[test]
fn a_standard_error_that_nobody_reads_or_that_is_full_ends_no_program() {
    let _alone = alone();
    let broken = |command: &mut Command| {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        command.stderr(Stdio::from(writer));
    };
    Program::start_as("/proc/self/exe", "program", "broken", broken).assert_success();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let own = std::env::current_exe().expect("it has a name");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""]).arg(own);
    command.stderr(Stdio::from(file.reopen().expect("it is there")));
    command.env("RUST_BACKTRACE", "0");
    Program::start_by(command, "program", "broken").assert_success();
    assert!(fs::metadata(file.path()).expect("it is there").len() <= 8 * 1024);
}
