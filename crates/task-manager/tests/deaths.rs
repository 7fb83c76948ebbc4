//! Every way in which a worker can die, with real processes: what the task that ran is told, what becomes of the tasks
//! behind it, and what is left of the worker.

mod support;

use std::{
    collections::HashSet,
    error::Error,
    fmt, fs,
    hint::black_box,
    io,
    ops::RangeInclusive,
    panic,
    path::{Path, PathBuf},
    process::{self, Command},
    ptr,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    acts::{self, Act, DONE_BESIDE_A_DEATH, Done, exited, signaled},
    append_line, assert_stopped, close,
    gate::{Gate, Hold, wait_at},
    only_worker,
    process::{await_death, await_stop, is_alive, signal_child, signal_itself, sockets},
    watchdog::watchdog,
};
use workfleet_task_manager::{
    DeathCertificate, ExitStatus, Extension, FailureCause, KillReason, MessageError, NoMessage, Peer,
    ProcessManager, ProcessManagerBuilder, Registry, Service, ServiceSender, Task, TaskContext, TaskError,
    TaskMessage, TaskSpec, WorkerIncarnation,
};
use workfleet_wire::Kind;

/// What an [`Act`] does.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Deed {
    Return,
    Exit(i32),
    TellAndExit { messages: u32 },
    Abort,
    Segfault,
    RecurseForEver,
    KillItself,
    StopItself,
    CloseSockets(Then),
    ForkAndAbort,
    LendSocketAndExit,
    ForkAndExitThere,
    FlushAndKillItself,
    WaitAt(PathBuf),
    Panic,
    PanicWithNumber,
    PanicWithBomb { depth: u32 },
    CatchPanic,
    PanicQuietly,
    Fail,
    Call,
    CallAndAwaitAnswer,
}

/// What follows when the worker's sockets are closed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Then {
    Return,
    Block,
    Spin,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note(u32);
impl TaskMessage for Note {
    const NAME: &'static str = "note";
}

impl acts::Deed for Deed {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        match self {
            Self::Return => {}
            Self::Exit(code) => {
                eprintln!("the last words");
                process::exit(code);
            }
            Self::TellAndExit { messages } => {
                for number in 0..messages {
                    cx.send_message(&Note(number))?;
                }
                process::exit(7);
            }
            Self::Abort => process::abort(),
            Self::Segfault => {
                // SAFETY: none. Nothing is ever mapped there, so that the kernel ends the process with SIGSEGV.
                unsafe { ptr::without_provenance_mut::<u8>(16).write_volatile(1) };
            }
            Self::RecurseForEver => {
                black_box(recurse(0));
            }
            Self::KillItself => signal_itself(Signal::KILL),
            Self::StopItself => signal_itself(Signal::STOP),
            Self::CloseSockets(then) => {
                close_sockets()?;
                match then {
                    Then::Return => {}
                    Then::Block => loop {
                        thread::park();
                    },
                    Then::Spin => loop {
                        black_box(());
                    },
                }
            }
            Self::ForkAndAbort => {
                let child = fork(|| ());
                cx.send_message(&Note(child))?;
                cx.flush()?;
                process::abort();
            }
            Self::LendSocketAndExit => {
                cx.send_message(&Note(lend_sockets()?))?;
                process::exit(5);
            }
            Self::ForkAndExitThere => {
                cx.send_message(&Note(1))?;
                let child = fork(|| process::exit(0));
                // SAFETY: waits for a child of this process; the status is not asked for.
                let waited = unsafe { libc::waitpid(child.cast_signed(), ptr::null_mut(), 0) };
                assert_eq!(waited, child.cast_signed());
            }
            Self::FlushAndKillItself => {
                cx.flush()?;
                signal_itself(Signal::KILL);
            }
            Self::WaitAt(gate) => wait_at(&gate)?,
            Self::Panic => panic!("out of luck"),
            Self::PanicWithNumber => panic::panic_any(7_u64),
            Self::PanicWithBomb { depth } => panic::panic_any(Bomb(depth)),
            Self::CatchPanic => assert!(panic::catch_unwind(|| panic!("caught")).is_err()),
            Self::PanicQuietly => panic::resume_unwind(Box::new("quiet")),
            Self::Fail => return Err(Outer(Inner).into()),
            Self::Call => cx.extension::<Caller>().0.send(Kind(CALL), b"hello")?,
            Self::CallAndAwaitAnswer => {
                cx.extension::<Caller>().0.send(Kind(CALL), b"hello")?;
                loop {
                    thread::park();
                }
            }
        }
        Ok(())
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(true) { recurse(depth + 1) + frame[0] } else { 0 }
}

