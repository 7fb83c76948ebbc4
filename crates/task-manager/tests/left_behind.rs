//! What is left when something dies: nothing. Counted where every process can be seen: in a PID namespace of the test's
//! own, below a subreaper, and by a mark in the environment of all that a program has started.

mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    path::PathBuf,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::process::{Signal, getpid};
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, builder, close,
    gate::{Gate, wait_at},
    process::{Program, Watched, children, fork, is_alive, numbers, part, pause, say, signal},
    until,
};
use workfleet_task_manager::{
    ClosePolicy, ProcessManager, Registry, Task, TaskContext, TaskError, TaskHandle, TaskSpec,
};

/// How many processes a task starts.
const STARTED: usize = 30;

/// What a task does in its first attempt; in later ones it returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Deed {
    Nothing,
    /// Starts processes, which start others, and dies of its own doing.
    StartAndAbort,
    /// Starts processes and returns.
    StartAndReturn,
    /// Starts processes and waits at a gate, in every attempt.
    StartAndWait(PathBuf),
    /// Starts a process and dies of its own doing, in every attempt.
    DieAgain,
    /// Has a manager of its own, whose tasks do that.
    Nest(PathBuf),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Act(Deed);

impl TaskSpec for Act {
    const NAME: &'static str = "act";
    type Output = u32;
}

impl Task for Act {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        match self.0 {
            Deed::StartAndAbort | Deed::StartAndReturn if cx.attempt() > 1 => {}
            Deed::Nothing => {}
            Deed::StartAndAbort => {
                (0..STARTED).try_for_each(start_process)?;
                process::abort();
            }
            Deed::StartAndReturn => (0..STARTED).try_for_each(start_process)?,
            Deed::StartAndWait(gate) => {
                (0..STARTED).try_for_each(start_process)?;
                wait_at(&gate)?;
            }
            Deed::DieAgain => {
                start_process(2)?;
                process::abort();
            }
            Deed::Nest(gate) => {
                let manager = builder(registry(), 1).start()?;
                let inner = manager.submit(Act(Deed::StartAndWait(gate)))?;
                inner.wait()?;
            }
        }
        Ok(cx.attempt())
    }
}

/// Some refuse what can be refused, and some start others.
fn start_process(number: usize) -> Result<(), TaskError> {
    let script = match number % 3 {
        0 => "exec sleep 1000",
        1 => "trap '' HUP INT TERM QUIT; sleep 1000; sleep 1000",
        _ => "sleep 1000 & sleep 1000 & wait",
    };
    Command::new("sh").args(["-c", script]).spawn()?;
    Ok(())
}

fn registry() -> Registry {
    Registry::new().task::<Act>()
}
workfleet_task_manager::test_worker!(registry());

/// Not a test by itself: the programs that the tests below start.
#[test]
fn program() {
    let Some(part) = part() else { return };
    match &*part {
        "first" => {
            assert!(getpid().is_init(), "it is the first process of its namespace");
            reaps();
        }
        "subreaper" => {
            become_subreaper();
            reaps();
        }
        "kills-as-first" => {
            assert!(getpid().is_init(), "it is the first process of its namespace");
            kills(&others);
        }
        "kills-as-subreaper" => {
            become_subreaper();
            kills(&children);
        }
        "kills" => kills(&Vec::new),
        "pool" => pool(),
        "nest" => nest(),
        "dies" => dies(),
        "starts" => starts(),
        "forks" => forks(),
        other => panic!("no part is called {other}"),
    }
}

fn become_subreaper() {
    // SAFETY: the request takes a number and touches no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    assert_eq!(set, 0, "this process becomes the parent of its descendants' orphans");
}

/// A command that runs this program as the first process of a PID namespace of its own.
fn first_of_a_namespace() -> Command {
    let mut command = support::namespace::first_of_a_namespace();
    command.arg(env::current_exe().expect("this program"));
    command
}

/// Those that are dead and not reaped.
fn zombies() -> Vec<u32> {
    children().into_iter().filter(|&child| !is_alive(child)).collect()
}

