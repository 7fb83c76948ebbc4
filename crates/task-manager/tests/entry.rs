//! A worker process of a test binary runs the test that `test_worker!` makes and no other, wherever that stands and whatever
//! the test run was given.

mod support;

use std::{env, process};

use serde::{Deserialize, Serialize};
use support::{alone, close};
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

fn registry() -> Registry {
    Registry::new().task::<Arguments>()
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