fn close_sockets() -> io::Result<()> {
    for socket in sockets()? {
        // SAFETY: none: they belong to the worker, and a task that closes them is what is tested.
        unsafe { libc::close(socket) };
    }
    Ok(())
}

/// Starts a program that holds the worker's sockets forever. Returns its process id.
fn lend_sockets() -> io::Result<u32> {
    for socket in sockets()? {
        // SAFETY: a duplicate of an open descriptor, which no one in this process owns or closes; unlike the original
        // it is inherited.
        unsafe { libc::dup(socket) };
    }
    let child = Command::new("sleep").arg("1000").spawn()?;
    Ok(child.id())
}

/// Forks without exec. The child calls `then`, and stays forever if that returns. Returns its process id.
fn fork(then: fn()) -> u32 {
    // SAFETY: the child has one thread and only calls what works there: nothing, or `exit`.
    let child = unsafe { libc::fork() };
    match child {
        0 => {
            then();
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        child => u32::try_from(child).expect("it forks"),
    }
}

/// Panics when it is dropped, with another of its kind.
struct Bomb(u32);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic::panic_any(Self(self.0 - 1));
        }
    }
}

#[derive(Debug)]
struct Outer(Inner);
#[derive(Debug)]
struct Inner;
impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the outer error")
    }
}
impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inner error")
    }
}
impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
impl Error for Inner {}

/// Appends its number to a file, and yields it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    file: PathBuf,
    number: u32,
}
impl TaskSpec for Record {
    const NAME: &'static str = "record";
    type Output = u32;
}
impl Task for Record {
    fn run(self, _cx: &TaskContext) -> Result<u32, TaskError> {
        append_line(&self.file, &self.number.to_string())?;
        Ok(self.number)
    }
}

/// What [`Record`]s have written, sorted.
fn records(file: &Path) -> Vec<u32> {
    let text = fs::read_to_string(file).expect("the records");
    let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

/// Fails, and cannot even be printed.
#[derive(Serialize, Deserialize)]
struct Unprintable;
impl fmt::Debug for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("not to be printed")
    }
}
impl TaskSpec for Unprintable {
    const NAME: &'static str = "unprintable";
    type Output = ();
}
impl Task for Unprintable {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Err("it fails".into())
    }
}

const CALL: u8 = 0x58;

/// The tasks' half of the services below.
struct Caller(ServiceSender);
impl Extension for Caller {
    const KINDS: RangeInclusive<u8> = CALL..=CALL;

    fn attach(line: ServiceSender) -> Self {
        Self(line)
    }

    fn on_frame(&self, _kind: Kind, _payload: &[u8]) {
        panic!("an extension's own bug");
    }
}

fn registry() -> Registry {
    Registry::new().task::<Act<Deed>>().task::<Hold>().task::<Record>().task::<Unprintable>()
}
workfleet_task_manager::test_worker!(registry());

fn one_worker() -> ProcessManagerBuilder {
    ProcessManager::builder(registry()).workers(1)
}

/// The deed is always a death of its worker, of which it alone is charged.
fn check_death(builder: ProcessManagerBuilder, deed: &Deed, check: impl Fn(&DeathCertificate)) {
    let _watchdog = watchdog();
    let manager = builder.start().expect("it starts");
    acts::check_death(&manager, deed, &Deed::Return, check);
    let report = close(&manager);
    assert_eq!((report.tasks.done, report.tasks.failed), (DONE_BESIDE_A_DEATH as u64, 1));
}

#[test]
fn exit_is_a_death_with_a_code_and_last_words() {
    check_death(one_worker(), &Deed::Exit(3), |death| {
        exited(3)(death);
        assert_eq!(death.stderr_tail.lines().last(), Some("the last words"));
    });
}

#[test]
fn exit_with_code_0_is_a_death_too() {
    check_death(one_worker(), &Deed::Exit(0), exited(0));
}

#[test]
fn abort_is_a_death() {
    check_death(one_worker(), &Deed::Abort, signaled(libc::SIGABRT));
}

#[test]
fn a_segfault_is_a_death() {
    check_death(one_worker(), &Deed::Segfault, signaled(libc::SIGSEGV));
}

