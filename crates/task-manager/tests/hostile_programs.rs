//! Programs that make life hard for a manager: they reap its children, ignore their deaths, change directory, fork,
//! are replaced on disk, forget `init`, are huge, or have managers and workers by the hundreds.

mod support;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{self, Command},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    acts::{self, Act, Done},
    all_ready, alone, assert_no_child_left, builder, close,
    gate::{Gate, wait_at},
    process::{
        Program, Watched, await_death, children, fork, numbers, part, pause, reap, say, signal, signal_child,
        wait_for_the_test,
    },
    tasks::{self, Text, next_text},
    without_leaks,
};
use workfleet_task_manager::{
    ClosePolicy, ExitStatus, FailureCause, ManagerStartError, ProcessManager, Registry, StartFailure,
    TaskContext, TaskError, TaskHandle,
};

/// What an [`Act`] does.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Deed {
    Nothing,
    Abort,
    WaitAt(PathBuf),
    /// Refuses whatever can be refused, says where it is, and stays.
    StayAgainstAllSignals,
    /// Runs a program and waits for it.
    RunProgram,
}

impl acts::Deed for Deed {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        match self {
            Self::Nothing => {}
            Self::Abort => process::abort(),
            Self::WaitAt(gate) => wait_at(&gate)?,
            Self::StayAgainstAllSignals => {
                refuse_signals();
                cx.send_message(&Text(process::id().to_string()))?;
                loop {
                    thread::park();
                }
            }
            Self::RunProgram => assert!(Command::new("true").status()?.success()),
        }
        Ok(())
    }
}

fn refuse_signals() {
    // SAFETY: ignoring a signal runs nothing, and the mask is this thread's own; all-zero is a valid set.
    unsafe {
        for number in 1..32 {
            libc::signal(number, libc::SIG_IGN);
        }
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
    }
}

fn registry() -> Registry {
    tasks::registry().task::<Act<Deed>>()
}

workfleet_task_manager::test_worker!({
    if env::args().any(|argument| argument.starts_with(DEPTH)) {
        breed();
    }
    registry()
});

fn start() -> ProcessManager {
    builder(registry(), 1).start().expect("it starts")
}

fn submit(manager: &ProcessManager, deed: Deed) -> TaskHandle<Done> {
    manager.submit(Act::always(deed)).expect("it is taken")
}

/// The manager works. Returns which of its workers did the last task.
fn assert_healthy(manager: &ProcessManager) -> u32 {
    let handles: Vec<_> = (0..30).map(|_| submit(manager, Deed::Nothing)).collect();
    let pids = handles.into_iter().map(|handle| {
        let Done { attempt, pid } = handle.wait().expect("it is done");
        assert_eq!(attempt, 1);
        pid
    });
    pids.last().expect("thirty")
}

/// Kills the only worker and waits for another to work.
fn replace_worker(manager: &ProcessManager) {
    let before = assert_healthy(manager);
    signal_child(before, Signal::KILL);
    await_death(before);
    assert_ne!(assert_healthy(manager), before);
}

/// Not a test by itself: the programs that the tests below start.
#[test]
fn program() {
    let Some(part) = part() else { return };
    match &*part {
        "reaps" => reaps(),
        "ignores-deaths" => ignores_deaths(),
        "dies-of-pipes" => dies_of_pipes(),
        "is-replaced" => is_replaced(),
        "moves" => moves(),
        "forks" => forks(),
        "forks-and-is-killed" => forks_and_is_killed(),
        "stubborn" => stubborn(),
        "huge" => huge(),
        other => panic!("no part is called {other}"),
    }
}

fn run_program(part: &str) {
    Program::start("program", part).assert_success();
}

/// Deaths are seen all the same; only how the process ended may be known to the other alone.
fn assert_deaths_are_seen(manager: &ProcessManager, statuses: &[ExitStatus]) {
    for _ in 0..5 {
        let fatal = submit(manager, Deed::Abort);
        let behind: Vec<_> = (0..10).map(|_| submit(manager, Deed::Nothing)).collect();
        let failure = fatal.wait().expect_err("it always dies");
        assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 3), "{failure}");
        for death in &failure.deaths {
            assert!(statuses.contains(&death.status), "{death}");
            assert_eq!((death.charged, death.killed_because), (Some(failure.task), None), "{death}");
        }
        for handle in behind {
            assert_eq!(handle.wait().expect("it is done").attempt, 1);
        }
    }
}

