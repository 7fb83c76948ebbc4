//! Tasks that harm the process they run in: its descriptors, output, directory, signals, limits, memory, threads and
//! panic hook. Each gets a typed answer, the tasks around it get theirs, and the manager goes on.

mod support;

use std::{
    env,
    ffi::c_int,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
    panic,
    path::PathBuf,
    process,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use support::{
    acts::{self, Act, Done, exited, signaled},
    alone, close,
    gate::{Gate, Hold},
    only_worker,
    process::{Program, await_death, part, signal, signal_child, sockets, status},
    tasks::{self, Text},
    without_leaks,
};
use workfleet_task_manager::{
    ClosePolicy, DeathCertificate, ExitStatus, FailureCause, KillReason, Message, ProcessManager,
    ProcessManagerBuilder, Registry, Task, TaskContext, TaskError, TaskSpec, init,
};

/// What an [`Act`] does.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Deed {
    Nothing,
    CloseDescriptors { from: u32 },
    CloseOne { of: Own },
    CloseStandardDescriptors,
    ReplaceDescriptors { by: Replacement },
    ReplaceOne { of: Own },
    WriteGarbageEverywhere,
    UseStandardInput,
    AllowDescriptors(u64),
    Print { bytes: usize, line_bytes: usize },
    PrintAndAbort { bytes: usize },
    ChangeDirectory(PathBuf),
    DeleteDirectory(PathBuf),
    IgnoreSignals,
    HandleSignals,
    BlockSignals,
    Wait { then: Box<Deed> },
    RunOutOfMemory,
    RaisePipe,
    CallInit,
    Exit { at_once: bool },
    EndThread { unwinding: bool },
    SilencePanics,
    PanicInHook,
    ExitInHook,
    Panic,
}

/// The sockets of a worker, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Own {
    Connection,
    Waker,
    Wakened,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Replacement {
    /// Of which there is nothing to read.
    Null,
    /// Another connected socket, at whose other end nobody is.
    Socket,
}

impl acts::Deed for Deed {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        match self {
            Self::Nothing => {}
            Self::CloseDescriptors { from } => close_descriptors(from)?,
            Self::CloseOne { of } => {
                let number = own_sockets()?[of as usize];
                // SAFETY: none: it belongs to the worker, and a task that closes it is what is tested.
                unsafe { libc::close(number) };
            }
            Self::CloseStandardDescriptors => {
                for number in 0..3 {
                    // SAFETY: none: closing what others use is what is tested.
                    unsafe { libc::close(number) };
                }
            }
            Self::ReplaceDescriptors { by } => {
                for number in own_sockets()? {
                    replace(number, by)?;
                }
            }
            Self::ReplaceOne { of } => replace(own_sockets()?[of as usize], Replacement::Null)?,
            Self::WriteGarbageEverywhere => write_garbage()?,
            Self::UseStandardInput => use_standard_input()?,
            Self::AllowDescriptors(count) => allow(Resource::Nofile, count)?,
            Self::Print { bytes, line_bytes } => print(bytes, line_bytes)?,
            Self::PrintAndAbort { bytes } => {
                print(bytes, 80)?;
                process::abort();
            }
            Self::ChangeDirectory(to) => env::set_current_dir(to)?,
            Self::DeleteDirectory(directory) => {
                env::set_current_dir(&directory)?;
                fs::remove_dir(directory)?;
                assert!(env::current_dir().is_err(), "it is gone");
            }
            Self::IgnoreSignals => set_handlers(libc::SIG_IGN)?,
            Self::HandleSignals => set_handlers(nothing as *const () as usize)?,
            Self::BlockSignals => block_signals()?,
            Self::Wait { then } => {
                then.run(cx)?;
                cx.send_message(&Text("ready".into()))?;
                loop {
                    thread::park();
                }
            }
            Self::RunOutOfMemory => run_out_of_memory()?,
            Self::RaisePipe => {
                // SAFETY: the default is what a C program has.
                unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
                let (read, write) = io::pipe()?;
                drop(read);
                (&write).write_all(b"to nobody")?;
            }
            Self::CallInit => {
                init(&registry());
                init(&Registry::new());
            }
            Self::Exit { at_once: true } => {
                cx.send_message(&Text("lost, maybe".into()))?;
                // SAFETY: it ends the process and runs nothing.
                unsafe { libc::_exit(0) };
            }
            Self::Exit { at_once: false } => process::exit(0),
            // SAFETY: none: a thread that ends under the feet of its runtime is what is tested.
            Self::EndThread { unwinding: true } => unsafe { libc::pthread_exit(std::ptr::null_mut()) },
            Self::EndThread { unwinding: false } => {
                cx.send_message(&Text("ready".into()))?;
                cx.flush()?;
                // SAFETY: none, as above.
                unsafe { libc::syscall(libc::SYS_exit, 0) };
            }
            Self::SilencePanics => panic::set_hook(Box::new(|_| ())),
            Self::PanicInHook => panic::set_hook(Box::new(|_| panic!("in the hook"))),
            Self::ExitInHook => panic::set_hook(Box::new(|_| process::exit(21))),
            Self::Panic => panic!("out of luck"),
        }
        Ok(())
    }
}

