//! A worker process of a test binary runs the test that `test_worker!` makes and no other, wherever that stands and whatever
//! the test run was given; and nothing that its harness prints is taken for what the worker prints.

mod support;

use std::{
    env, fs,
    process::{self, Command},
};

use serde::{Deserialize, Serialize};
use support::{
    alone, close,
    process::{PART, part},
};
use workfleet_task_manager::{ProcessManager, Registry, Task, TaskContext, TaskError, TaskSpec};

/// The arguments of the worker's process, and which process that is.
#[derive(Debug, Serialize, Deserialize)]
struct Arguments;

impl TaskSpec for Arguments {
    const NAME: &'static str = "arguments";
    type Output = Vec<String>;
}

impl Task for Arguments {
    fn run(self, _cx: &TaskContext) -> Result<Vec<String>, TaskError> {
        Ok(env::args().skip(1).collect())
    }
}

/// Prints a line on standard output.
#[derive(Debug, Serialize, Deserialize)]
struct Print;

impl TaskSpec for Print {
    const NAME: &'static str = "print";
    type Output = ();
}

impl Task for Print {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        println!("{LINE}");
        Ok(())
    }
}

const LINE: &str = "a line of a task";

fn registry() -> Registry {
    Registry::new().task::<Arguments>().task::<Print>()
}

mod in_a_module {
    workfleet_task_manager::test_worker!(super::registry());

    /// A harness that took the entry's name for a part of a name would run this in each worker.
    #[test]
    fn not_the_workfleet_worker_itself() {
        super::end_if_in_a_worker();
    }
}

#[test]
fn workfleet_worker_is_not_the_whole_name() {
    end_if_in_a_worker();
}

fn end_if_in_a_worker() {
    if env::var_os("WORKFLEET_MANAGER").is_some() {
        process::exit(3);
    }
}

#[test]
fn a_worker_runs_the_entry_of_a_test_binary_and_no_test_whose_name_contains_it() {
    let _alone = alone();
    let manager = ProcessManager::builder(registry()).workers(2).start().expect("it starts");
    let arguments = manager.submit(Arguments).expect("it is taken").wait().expect("it is done");
    assert_eq!(arguments, ["in_a_module::workfleet_worker", "--exact", "--nocapture"]);
    close(&manager);
}

#[test]
fn the_log_of_a_worker_begins_with_what_the_worker_prints() {
    let _alone = alone();
    let logs = tempfile::tempdir().expect("a directory");
    let builder = ProcessManager::builder(registry()).workers(1).log_directory(logs.path());
    let manager = builder.start().expect("it starts");
    manager.submit(Print).expect("it is taken").wait().expect("it prints");
    close(&manager);
    drop(manager);
    let log = fs::read_to_string(logs.path().join("worker-0.log")).expect("it is there");
    let lines: Vec<_> = log.lines().collect();
    assert!(matches!(lines[..], [line] if line.ends_with(LINE)), "{log}");
}

/// Not a test by itself: the program that the test below starts. Its worker prints where it prints.
#[test]
fn program() {
    if part().is_some() {
        let manager = ProcessManager::builder(registry()).workers(1).start().expect("it starts");
        manager.submit(Print).expect("it is taken").wait().expect("it prints");
        close(&manager);
    }
}

#[test]
fn a_worker_prints_where_its_program_does_and_its_harness_does_not() {
    let _alone = alone();
    let mut program = Command::new("/proc/self/exe");
    program.args(["program", "--exact", "--nocapture"]).env(PART, "prints");
    let output = program.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with(LINE)).count(), 1, "{text}");
    // That of the program itself.
    assert_eq!(text.matches("running ").count(), 1, "{text}");
}