/// Workers die, and leave what their tasks have started to this process.
fn reaps() {
    let manager = builder(registry(), 1).start().expect("it starts");
    for deed in [Deed::StartAndAbort, Deed::StartAndReturn, Deed::StartAndAbort] {
        manager.submit(Act(deed.clone())).expect("it is taken").wait().expect("it is done");
        assert_eq!(zombies(), [], "{deed:?}");
    }
    close(&manager);
    assert_eq!(children(), []);
    // As a worker that is killed.
    let manager = builder(registry(), 2).start().expect("it starts");
    let acts: Vec<_> =
        (0..2).map(|_| manager.submit(Act(Deed::StartAndReturn)).expect("it is taken")).collect();
    for act in acts {
        act.wait().expect("it is done");
    }
    manager.close(ClosePolicy::Kill).expect("it closes");
    assert_eq!(children(), []);
    if getpid().is_init() {
        assert_eq!(others(), []);
    }
}

/// Every other process that can be seen.
fn others() -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("processes are listed");
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|&other| other != process::id()).collect()
}

#[test]
fn nothing_is_left_of_dead_workers_where_the_program_is_the_first_process() {
    let _alone = alone();
    Program::start_by(first_of_a_namespace(), "program", "first").assert_success();
}

#[test]
fn nothing_is_left_of_dead_workers_where_the_program_is_a_subreaper() {
    let _alone = alone();
    Program::start("program", "subreaper").assert_success();
}

// ---- A program that is killed ----

/// Marks, by its value, everything that one program has started.
const FAMILY: &str = "WORKFLEET_TEST_FAMILY";
/// Names the gate at which the tasks of a program wait.
const GATE: &str = "WORKFLEET_TEST_GATE";

/// How many workers a program has that is killed.
const WORKERS: usize = 3;

/// Each way to kill is tried so often.
const ROUNDS: usize = 10;

/// A program that will be killed, and what it has started.
struct Family {
    name: String,
    program: Program,
}

impl Family {
    fn start(part: &str, gate: Option<&Gate>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{part}-{}-{count}", process::id());
        let program = Program::start_as("/proc/self/exe", "program", part, |command| {
            command.env(FAMILY, &name);
            if let Some(gate) = gate {
                command.env(GATE, gate.path());
            }
        });
        Self { name, program }
    }

    fn pid(&self) -> u32 {
        self.program.child.id()
    }

    /// Those that bear the mark and are not dead.
    fn members(&self) -> Vec<u32> {
        let mark = format!("{FAMILY}={}", self.name);
        let bears = |&pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
        };
        others().into_iter().filter(bears).filter(|&pid| is_alive(pid)).collect()
    }

    /// The guardian process, once it is one.
    fn guardian(&self) -> Option<u32> {
        let is_guardian = |&pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim_end() == "workfleet-guard"
        };
        self.members().into_iter().find(is_guardian)
    }

    /// Reaps the program, which was killed, and waits until nothing is left of it.
    fn assert_gone(mut self, adopted: &dyn Fn() -> Vec<u32>) {
        self.program.child.wait().expect("it can be reaped");
        // What this process has become the parent of, is reaped as by any first process.
        until(|| {
            for child in adopted() {
                reap_if_dead(child);
            }
            self.members().is_empty() && adopted().is_empty()
        });
    }
}

fn reap_if_dead(child: u32) {
    // SAFETY: the status is not asked for.
    unsafe { libc::waitpid(child.cast_signed(), std::ptr::null_mut(), libc::WNOHANG) };
}

/// A manager all of whose workers run tasks that have started processes.
fn pool() {
    let gate = PathBuf::from(env::var(GATE).expect("its path"));
    let manager = builder(registry(), WORKERS).start().expect("it starts");
    all_ready(&manager, WORKERS);
    let handles: Vec<_> = (0..WORKERS).map(|_| submit(&manager, Deed::StartAndWait(gate.clone()))).collect();
    for handle in handles {
        handle.wait().expect("this program is killed before");
    }
}

fn nest() {
    let gate = PathBuf::from(env::var(GATE).expect("its path"));
    let manager = builder(registry(), 1).start().expect("it starts");
    submit(&manager, Deed::Nest(gate)).wait().expect("this program is killed before");
}

/// A manager whose workers die all the time.
fn dies() {
    let manager = builder(registry(), WORKERS).start().expect("it starts");
    say("ready");
    loop {
        let handles: Vec<_> = (0..WORKERS).map(|_| submit(&manager, Deed::DieAgain)).collect();
        for handle in handles {
            handle.wait().expect_err("it dies");
        }
    }
}