fn checked(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn close_descriptors(from: u32) -> io::Result<()> {
    // SAFETY: none: closing what others use is what is tested.
    checked(unsafe { libc::close_range(from, u32::MAX, 0) })
}

/// The descriptors of the worker itself that are sockets: in the order in which it opened them.
fn own_sockets() -> io::Result<Vec<c_int>> {
    let sockets = sockets()?;
    assert!(sockets.len() >= 3, "a connection and two ends of a waker: {sockets:?}");
    Ok(sockets)
}

fn replace(number: c_int, by: Replacement) -> io::Result<()> {
    let replacement: OwnedFd = match by {
        Replacement::Null => File::open("/dev/null")?.into(),
        Replacement::Socket => {
            let (one, other) = std::os::unix::net::UnixStream::pair()?;
            // It stays open.
            let _ = other.into_raw_fd();
            one.into()
        }
    };
    // SAFETY: none: it belongs to the worker, and a task that replaces it is what is tested.
    checked(unsafe { libc::dup2(replacement.as_raw_fd(), number) })
}

/// Writes what is no frame into every descriptor that takes it.
fn write_garbage() -> io::Result<()> {
    for number in 3..64 {
        // SAFETY: a write into whatever stands there; nothing is waited for.
        unsafe {
            let flags = libc::fcntl(number, libc::F_GETFL);
            if flags != -1 {
                libc::fcntl(number, libc::F_SETFL, flags | libc::O_NONBLOCK);
                libc::write(number, [0xff_u8; 512].as_ptr().cast(), 512);
            }
        }
    }
    loop {
        thread::park();
    }
}

/// Standard input is nobody's connection: nothing comes from it, and nothing can be written to it.
fn use_standard_input() -> Result<(), TaskError> {
    let mut text = String::new();
    assert_eq!(io::stdin().read_to_string(&mut text)?, 0);
    assert_eq!(fs::read_link("/proc/self/fd/0")?.to_str(), Some("/dev/null"));
    // SAFETY: descriptor 0 is open, and is not closed by this.
    let mut input = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(0) });
    let refused = input.write_all(b"garbage").expect_err("it is for reading");
    assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    Ok(())
}

fn allow(resource: Resource, current: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    Ok(setrlimit(resource, Rlimit { current: Some(current), maximum })?)
}

/// Prints so many bytes on standard error, in lines of so many.
fn print(bytes: usize, line_bytes: usize) -> io::Result<()> {
    let chunk: Vec<u8> = (1..=64 * 1024)
        .map(|place: usize| if place.is_multiple_of(line_bytes) { b'\n' } else { b'x' })
        .collect();
    let mut left_bytes = bytes;
    while left_bytes > 0 {
        let part_bytes = left_bytes.min(chunk.len());
        io::stderr().write_all(&chunk[..part_bytes])?;
        left_bytes -= part_bytes;
    }
    Ok(())
}