/// A program that waits for any child, again and again, in a thread of its own.
fn reaps() {
    let (stop, reaped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let reaper = thread::spawn({
        let (stop, reaped) = (Arc::clone(&stop), Arc::clone(&reaped));
        move || {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: the status is not asked for.
                match unsafe { libc::waitpid(-1, ptr::null_mut(), 0) } {
                    -1 => thread::yield_now(),
                    _ => reaped.store(true, Ordering::Relaxed),
                }
            }
        }
    });
    let manager = start();
    assert_deaths_are_seen(&manager, &[ExitStatus::Unknown, ExitStatus::Signaled(libc::SIGABRT)]);
    assert_healthy(&manager);
    close(&manager);
    stop.store(true, Ordering::Relaxed);
    reaper.join().expect("it does not panic");
    assert!(reaped.load(Ordering::Relaxed), "it came first at least once in sixteen deaths");
    assert_no_child_left();
}

#[test]
fn a_program_that_reaps_every_child_takes_only_the_manner_of_deaths() {
    let _alone = alone();
    run_program("reaps");
}

/// The kernel reaps children whose parent ignores SIGCHLD.
fn ignores_deaths() {
    // SAFETY: ignoring a signal runs nothing.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let manager = start();
    assert_deaths_are_seen(&manager, &[ExitStatus::Unknown]);
    assert_healthy(&manager);
    // What the program ignores is not what its tasks ignore.
    submit(&manager, Deed::RunProgram).wait().expect("it waits for a child of its own");
    close(&manager);
    assert_no_child_left();
}

#[test]
fn a_program_that_ignores_sigchld_learns_of_deaths_without_their_manner() {
    let _alone = alone();
    run_program("ignores-deaths");
}

/// A C program's default: a write to a closed pipe or socket ends the process.
fn dies_of_pipes() {
    // SAFETY: the default runs nothing of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let manager = start();
    for _ in 0..10 {
        let handles: Vec<_> = (0..2000).map(|_| submit(&manager, Deed::Nothing)).collect();
        children().into_iter().for_each(|child| signal_child(child, Signal::KILL));
        for handle in handles {
            // Whatever ran when its worker was killed was tried again.
            handle.wait().expect("it is done");
        }
    }
    close(&manager);
}

#[test]
fn a_program_that_dies_of_sigpipe_does_not_die_of_its_workers() {
    let _alone = alone();
    run_program("dies-of-pipes");
}

fn is_replaced() {
    let manager = start();
    assert_healthy(&manager);
    say("ready");
    wait_for_the_test();
    for _ in 0..3 {
        replace_worker(&manager);
    }
    close(&manager);
}

/// As a deployment does it, while the program runs.
#[test]
fn a_program_whose_file_is_replaced_or_deleted_starts_workers_from_the_old_one() {
    let _alone = alone();
    for how in ["replaced", "deleted"] {
        let directory = tempfile::tempdir().expect("a directory");
        let copy = directory.path().join("program");
        fs::copy("/proc/self/exe", &copy).expect("a copy of this program");
        let mut program = Program::start_as(&copy, "program", "is-replaced", |_| ());
        assert_eq!(program.hear(), "ready");
        if how == "replaced" {
            let new = directory.path().join("new");
            fs::write(&new, "no program at all").expect("a file");
            fs::rename(new, copy).expect("it is replaced");
        } else {
            fs::remove_file(copy).expect("it is deleted");
        }
        program.go_on();
        program.assert_success();
    }
}

/// Relative paths mean what they meant when the manager was started.
fn moves() {
    let home = env::current_dir().expect("a directory");
    let elsewhere = home.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    let manager =
        builder(registry(), 1).program("./program").log_directory("logs").start().expect("it starts");
    for directory in [elsewhere.as_path(), Path::new("/")] {
        env::set_current_dir(directory).expect("it is there");
        replace_worker(&manager);
    }
    // And nobody needs a directory that is there at all.
    env::set_current_dir(&elsewhere).expect("it is there");
    fs::remove_dir(&elsewhere).expect("it is empty: nothing was logged there");
    replace_worker(&manager);
    close(&manager);
    assert!(home.join("logs/worker-0.log").exists());
}