/// Managers that start workers all the time.
fn starts() {
    say("ready");
    loop {
        let manager = builder(registry(), WORKERS).start().expect("it starts");
        submit(&manager, Deed::StartAndReturn).wait().expect("it is done");
        manager.close(ClosePolicy::Kill).expect("it closes");
    }
}

/// A copy of the program lives on, and holds all that it held.
fn forks() {
    let gate = PathBuf::from(env::var(GATE).expect("its path"));
    let manager = builder(registry(), 1).start().expect("it starts");
    let handle = submit(&manager, Deed::StartAndWait(gate));
    say(&fork(|| pause()).to_string());
    handle.wait().expect("this program is killed before");
}

fn submit(manager: &ProcessManager, deed: Deed) -> TaskHandle<u32> {
    manager.submit(Act(deed)).expect("it is taken")
}

/// Kills programs in every way that leaves them no time for anything.
fn kills(adopted: &dyn Fn() -> Vec<u32>) {
    for round in 0..ROUNDS {
        killed_while_its_workers_are_stopped(adopted);
        killed_at_once(round, adopted);
        killed_while_tasks_abort(round, adopted);
        killed_while_workers_start(round, adopted);
    }
    killed_with_a_worker_that_has_a_manager(adopted);
    killed_after_its_guardian(adopted);
}

/// Starts the program, and waits until each worker's task has started its processes. Returns the workers.
fn working(part: &str, workers: usize, gate: &Gate) -> (Family, Vec<u32>) {
    let family = Family::start(part, Some(gate));
    let tasks: Vec<_> = (0..workers).map(|_| gate.wait()).collect();
    let pids = tasks.iter().map(|task| task.pid).collect();
    // They stay at the gate: dropping them would let them go on.
    tasks.into_iter().for_each(std::mem::forget);
    (family, pids)
}

fn killed_while_its_workers_are_stopped(adopted: &dyn Fn() -> Vec<u32>) {
    let gate = Gate::new();
    let (family, workers) = working("pool", WORKERS, &gate);
    // All that they have started, too.
    // One that is stopped as well would have to be replaced first.
    until(|| family.guardian().is_some());
    let (program, guardian) = (family.pid(), family.guardian());
    for pid in family.members() {
        if pid != program && Some(pid) != guardian {
            signal_if_there(pid, Signal::STOP);
        }
    }
    assert_eq!(workers.len(), WORKERS);
    signal(family.pid(), Signal::KILL);
    family.assert_gone(adopted);
}

fn killed_at_once(round: usize, adopted: &dyn Fn() -> Vec<u32>) {
    let gate = Gate::new();
    let (family, mut victims) = working("pool", WORKERS, &gate);
    if round % 3 == 1 {
        victims.iter().for_each(|&worker| signal(worker, Signal::STOP));
    }
    // In whatever order: first, last, or amid them.
    victims.insert(round % (WORKERS + 1), family.pid());
    victims.into_iter().for_each(|victim| signal_if_there(victim, Signal::KILL));
    family.assert_gone(adopted);
}

fn signal_if_there(process: u32, signal: Signal) {
    // An error means that it has gone meanwhile.
    let _ = rustix::process::kill_process(support::process::to_pid(process), signal);
}

fn killed_while_tasks_abort(round: usize, adopted: &dyn Fn() -> Vec<u32>) {
    let mut family = Family::start("dies", None);
    assert_eq!(family.program.hear(), "ready");
    // At another moment each time.
    support::let_pass(Duration::from_millis(7 * round as u64));
    signal(family.pid(), Signal::KILL);
    family.assert_gone(adopted);
}

fn killed_while_workers_start(round: usize, adopted: &dyn Fn() -> Vec<u32>) {
    let mut family = Family::start("starts", None);
    assert_eq!(family.program.hear(), "ready");
    support::let_pass(Duration::from_millis(3 * round as u64));
    signal(family.pid(), Signal::KILL);
    family.assert_gone(adopted);
}

fn killed_with_a_worker_that_has_a_manager(adopted: &dyn Fn() -> Vec<u32>) {
    let gate = Gate::new();
    let (family, innermost) = working("nest", 1, &gate);
    for pid in innermost {
        signal(pid, Signal::STOP);
    }
    signal(family.pid(), Signal::KILL);
    family.assert_gone(adopted);
}