const POLITE_SIGNALS: [c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

extern "C" fn nothing(_signal: c_int) {}

fn set_handlers(handler: usize) -> io::Result<()> {
    for signal in POLITE_SIGNALS {
        // SAFETY: the handler does nothing, which is safe at any moment.
        if unsafe { libc::signal(signal, handler) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// In every thread: those of the worker are asked one by one.
fn block_signals() -> io::Result<()> {
    // SAFETY: all-zero is a valid set, which `sigfillset` then fills; the mask is this thread's own.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Until an allocation fails: within a limit of this process's own, so that the machine is spared.
fn run_out_of_memory() -> io::Result<()> {
    allow(Resource::As, status("VmSize") * 1024 + (64 << 20))?;
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 1 << 20]);
    }
}

/// Does everything that needs its manager: sends, schedules, flushes.
#[derive(Debug, Serialize, Deserialize)]
struct Talk {
    children: u32,
}

impl TaskSpec for Talk {
    const NAME: &'static str = "talk-to-manager";
    type Output = Done;
}

impl Task for Talk {
    fn run(self, cx: &TaskContext) -> Result<Done, TaskError> {
        cx.send_message(&Text("hello".into()))?;
        for _ in 0..self.children {
            cx.schedule(Self { children: 0 })?;
        }
        cx.flush()?;
        Ok(Done::by(cx))
    }
}

fn registry() -> Registry {
    tasks::registry().task::<Act<Deed>>().task::<Hold>().task::<Talk>()
}
workfleet_task_manager::test_worker!(registry());

fn one_worker() -> ProcessManagerBuilder {
    support::builder(registry(), 1)
}

fn submit(manager: &ProcessManager, deed: Deed) -> workfleet_task_manager::TaskHandle<Done> {
    manager.submit(Act::always(deed)).expect("it is taken")
}

/// The manager and its only worker do all that they should.
fn assert_healthy(manager: &ProcessManager) -> u32 {
    let talk = manager.submit(Talk { children: 2 }).expect("it is taken");
    let said: Vec<_> = manager
        .messages()
        .map(|message: Result<Message<Text>, _>| message.expect("a text").content.0)
        .collect();
    assert_eq!(said.iter().filter(|text| *text == "hello").count(), 3, "{said:?}");
    talk.wait().expect("it is done").pid
}

/// The deed is done and nothing comes of it: the worker goes on, with the tasks behind it too.
fn check_harmless(builder: ProcessManagerBuilder, deed: &Deed) {
    let _alone = alone();
    without_leaks(|| {
        let manager = builder.start().expect("it starts");
        let pid = only_worker(&manager).expect("it has just started");
        for _ in 0..2 {
            let handles: Vec<_> = (0..5)
                .flat_map(|_| [submit(&manager, deed.clone()), submit(&manager, Deed::Nothing)])
                .collect();
            for handle in handles {
                assert_eq!(handle.wait().expect("it is done"), Done { attempt: 1, pid }, "{deed:?}");
            }
            assert_eq!(assert_healthy(&manager), pid);
        }
        let report = close(&manager);
        assert_eq!(report.tasks.done, report.tasks.scheduled);
    });
}

/// The deed is always a death of its worker, of which it alone is charged.
fn check_death(builder: ProcessManagerBuilder, deed: &Deed, check: impl Fn(&DeathCertificate)) {
    let _alone = alone();
    without_leaks(|| {
        let manager = builder.start().expect("it starts");
        acts::check_death(&manager, deed, &Deed::Nothing, check);
        assert_healthy(&manager);
        let report = close(&manager);
        assert_eq!(report.tasks.failed, 1, "{report}");
    });
}

/// The worker kills itself when it finds its connection gone; the manager may see the end first.
fn killed_without_a_connection(death: &DeathCertificate) {
    assert_eq!(death.status, ExitStatus::Signaled(libc::SIGKILL), "{death}");
    assert!(matches!(death.killed_because, None | Some(KillReason::ConnectionEnded)), "{death}");
}

#[test]
fn closing_all_descriptors_is_a_death() {
    check_death(one_worker(), &Deed::CloseDescriptors { from: 3 }, killed_without_a_connection);
    check_death(one_worker(), &Deed::CloseDescriptors { from: 0 }, killed_without_a_connection);
}

#[test]
fn closing_any_one_socket_of_the_worker_is_a_death() {
    for of in [Own::Connection, Own::Waker, Own::Wakened] {
        check_death(one_worker(), &Deed::CloseOne { of }, killed_without_a_connection);
    }
}

#[test]
fn replacing_the_sockets_of_the_worker_is_a_death() {
    for by in [Replacement::Null, Replacement::Socket] {
        check_death(one_worker(), &Deed::ReplaceDescriptors { by }, killed_without_a_connection);
    }
    for of in [Own::Connection, Own::Waker, Own::Wakened] {
        check_death(one_worker(), &Deed::ReplaceOne { of }, killed_without_a_connection);
    }
}

#[test]
fn closing_the_standard_descriptors_is_harmless() {
    check_harmless(one_worker(), &Deed::CloseStandardDescriptors);
    let logs = tempfile::tempdir().expect("a directory");
    check_harmless(one_worker().log_directory(logs.path()), &Deed::CloseStandardDescriptors);
}

#[test]
fn garbage_in_every_descriptor_violates_the_protocol() {
    check_death(one_worker(), &Deed::WriteGarbageEverywhere, |death| {
        assert_eq!(death.status, ExitStatus::Signaled(libc::SIGKILL), "{death}");
        assert_eq!(death.killed_because, Some(KillReason::ProtocolViolated), "{death}");
    });
}

#[test]
fn standard_input_is_empty_and_not_to_be_written() {
    check_harmless(one_worker(), &Deed::UseStandardInput);
}

#[test]
fn allowing_few_descriptors_is_harmless() {
    for count in [2, 3] {
        check_harmless(one_worker(), &Deed::AllowDescriptors(count));
    }
}

/// `poll` refuses more descriptors than the limit: the worker cannot watch its connection any more.
#[test]
fn allowing_no_descriptors_is_a_death() {
    for count in [0, 1] {
        check_death(one_worker(), &Deed::AllowDescriptors(count), signaled(libc::SIGKILL));
    }
}

#[test]
fn a_task_that_changes_or_deletes_its_directory_harms_nobody() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let manager = one_worker().start().expect("it starts");
    let deeds = [
        Deed::ChangeDirectory("/".into()),
        Deed::ChangeDirectory("/proc/self".into()),
        Deed::DeleteDirectory(directory.path().join("gone")),
    ];
    for deed in deeds {
        fs::create_dir_all(directory.path().join("gone")).expect("a directory");
        let pid = submit(&manager, deed).wait().expect("it is done").pid;
        assert_eq!(assert_healthy(&manager), pid);
        // The next worker starts as the first did, wherever the last one was.
        signal_child(pid, Signal::KILL);
        await_death(pid);
        assert_ne!(assert_healthy(&manager), pid);
    }
    close(&manager);
}

#[test]
fn a_worker_that_ignores_handles_or_blocks_signals_is_killed_when_the_manager_closes() {
    let _alone = alone();
    for deed in [Deed::IgnoreSignals, Deed::HandleSignals, Deed::BlockSignals] {
        without_leaks(|| {
            let manager = one_worker().grace(Duration::from_millis(20)).start().expect("it starts");
            let waits = submit(&manager, Deed::Wait { then: Box::new(deed.clone()) });
            assert_eq!(tasks::next_text(&manager), "ready");
            let pid = only_worker(&manager).expect("it runs");
            // Other threads of the worker take what this one blocks.
            if !matches!(deed, Deed::BlockSignals) {
                [Signal::TERM, Signal::INT, Signal::HUP].into_iter().for_each(|s| signal(pid, s));
            }
            let report = manager.close(ClosePolicy::Cancel).expect("it closes");
            assert_eq!(report.tasks.cancelled, 1);
            let failure = waits.wait().expect_err("it was killed");
            assert_eq!(failure.cause, FailureCause::Cancelled);
            match &failure.deaths[..] {
                [death] => {
                    assert_eq!((death.pid, death.charged), (pid, Some(failure.task)), "{failure}");
                    assert_eq!(death.status, ExitStatus::Signaled(libc::SIGKILL), "{failure}");
                    assert_eq!(death.killed_because, Some(KillReason::Closing), "{failure}");
                }
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn changing_handlers_and_masks_is_harmless() {
    for deed in [Deed::IgnoreSignals, Deed::HandleSignals, Deed::BlockSignals] {
        check_harmless(one_worker(), &deed);
    }
}

#[test]
fn a_polite_signal_from_outside_is_a_death_of_the_task_that_runs() {
    let _alone = alone();
    // Whoever runs the tests may ignore them, as `nohup` does; what is ignored is inherited.
    set_handlers(libc::SIG_DFL).expect("they can be set");
    let manager = one_worker().start().expect("it starts");
    let gate = Gate::new();
    for (polite, number) in
        [(Signal::TERM, libc::SIGTERM), (Signal::INT, libc::SIGINT), (Signal::HUP, libc::SIGHUP)]
    {
        let victim = manager.submit(Hold(gate.path())).expect("it is taken");
        for _ in 0..3 {
            signal(gate.wait().pid, polite);
        }
        let failure = victim.wait().expect_err("it was killed three times");
        assert_eq!(failure.deaths.len(), 3);
        failure.deaths.iter().for_each(signaled(number));
    }
    assert_healthy(&manager);
    close(&manager);
}

#[test]
fn running_out_of_memory_is_a_death_with_its_words() {
    check_death(one_worker(), &Deed::RunOutOfMemory, |death| {
        signaled(libc::SIGABRT)(death);
        assert!(death.stderr_tail.contains("memory allocation of"), "{death}");
    });
}

#[test]
fn a_broken_pipe_is_a_death_where_the_task_asks_for_that() {
    check_death(one_worker(), &Deed::RaisePipe, signaled(libc::SIGPIPE));
}

#[test]
fn calling_init_in_a_task_does_nothing() {
    check_harmless(one_worker(), &Deed::CallInit);
}

#[test]
fn exiting_well_is_a_death_with_or_without_handlers() {
    for at_once in [false, true] {
        check_death(one_worker(), &Deed::Exit { at_once }, exited(0));
    }
}

#[test]
fn a_task_that_ends_its_thread_by_unwinding_ends_its_worker() {
    check_death(one_worker(), &Deed::EndThread { unwinding: true }, signaled(libc::SIGABRT));
}

/// Nothing tells that the thread is gone: its task counts as running, as one that never ends would.
#[test]
fn a_task_that_ends_its_thread_silently_runs_until_it_is_killed() {
    let _alone = alone();
    let manager = one_worker().grace(Duration::from_millis(20)).start().expect("it starts");
    let vanishes = submit(&manager, Deed::EndThread { unwinding: false });
    assert_eq!(tasks::next_text(&manager), "ready");
    let report = manager.close(ClosePolicy::Cancel).expect("it closes");
    assert_eq!(report.tasks.cancelled, 1);
    let failure = vanishes.wait().expect_err("it was killed");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::Cancelled, 1));
    assert_eq!(failure.deaths[0].killed_because, Some(KillReason::Closing));
}

#[test]
fn a_panic_hook_of_a_tasks_own_changes_what_is_known_of_a_panic() {
    let _alone = alone();
    let manager = one_worker().start().expect("it starts");
    let pid = submit(&manager, Deed::SilencePanics).wait().expect("it is done").pid;
    let failure = submit(&manager, Deed::Panic).wait().expect_err("it panics");
    match &failure.cause {
        FailureCause::Panicked { message, location, backtrace, .. } => {
            assert_eq!((&**message, location, backtrace), ("out of luck", &None, &None));
        }
        other => panic!("{other}"),
    }
    assert_eq!((failure.attempt, failure.deaths.len()), (1, 0));
    assert_eq!(assert_healthy(&manager), pid);
    close(&manager);
}

#[test]
fn a_panic_hook_that_panics_or_exits_makes_the_next_panic_a_death() {
    let _alone = alone();
    let manager = one_worker().start().expect("it starts");
    for (hook, status) in
        [(Deed::PanicInHook, ExitStatus::Signaled(libc::SIGABRT)), (Deed::ExitInHook, ExitStatus::Exited(21))]
    {
        submit(&manager, hook).wait().expect("it is done");
        let failure = submit(&manager, Deed::Panic).wait().expect_err("it panics");
        // The second attempt finds a worker with the usual hook.
        assert!(matches!(failure.cause, FailureCause::Panicked { .. }), "{failure}");
        assert_eq!((failure.attempt, failure.deaths.len()), (2, 1), "{failure}");
        assert_eq!((failure.deaths[0].status, failure.deaths[0].charged), (status, Some(failure.task)));
        assert_healthy(&manager);
    }
    close(&manager);
}

const FLOOD_BYTES: usize = 100 << 20;
/// What a manager may need for a flood of any size.
const FLOOD_MEMORY_KIB: u64 = 32 << 10;

/// Not a test by itself: the programs that the tests below start, whose standard error is theirs.
#[test]
fn program() {
    let Some(part) = part() else { return };
    let logs = tempfile::tempdir().expect("a directory");
    let log = logs.path().join("worker-0.log");
    let before_kib = status("VmHWM");
    let manager = match &*part {
        "flood" => one_worker(),
        "flood-logged" => one_worker().log_directory(logs.path()),
        "flood-unread" => support::builder(registry(), 2),
        other => panic!("no part is called {other}"),
    };
    let manager = manager.start().expect("it starts");
    let flood = submit(&manager, Deed::Print { bytes: FLOOD_BYTES, line_bytes: usize::MAX });
    if part == "flood-unread" {
        // It waits for somebody who reads. Nobody else does.
        let others: Vec<_> = (0..200).map(|_| submit(&manager, Deed::Nothing)).collect();
        for other in others {
            assert_eq!(other.wait().expect("it is done").attempt, 1);
        }
        assert!(!flood.is_finished());
        let report = manager.close(ClosePolicy::Kill).expect("it closes");
        assert_eq!((report.tasks.done, report.tasks.cancelled), (200, 1));
        flood.wait().expect_err("it was killed");
        support::assert_no_child_left();
        return;
    }
    let pid = flood.wait().expect("it is done").pid;
    let lines = submit(&manager, Deed::Print { bytes: 1 << 20, line_bytes: 80 });
    assert_eq!(lines.wait().expect("it is done").pid, pid);
    assert_eq!(assert_healthy(&manager), pid);
    let failure = submit(&manager, Deed::PrintAndAbort { bytes: 1 << 20 }).wait().expect_err("it aborts");
    for death in &failure.deaths {
        let tail = &death.stderr_tail;
        assert!((4000..=4096).contains(&tail.len()), "{}", tail.len());
        assert!(tail.lines().all(|line| line == "x".repeat(line.len())), "{tail}");
    }
    close(&manager);
    support::assert_no_child_left();
    let grown_kib = status("VmHWM") - before_kib;
    assert!(grown_kib < FLOOD_MEMORY_KIB, "{grown_kib} KiB");
    if part == "flood-logged" {
        let len_bytes = fs::metadata(log).expect("a log").len();
        assert!(len_bytes >= FLOOD_BYTES as u64, "{len_bytes}");
    }
}

#[test]
fn a_flood_on_standard_error_takes_bounded_memory_and_costs_nobody() {
    let _alone = alone();
    for part in ["flood", "flood-logged"] {
        let nowhere = |command: &mut Command| {
            command.stderr(Stdio::null());
        };
        Program::start_as("/proc/self/exe", "program", part, nowhere).assert_success();
    }
}

#[test]
fn a_flood_that_nobody_reads_holds_up_its_own_worker_alone() {
    let _alone = alone();
    let unread = |command: &mut Command| {
        command.stderr(Stdio::piped());
    };
    let mut program = Program::start_as("/proc/self/exe", "program", "flood-unread", unread);
    // Open, and never read.
    let _stderr = program.child.stderr.take();
    program.assert_success();
}