#[test]
fn an_infinite_recursion_is_a_death() {
    check_death(one_worker(), &Deed::RecurseForEver, |death| {
        signaled(libc::SIGABRT)(death);
        assert!(death.stderr_tail.contains("overflowed its stack"), "{death}");
    });
}

#[test]
fn a_task_that_kills_its_process_is_charged() {
    check_death(one_worker(), &Deed::KillItself, signaled(libc::SIGKILL));
}

#[test]
fn a_task_that_stops_its_process_is_killed_as_silent() {
    let limit = Duration::from_millis(500);
    check_death(one_worker().silence_limit(limit), &Deed::StopItself, |death| {
        assert_eq!(death.status, ExitStatus::Signaled(libc::SIGKILL));
        assert_stopped(death, libc::SIGSTOP, limit);
    });
}

/// The worker kills itself when it finds its socket gone; the manager may see its end first.
fn killed_without_a_socket(death: &DeathCertificate) {
    assert_eq!(death.status, ExitStatus::Signaled(libc::SIGKILL), "{death}");
    assert!(matches!(death.killed_because, None | Some(KillReason::ConnectionEnded)), "{death}");
}

#[test]
fn a_task_that_closes_the_socket_and_returns_has_killed_its_worker() {
    check_death(one_worker(), &Deed::CloseSockets(Then::Return), killed_without_a_socket);
}

#[test]
fn a_task_that_closes_the_socket_and_blocks_is_noticed_within_the_silence_limit() {
    let builder = one_worker().silence_limit(Duration::from_secs(1));
    check_death(builder, &Deed::CloseSockets(Then::Block), killed_without_a_socket);
}

#[test]
fn a_task_that_closes_the_socket_and_spins_is_noticed_within_the_silence_limit() {
    let builder = one_worker().silence_limit(Duration::from_secs(1));
    check_death(builder, &Deed::CloseSockets(Then::Spin), killed_without_a_socket);
}

/// The processes that acts have told of, once all acts have ended.
fn notes(manager: &ProcessManager) -> Vec<u32> {
    manager.messages::<Note>().map(|message| message.expect("a note").content.0).collect()
}

#[test]
fn a_forked_process_that_holds_the_socket_neither_hides_the_death_nor_outlives_it() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    let fatal = manager.submit(Act::always(Deed::ForkAndAbort)).expect("it is taken");
    let failure = fatal.wait().expect_err("it always dies");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 3));
    failure.deaths.iter().for_each(signaled(libc::SIGABRT));
    let forked = notes(&manager);
    assert_eq!(forked.len(), 3);
    for pid in forked {
        await_death(pid);
    }
    close(&manager);
}

#[test]
fn a_program_that_inherited_the_socket_neither_hides_the_death_nor_outlives_it() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    let fatal = manager.submit(Act::always(Deed::LendSocketAndExit)).expect("it is taken");
    let failure = fatal.wait().expect_err("it always dies");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 3));
    failure.deaths.iter().for_each(exited(5));
    let started = notes(&manager);
    assert_eq!(started.len(), 3);
    for pid in started {
        await_death(pid);
    }
    close(&manager);
}

/// The first call blocks the manager's thread until the test says so.
struct Blocks(Mutex<mpsc::Receiver<()>>);
impl Service for Blocks {
    fn kinds(&self) -> RangeInclusive<u8> {
        Caller::KINDS
    }

    fn on_frame(&self, _peer: &Peer, _kind: Kind, payload: &[u8]) {
        assert_eq!(payload, b"hello");
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
    }

    fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {}
}

#[test]
fn what_a_dead_worker_left_in_its_socket_is_read_before_its_tasks_go_elsewhere() {
    let _watchdog = watchdog();
    let (release, released) = mpsc::channel();
    let manager = one_worker().service(Arc::new(Blocks(Mutex::new(released)))).start().expect("it starts");
    let worker = only_worker(&manager).expect("it has just started");
    let finished = manager.submit(Act::once(Deed::Call)).expect("it is taken");
    let fatal = manager.submit(Act::once(Deed::LendSocketAndExit)).expect("it is taken");
    await_death(worker);
    // Nobody has read the first act's result yet, and the end of the stream never comes.
    release.send(()).expect("the service waits");
    assert_eq!(finished.wait().expect("it was done"), Done { attempt: 1, pid: worker });
    assert_eq!(fatal.wait().expect("its second attempt lives").attempt, 2);
    assert_eq!(notes(&manager).len(), 1);
    close(&manager);
}