/// The guardian is killed or stopped; another takes its place, and knows the workers.
fn killed_after_its_guardian(adopted: &dyn Fn() -> Vec<u32>) {
    let gate = Gate::new();
    let (family, workers) = working("pool", WORKERS, &gate);
    let mut before = BTreeSet::new();
    for number in [Signal::KILL, Signal::STOP, Signal::KILL] {
        let guardian = || family.guardian().filter(|guardian| !before.contains(guardian));
        until(|| guardian().is_some());
        let guardian = guardian().expect("it was there");
        before.insert(guardian);
        signal(guardian, number);
    }
    until(|| family.guardian().is_some_and(|guardian| !before.contains(&guardian)));
    workers.iter().for_each(|&worker| signal(worker, Signal::STOP));
    signal(family.pid(), Signal::KILL);
    family.assert_gone(adopted);
}

#[test]
fn nothing_is_left_of_a_killed_program_in_a_container() {
    let _alone = alone();
    Program::start_by(first_of_a_namespace(), "program", "kills-as-first").assert_success();
}

#[test]
fn nothing_is_left_of_a_killed_program_below_a_subreaper() {
    let _alone = alone();
    Program::start("program", "kills-as-subreaper").assert_success();
}

#[test]
fn nothing_is_left_of_a_killed_program() {
    let _alone = alone();
    Program::start("program", "kills").assert_success();
}

#[test]
fn nothing_but_its_copy_is_left_of_a_killed_program_that_has_forked() {
    let _alone = alone();
    let gate = Gate::new();
    let (mut family, workers) = working("forks", 1, &gate);
    let copy = numbers(&family.program.hear())[0];
    let watched: Vec<_> = workers.into_iter().map(Watched::new).collect();
    signal(family.pid(), Signal::KILL);
    watched.iter().for_each(Watched::wait);
    family.program.child.wait().expect("it can be reaped");
    until(|| family.members() == [copy]);
    signal(copy, Signal::KILL);
    until(|| family.members().is_empty());
}

/// Children of this process that are guardians.
fn guardians() -> usize {
    let names = children().into_iter().map(|child| fs::read_to_string(format!("/proc/{child}/comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.trim_end() == "workfleet-guard")).count()
}

#[test]
fn one_guardian_serves_every_manager_and_goes_with_the_last() {
    let _alone = alone();
    for _ in 0..3 {
        let managers: Vec<_> = (0..3).map(|_| builder(registry(), 1).start().expect("it starts")).collect();
        until(|| guardians() == 1);
        assert_eq!(children().len(), managers.len() + 1);
        for manager in managers {
            assert_eq!(guardians(), 1);
            close(&manager);
        }
        assert_eq!(children(), []);
    }
}

/// What a guardian holds open, nobody sees the end of: neither what the program has inherited, nor its directory.
#[test]
fn a_guardian_holds_nothing_of_its_program() {
    let _alone = alone();
    let gate = Gate::new();
    let (family, _workers) = working("pool", WORKERS, &gate);
    until(|| family.guardian().is_some());
    let guardian = family.guardian().expect("it was there");
    until(|| fs::read_dir(format!("/proc/{guardian}/fd")).is_ok_and(|open| open.count() >= 4 + WORKERS));
    let mut open: Vec<_> = fs::read_dir(format!("/proc/{guardian}/fd"))
        .expect("its descriptors")
        .map(|entry| fs::read_link(entry.expect("one").path()).expect("what it leads to"))
        .map(|to| to.display().to_string().split(':').next().unwrap_or_default().to_owned())
        .collect();
    open.sort();
    open.dedup();
    assert_eq!(open, ["/dev/null", "anon_inode", "socket"]);
    assert_eq!(fs::read_link(format!("/proc/{guardian}/cwd")).expect("its directory"), PathBuf::from("/"));
    let stat = fs::read_to_string(format!("/proc/{guardian}/stat")).expect("it is there");
    let session = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(3)).map(str::to_owned);
    assert_eq!(session, Some(guardian.to_string()), "it has a session of its own");
    // What is sent to all processes of a program, and to those of a terminal, is not for it.
    for number in [Signal::TERM, Signal::INT, Signal::HUP, Signal::TSTP] {
        signal(guardian, number);
    }
    signal(family.pid(), Signal::KILL);
    family.assert_gone(&Vec::new);
}
