//! Tasks that are closures of their test: for workers that share its process.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{Registry, Task, TaskContext, TaskError, TaskSpec};

type Deed = Box<dyn FnOnce(&TaskContext) -> Result<String, TaskError> + Send>;

/// By their numbers; none where it was begun.
static DEEDS: Mutex<Vec<Option<Deed>>> = Mutex::new(Vec::new());

/// Runs the closure of this number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Do(usize);

impl TaskSpec for Do {
    const NAME: &'static str = "do";
    type Output = String;
}

impl Task for Do {
    fn run(self, cx: &TaskContext) -> Result<String, TaskError> {
        let deed =
            DEEDS.lock().unwrap_or_else(PoisonError::into_inner).get_mut(self.0).and_then(Option::take);
        deed.ok_or("it is not of this process, or was done before")?(cx)
    }
}

/// A task that does this once.
pub(crate) fn deed(deed: impl FnOnce(&TaskContext) -> Result<String, TaskError> + Send + 'static) -> Do {
    let mut deeds = DEEDS.lock().unwrap_or_else(PoisonError::into_inner);
    deeds.push(Some(Box::new(deed)));
    Do(deeds.len() - 1)
}

pub(crate) fn registry() -> Registry {
    super::tasks::registry().task::<Do>()
}