/// Panics at its first call, and at the first death.
#[derive(Default)]
struct Panics {
    called: Mutex<bool>,
    mourned: Mutex<bool>,
}
impl Service for Panics {
    fn kinds(&self) -> RangeInclusive<u8> {
        Caller::KINDS
    }

    fn on_frame(&self, _peer: &Peer, _kind: Kind, _payload: &[u8]) {
        let again = std::mem::replace(&mut *self.called.lock().unwrap_or_else(PoisonError::into_inner), true);
        assert!(again, "a service's own bug");
    }

    fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {
        let again =
            std::mem::replace(&mut *self.mourned.lock().unwrap_or_else(PoisonError::into_inner), true);
        assert!(again, "a service's own bug");
    }
}

#[test]
fn a_service_that_panics_strands_no_task() {
    let _watchdog = watchdog();
    let manager = one_worker().service(Arc::new(Panics::default())).start().expect("it starts");
    let acts = [Deed::Call, Deed::Exit(1), Deed::Call, Deed::Return];
    let handles: Vec<_> =
        acts.into_iter().map(|deed| manager.submit(Act::once(deed)).expect("it is taken")).collect();
    for handle in handles {
        handle.wait().expect("it is done");
    }
    assert_eq!(close(&manager).tasks.done, 4);
}

/// Sends back what it gets.
struct Echoes;
impl Service for Echoes {
    fn kinds(&self) -> RangeInclusive<u8> {
        Caller::KINDS
    }

    fn on_frame(&self, peer: &Peer, kind: Kind, payload: &[u8]) {
        // An error means that the worker has gone meanwhile.
        let _ = peer.send(kind, payload);
    }

    fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {}
}

#[test]
fn an_extension_that_panics_is_a_death() {
    check_death(one_worker().service(Arc::new(Echoes)), &Deed::CallAndAwaitAnswer, |death| {
        signaled(libc::SIGABRT)(death);
        assert!(death.stderr_tail.contains("an extension's own bug"), "{death}");
    });
}

#[test]
fn a_task_whose_debug_form_panics_fails_alone() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    let failure =
        manager.submit(Unprintable).map_err(|_| ()).expect("it is taken").wait().expect_err("it fails");
    assert!(
        matches!(&failure.cause, FailureCause::Error { chain, .. } if chain == &["it fails"]),
        "{failure}"
    );
    let act = manager.submit(Act::always(Deed::Return)).expect("it is taken");
    assert_eq!(act.wait().expect("it returns").attempt, 1);
    close(&manager);
}

#[test]
fn a_worker_killed_from_outside_is_charged_to_what_it_ran() {
    let _watchdog = watchdog();
    let gate = Gate::new();
    let manager = one_worker().start().expect("it starts");
    let victim = manager.submit(Act::always(Deed::WaitAt(gate.path()))).expect("it is taken");
    let behind = manager.submit(Act::always(Deed::Return)).expect("it is taken");
    let mut killed = Vec::new();
    for _ in 0..3 {
        let waiting = gate.wait();
        signal_child(waiting.pid, Signal::KILL);
        await_death(waiting.pid);
        killed.push(waiting.pid);
    }
    let failure = victim.wait().expect_err("it was killed three times");
    assert_eq!(failure.cause, FailureCause::WorkerDied);
    failure.deaths.iter().for_each(signaled(libc::SIGKILL));
    assert_eq!(failure.deaths.iter().map(|death| death.pid).collect::<Vec<_>>(), killed);
    assert_eq!(behind.wait().expect("it was only behind").attempt, 1);
    close(&manager);
}

#[test]
fn the_crash_limit_is_how_many_attempts_there_are() {
    let _watchdog = watchdog();
    for limit in [1, 2, 5] {
        let manager = one_worker().crash_limit(limit).start().expect("it starts");
        let fatal = manager.submit(Act::always(Deed::Abort)).expect("it is taken");
        let spared = Act::in_first(u32::from(limit) - 1, Deed::Abort);
        let spared = manager.submit(spared).expect("it is taken");
        let failure = fatal.wait().expect_err("it always dies");
        assert_eq!((failure.attempt, failure.deaths.len()), (u32::from(limit), usize::from(limit)));
        assert_eq!(spared.wait().expect("the last attempt lives").attempt, u32::from(limit));
        close(&manager);
    }
}

