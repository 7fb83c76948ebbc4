//! A failure has the backtrace of its error or panic, unless its manager's builder or the environment says otherwise.

#[path = "support/both.rs"]
mod both;
mod support;

use std::{env, fs, process::Command};

use both::{Kind, on_both, start};
use serde::{Deserialize, Serialize};
use support::{alone, builder, close};
use workfleet_task_manager::{
    Chain, ClosePolicy, FailureCause, Pool, Registry, Task, TaskContext, TaskError, TaskFailure, TaskSpec,
};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Fail {
    ByError,
    ByPanic,
    /// This deep within itself.
    Deep(u32),
    /// On a thread of its own.
    Aside,
}

impl TaskSpec for Fail {
    const NAME: &'static str = "fail";
    type Output = ();
}

impl Task for Fail {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        match self {
            Self::ByError => fails_by_an_error(),
            Self::ByPanic => fails_by_a_panic(),
            Self::Deep(depth) => fails_deep(depth),
            Self::Aside => std::thread::spawn(fails_by_an_error).join().map_err(|_panic| "it panicked")?,
        }
    }
}

#[inline(never)]
fn fails_by_an_error() -> Result<(), TaskError> {
    let port: u16 = "http".parse()?;
    Err(format!("{port} is a number").into())
}

#[inline(never)]
fn fails_by_a_panic() -> ! {
    panic!("as it should")
}

#[inline(never)]
fn fails_deep(depth: u32) -> Result<(), TaskError> {
    if depth == 0 { fails_by_an_error() } else { std::hint::black_box(fails_deep(depth - 1)) }
}

fn registry() -> Registry {
    Registry::new().task::<Fail>()
}

workfleet_task_manager::test_worker!(registry());

fn failure(pool: &Pool, task: Fail) -> TaskFailure {
    pool.submit(task).expect("it is taken").wait().expect_err("it fails")
}

fn backtrace(failure: &TaskFailure) -> Option<&str> {
    match &failure.cause {
        FailureCause::Error { backtrace, .. } | FailureCause::Panicked { backtrace, .. } => {
            backtrace.as_deref()
        }
        other => panic!("{other}"),
    }
}

/// Whether the environment of this test run leaves them on.
fn are_allowed() -> bool {
    env::var("RUST_LIB_BACKTRACE").or(env::var("RUST_BACKTRACE")).ok().as_deref() != Some("0")
}

fn they_are_on_by_default(kind: Kind) {
    let pool = start!(kind, registry(), workers(1));
    let failures = [
        (Fail::ByError, "fails_by_an_error"),
        (Fail::ByPanic, "fails_by_a_panic"),
        (Fail::Aside, "fails_by_an_error"),
    ];
    // The second time, the place is known.
    for (task, place) in failures.into_iter().chain(failures) {
        let failure = failure(&pool, task);
        let backtrace = backtrace(&failure);
        assert_eq!(backtrace.is_some(), are_allowed(), "{task:?}: {failure}");
        if let Some(backtrace) = backtrace {
            assert!(backtrace.contains(place), "{task:?}: {backtrace}");
            assert!(!backtrace.contains("worker::"), "what every task has below it: {backtrace}");
            assert!(failure.to_string().contains(place), "{failure}");
        }
    }
    // Also in a chain.
    let chain = Chain::new().then(&Fail::ByError).expect("it encodes");
    let failure = pool.submit(chain).expect("it is taken").wait().expect_err("it fails");
    assert_eq!(backtrace(&failure).is_some(), are_allowed(), "{failure}");
    pool.close(ClosePolicy::Join).expect("it closes");
}

fn the_builder_switches_them_off(kind: Kind) {
    let pool = start!(kind, registry(), workers(1), backtraces(false));
    for task in [Fail::ByError, Fail::ByPanic, Fail::Aside] {
        let failure = failure(&pool, task);
        assert_eq!(backtrace(&failure), None, "{failure}");
    }
    pool.close(ClosePolicy::Join).expect("it closes");
}

fn a_deep_one_is_cut(kind: Kind) {
    let pool = start!(kind, registry(), workers(1));
    let failure = failure(&pool, Fail::Deep(500));
    if are_allowed() {
        let len_bytes = backtrace(&failure).expect("it is there").len();
        assert!((4 << 10..=8 << 10).contains(&len_bytes), "{len_bytes} bytes");
    }
    pool.close(ClosePolicy::Join).expect("it closes");
}

on_both!(they_are_on_by_default, the_builder_switches_them_off, a_deep_one_is_cut);

/// A worker of a program that asks for something else is told what its manager wants. What it prints is its own affair.
#[test]
fn the_environment_of_a_worker_counts_for_what_it_prints_only() {
    let _alone = alone();
    let program = env::current_exe().expect("its path").into_os_string();
    for worker_says in ["0", "1"] {
        let said =
            ["RUST_LIB_BACKTRACE", "RUST_BACKTRACE"].map(|name| format!("{name}={worker_says}").into());
        let entry = ["workfleet_worker", "--exact", "--nocapture"].map(Into::into);
        let arguments = said.into_iter().chain([program.clone()]).chain(entry);
        for on in [true, false] {
            let builder = builder(registry(), 1).program("env").arguments(arguments.clone());
            let logs = tempfile::tempdir().expect("a directory");
            let manager = builder.backtraces(on).log_directory(logs.path()).start().expect("it starts");
            for task in [Fail::ByError, Fail::ByPanic] {
                let failure = failure(&manager, task);
                assert_eq!(backtrace(&failure).is_some(), on && are_allowed(), "{worker_says}: {failure}");
            }
            close(&manager);
            let log = fs::read_to_string(logs.path().join("worker-0.log")).expect("a log");
            assert_eq!(log.contains("stack backtrace:"), worker_says == "1", "{log}");
        }
    }
}

#[test]
fn the_environment_switches_them_off_by_zero_and_by_nothing_else() {
    let _alone = alone();
    let environments =
        [(None, None), (None, Some("0")), (Some("0"), Some("1")), (Some("1"), Some("0")), (None, Some(""))];
    for (lib, rust) in environments {
        let mut command = Command::new(env::current_exe().expect("its path"));
        // These find out from their environment what to expect.
        command.args(["they_are_on_by_default", "--nocapture"]);
        for (name, value) in [("RUST_LIB_BACKTRACE", lib), ("RUST_BACKTRACE", rust)] {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("2 passed"), "{lib:?} {rust:?}: {output:?}");
    }
}