#[test]
fn a_program_may_change_its_directory_and_delete_it() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("program");
    fs::copy("/proc/self/exe", &copy).expect("a copy of this program");
    Program::start_as(&copy, "program", "moves", |command| {
        command.current_dir(directory.path());
    })
    .assert_success();
}

/// Forks of the whole program, whose copies end by `exit`, or drop what they have copied.
fn forks() {
    let gate = Gate::new();
    let mut owned = Some(builder(registry(), 2).start().expect("it starts"));
    let pids = all_ready(owned.as_ref().expect("it is here"), 2);
    let held = submit(owned.as_ref().expect("it is here"), Deed::WaitAt(gate.path()));
    let waiting = gate.wait();
    for _ in 0..5 {
        // SAFETY: it runs what the program registered to be run at its end, and ends the process.
        let exits = fork(|| unsafe { libc::exit(0) });
        assert_eq!(reap(exits), 0, "it exited with code 0");
        let drops = fork(|| drop(owned.take()));
        assert_eq!(reap(drops), 0, "it exited with code 0");
        assert_healthy(owned.as_ref().expect("the copy dropped its own"));
    }
    waiting.go_on();
    assert_eq!(held.wait().expect("it goes on").attempt, 1);
    let manager = owned.expect("it is here");
    assert_eq!(all_ready(&manager, 2), pids, "nobody has died");
    close(&manager);
}

#[test]
fn a_fork_of_the_program_disturbs_no_worker_when_it_exits_or_drops_the_manager() {
    let _alone = alone();
    run_program("forks");
}

/// The copy holds the connections too, and never reads them.
fn forks_and_is_killed() {
    let manager = builder(registry(), 2).start().expect("it starts");
    let pids = all_ready(&manager, 2);
    let copy = fork(|| pause());
    say(&format!("{copy} {} {}", pids[0], pids[1]));
    wait_for_the_test();
    drop(manager);
}

/// To the workers, their manager lives as long as somebody holds its end of their connections. Their guardian knows better.
#[test]
fn workers_of_a_killed_program_go_at_once_though_its_fork_holds_their_connections() {
    let _alone = alone();
    let mut program = Program::start("program", "forks-and-is-killed");
    let pids = numbers(&program.hear());
    let watched: Vec<_> = pids.iter().map(|&pid| Watched::new(pid)).collect();
    program.child.kill().expect("it can be killed");
    program.child.wait().expect("it can be reaped");
    watched[1..].iter().for_each(Watched::wait);
    signal(pids[0], Signal::KILL);
    watched[0].wait();
}

fn stubborn() {
    let manager = start();
    let _stays = submit(&manager, Deed::StayAgainstAllSignals);
    say(&next_text(&manager));
    wait_for_the_test();
}

#[test]
fn a_worker_that_refuses_all_signals_goes_with_its_killed_manager() {
    let _alone = alone();
    let mut program = Program::start("program", "stubborn");
    let worker = Watched::new(numbers(&program.hear())[0]);
    program.child.kill().expect("it can be killed");
    program.child.wait().expect("it can be reaped");
    worker.wait();
}

#[test]
fn a_manager_does_not_need_the_thread_that_started_it() {
    let _alone = alone();
    without_leaks(|| {
        let manager = thread::spawn(start).join().expect("it starts");
        let pid = assert_healthy(&manager);
        // Whatever the kernel tells the children of a thread that has ended, it has told them by now.
        assert_eq!(assert_healthy(&manager), pid);
        let manager = thread::spawn(move || {
            replace_worker(&manager);
            manager
        });
        let manager = manager.join().expect("it works");
        assert_healthy(&manager);
        close(&manager);
    });
}