#[test]
fn the_failure_of_a_scheduled_task_comes_with_the_messages() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    manager.schedule(Act::always(Deed::Abort)).expect("it is taken");
    let items: Vec<_> = manager.messages::<NoMessage>().collect();
    match &items[..] {
        [Err(MessageError::Failed(failure))] => {
            assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 3));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(close(&manager).tasks.failed, 1);
}

#[test]
fn what_was_reported_before_a_death_is_not_run_again() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().expect("a directory");
    // An exit flushes, a flush flushes, and the third is killed while it waits, when everything has long left.
    for (name, deed) in [("exit", Deed::Exit(1)), ("flush", Deed::FlushAndKillItself)] {
        let file = directory.path().join(name);
        let manager = one_worker().start().expect("it starts");
        let record = |number| manager.submit(Record { file: file.clone(), number }).expect("it is taken");
        let before: Vec<_> = (0..100).map(record).collect();
        let fatal = manager.submit(Act::once(deed)).expect("it is taken");
        let after: Vec<_> = (100..200).map(record).collect();
        for (number, handle) in (0..).zip(before.into_iter().chain(after)) {
            assert_eq!(handle.wait().expect("it is done"), number);
        }
        assert_eq!(fatal.wait().expect("its second attempt lives").attempt, 2);
        assert_eq!(close(&manager).tasks.done, 201);
        assert_eq!(records(&file), (0..200).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn what_is_done_stays_done_when_its_worker_is_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("records");
    let manager = one_worker().start().expect("it starts");
    let record = |number| manager.submit(Record { file: file.clone(), number }).expect("it is taken");
    for round in 0..10 {
        let handles: Vec<_> = (0..100).map(|number| record(100 * round + number)).collect();
        for handle in handles {
            handle.wait().expect("it is done");
        }
        // Idle, or not yet back.
        if let Some(pid) = only_worker(&manager) {
            signal_child(pid, Signal::KILL);
            await_death(pid);
        }
    }
    assert_eq!(record(1000).wait().expect("a new worker does it"), 1000);
    assert_eq!(close(&manager).tasks.done, 1001);
    assert_eq!(records(&file), (0..=1000).collect::<Vec<_>>());
}

#[test]
fn exit_sends_what_the_task_has_said() {
    const MESSAGES: u32 = 300_000; // more than a socket and the outbox hold
    let _watchdog = watchdog();
    let manager = one_worker().crash_limit(2).start().expect("it starts");
    let fatal = manager.submit(Act::always(Deed::TellAndExit { messages: MESSAGES })).expect("it is taken");
    let mut expected = (1..=2).flat_map(|attempt| (0..MESSAGES).map(move |number| (attempt, number)));
    for message in manager.messages::<Note>() {
        let message = message.expect("a note");
        assert_eq!(Some((message.attempt, message.content.0)), expected.next());
        assert_eq!(message.task, Some(fatal.id()));
    }
    assert_eq!(expected.next(), None);
    fatal.wait().expect_err("it always dies").deaths.iter().for_each(exited(7));
    close(&manager);
}

#[test]
fn exit_in_a_forked_process_sends_nothing_twice() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    for _ in 0..20 {
        let act = manager.submit(Act::always(Deed::ForkAndExitThere)).expect("it is taken");
        assert_eq!(act.wait().expect("it returns").attempt, 1);
        assert_eq!(notes(&manager), [1]);
    }
    close(&manager);
}

#[test]
fn a_worker_killed_while_idle_is_replaced() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    let act = || manager.submit(Act::always(Deed::Return)).expect("it is taken").wait().expect("it returns");
    let mut seen = HashSet::new();
    for _ in 0..10 {
        let Done { attempt, pid } = act();
        assert_eq!(attempt, 1);
        assert!(seen.insert(pid), "{pid} was killed");
        signal_child(pid, Signal::KILL);
        await_death(pid);
    }
    assert_eq!(close(&manager).tasks.done, 10);
}

#[test]
fn a_stopped_worker_that_goes_on_within_the_limit_is_left_alone() {
    let _watchdog = watchdog();
    let gate = Gate::new();
    let manager = one_worker().start().expect("it starts");
    let act = manager.submit(Act::always(Deed::WaitAt(gate.path()))).expect("it is taken");
    let waiting = gate.wait();
    let pid = waiting.pid;
    signal_child(pid, Signal::STOP);
    await_stop(pid);
    let behind = manager.submit(Act::always(Deed::Return)).expect("it is taken");
    waiting.go_on();
    signal_child(pid, Signal::CONT);
    assert_eq!(act.wait().expect("it goes on"), Done { attempt: 1, pid });
    assert_eq!(behind.wait().expect("it is done"), Done { attempt: 1, pid });
    close(&manager);
}

