//! What the errors of tasks tell, and that none of them can hold up or fill anything.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    ClosePolicy, FailureCause, Registry, Task, TaskContext, TaskError, TaskFailure, TaskSpec,
};

use crate::{
    Manager, builder,
    support::{alone, assert_balanced},
};

/// An error that is its own source.
#[derive(Debug)]
struct Circle;

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a circle")
    }
}

impl Error for Circle {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

/// Fails in some way.
#[derive(Debug, Serialize, Deserialize)]
enum FailBy {
    Circle,
    Text(String),
}

impl TaskSpec for FailBy {
    const NAME: &'static str = "fail-by";
    type Output = ();
}

impl Task for FailBy {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Err(match self {
            Self::Circle => Circle.into(),
            Self::Text(text) => text.into(),
        })
    }
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<FailBy>()
}

fn failure(manager: &Manager, task: FailBy) -> TaskFailure {
    manager.submit(task).expect("it is taken").wait().expect_err("it fails")
}

fn join(manager: &Manager) {
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

#[test]
fn an_error_that_is_its_own_source_fails_its_task_like_any_other() {
    let _alone = alone();
    let manager = builder(1).start().expect("it starts");
    let failure = failure(&manager, FailBy::Circle);
    let FailureCause::Error { chain, .. } = &failure.cause else { panic!("{failure}") };
    assert!((2..100).contains(&chain.len()), "{} texts", chain.len());
    assert!(chain[..chain.len() - 1].iter().all(|text| text == "a circle"), "{chain:?}");
    join(&manager);
}

#[test]
fn what_main_would_print_of_a_failure_is_what_it_says() {
    let _alone = alone();
    let manager = builder(1).start().expect("it starts");
    let failure = failure(&manager, FailBy::Text("the disk is full".into()));
    let boxed: Box<dyn Error> = failure.clone().into();
    assert_eq!(format!("{boxed:?}"), failure.to_string());
    assert!(format!("{boxed:?}").contains("the disk is full"), "{boxed:?}");
    // The structure, on request.
    assert!(format!("{failure:#?}").starts_with("FailureReport {\n    task: "), "{failure:#?}");
    join(&manager);
}