#[test]
fn a_hundred_managers_work_side_by_side() {
    let _alone = alone();
    without_leaks(|| {
        let managers: Vec<_> = thread::scope(|scope| {
            let starters: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..25).map(|_| start()).collect::<Vec<_>>())).collect();
            starters.into_iter().flat_map(|starter| starter.join().expect("they start")).collect()
        });
        let handles: Vec<_> = managers.iter().map(|manager| submit(manager, Deed::Nothing)).collect();
        let mut pids: Vec<u32> =
            handles.into_iter().map(|handle| handle.wait().expect("it is done").pid).collect();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 100, "each has a worker of its own");
        for (manager, policy) in managers.iter().zip(ClosePolicy::ALL.into_iter().cycle()) {
            let report = manager.close(policy).expect("it closes");
            support::assert_balanced(&report);
            assert_eq!(report.tasks.done, 1);
        }
        support::assert_reaped(&pids);
    });
}

#[test]
fn a_fleet_of_two_hundred_workers_runs_ten_thousand_tasks() {
    const WORKERS: usize = 200;
    let _alone = alone();
    without_leaks(|| {
        let manager = builder(registry(), WORKERS).start().expect("it starts");
        let pids = all_ready(&manager, WORKERS);
        let handles: Vec<_> = (0..10_000).map(|_| submit(&manager, Deed::Nothing)).collect();
        for handle in handles {
            let Done { attempt, pid } = handle.wait().expect("it is done");
            assert!(attempt == 1 && pids.contains(&pid));
        }
        assert_eq!(close(&manager).tasks.done, 10_000);
        support::assert_reaped(&pids);
    });
}

const HUGE_BYTES: usize = 2 << 30;

/// A program with two gibibytes of its own, all of them touched.
fn huge() {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping overlaps nothing.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), HUGE_BYTES, access, kind, -1, 0) };
    assert_ne!(mapped, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    // SAFETY: the mapping is this function's own, and is touched within its bounds. That large pages are asked for is
    // only advice, and makes the touching quick.
    unsafe {
        libc::madvise(mapped, HUGE_BYTES, libc::MADV_HUGEPAGE);
        (0..HUGE_BYTES).step_by(4096).for_each(|offset| mapped.cast::<u8>().add(offset).write_volatile(1));
    }
    let resident_kib = support::process::status("VmRSS");
    assert!(resident_kib >= HUGE_BYTES as u64 / 1024, "{resident_kib} KiB");
    let began = Instant::now();
    let manager = start();
    // For whoever runs this by hand: speed is measured in the benchmarks.
    eprintln!("a worker of a program with {resident_kib} KiB has started in {:?}", began.elapsed());
    replace_worker(&manager);
    close(&manager);
}

#[test]
fn a_huge_program_starts_workers() {
    let _alone = alone();
    run_program("huge");
}

/// The argument that says how deep a worker that does not call `init` is.
const DEPTH: &str = "depth=";
/// Deeper than this nobody breeds, so that a failure of this test is no bomb.
const DEEPEST: u32 = 3;

/// A worker that lets go of its connection, never calls `init`, and starts a manager.
fn breed() -> ! {
    let depth =
        env::args().find_map(|argument| argument.strip_prefix(DEPTH)?.parse().ok()).unwrap_or(DEEPEST);
    if depth == DEEPEST {
        process::exit(43);
    }
    rustix::stdio::dup2_stdin(File::open("/dev/null").expect("nothing")).expect("it is replaced");
    match breeder(depth + 1).map(drop) {
        Err(ManagerStartError::InitNotReached) => process::exit(42),
        other => {
            eprintln!("{other:?}");
            process::exit(44)
        }
    }
}

fn breeder(depth: u32) -> Result<ProcessManager, ManagerStartError> {
    let arguments = ["workfleet_worker", "--nocapture", "--skip"].map(OsString::from);
    let depth = OsString::from(format!("{DEPTH}{depth}"));
    ProcessManager::builder(registry()).workers(1).arguments(arguments.into_iter().chain([depth])).start()
}

#[test]
fn a_worker_that_lets_go_of_its_marker_and_never_calls_init_breeds_nothing() {
    let _alone = alone();
    match breeder(1) {
        Err(ManagerStartError::Workers(StartFailure::Died { certificate, .. })) => {
            assert_eq!(certificate.status, ExitStatus::Exited(42), "{certificate}");
        }
        other => panic!("{other:?}"),
    }
}