#[test]
fn a_worker_stopped_while_idle_is_killed_once_it_owes_an_answer() {
    let _watchdog = watchdog();
    let limit = Duration::from_millis(500);
    let manager = one_worker().silence_limit(limit).start().expect("it starts");
    let stopped = only_worker(&manager).expect("it has just started");
    signal_child(stopped, Signal::STOP);
    await_stop(stopped);
    // It never began, so nobody is charged.
    let done = manager.submit(Act::always(Deed::Return)).expect("it is taken").wait().expect("it returns");
    assert_eq!(done.attempt, 1);
    assert_ne!(done.pid, stopped);
    assert!(!is_alive(stopped));
    close(&manager);
}

#[test]
fn a_panic_fails_its_task_and_the_worker_lives_on() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    let pid = only_worker(&manager).expect("it has just started");
    let fail = |deed| {
        let handle = manager.submit(Act::always(deed)).expect("it is taken");
        let failure = handle.wait().expect_err("it panics");
        assert_eq!((failure.attempt, failure.worker.as_deref()), (1, Some("worker-0")));
        assert!(failure.deaths.is_empty());
        let next = manager.submit(Act::always(Deed::Return)).expect("it is taken").wait();
        assert_eq!(next.expect("the worker lives on"), Done { attempt: 1, pid });
        match failure.cause.clone() {
            FailureCause::Panicked { message, location, .. } => (message, location),
            other => panic!("{other}"),
        }
    };
    let (message, location) = fail(Deed::Panic);
    assert_eq!(message, "out of luck");
    assert!(location.is_some_and(|location| location.contains("tests/deaths.rs:")));
    let (message, location) = fail(Deed::PanicWithNumber);
    assert_eq!(message, "a value that is no text");
    assert!(location.is_some());
    for depth in 0..4 {
        let (message, location) = fail(Deed::PanicWithBomb { depth });
        assert_eq!(message, "a value that is no text", "{depth}");
        assert!(location.is_some());
    }
    assert_eq!(close(&manager).tasks.failed, 6);
}

#[test]
fn a_panic_is_not_said_to_be_where_an_earlier_one_was() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    let caught = manager.submit(Act::always(Deed::CatchPanic)).expect("it is taken");
    let quiet = manager.submit(Act::always(Deed::PanicQuietly)).expect("it is taken");
    caught.wait().expect("it caught its panic");
    match quiet.wait().expect_err("it panics").cause.clone() {
        FailureCause::Panicked { message, location, .. } => {
            assert_eq!((&*message, location), ("quiet", None));
        }
        other => panic!("{other}"),
    }
    close(&manager);
}

#[test]
fn an_error_comes_with_its_sources() {
    let _watchdog = watchdog();
    let manager = one_worker().start().expect("it starts");
    let failure = manager.submit(Act::always(Deed::Fail)).expect("it is taken").wait().expect_err("it fails");
    match &failure.cause {
        FailureCause::Error { chain, .. } => assert_eq!(chain, &["the outer error", "the inner error"]),
        other => panic!("{other}"),
    }
    assert_eq!((failure.attempt, failure.deaths.len()), (1, 0));
    assert_eq!(close(&manager).tasks.failed, 1);
}

#[test]
fn every_task_is_done_however_often_workers_are_killed() {
    let _watchdog = watchdog();
    const TASKS: u32 = 2000;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("records");
    let manager =
        ProcessManager::builder(registry()).workers(3).crash_limit(u16::MAX).start().expect("it starts");
    let record = |number| manager.submit(Record { file: file.clone(), number }).expect("it is taken");
    let handles: Vec<_> = (0..TASKS).map(record).collect();
    for round in 0..30 {
        let pids: Vec<u32> = manager.stats().workers.iter().filter_map(|worker| worker.pid).collect();
        if let Some(&pid) = pids.get(round % 3) {
            signal_child(pid, Signal::KILL);
            await_death(pid);
        }
    }
    for (number, handle) in (0..).zip(handles) {
        assert_eq!(handle.wait().expect("it is done"), number);
    }
    assert_eq!(close(&manager).tasks.done, u64::from(TASKS));
    let distinct: HashSet<u32> = records(&file).into_iter().collect();
    assert_eq!(distinct.len(), TASKS as usize);
}
