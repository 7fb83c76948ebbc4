//! Task types in a line or two, for tests that have many.

#![allow(unused_macros, unused_imports, reason = "each test uses its part of this")]

/// Names a task type, its output, and what it does.
macro_rules! task {
    ($type:ty, $name:literal, $output:ty, |$self:ident, $cx:ident| $run:expr) => {
        impl workfleet_task_manager::TaskSpec for $type {
            const NAME: &'static str = $name;
            type Output = $output;
        }
        impl workfleet_task_manager::Task for $type {
            fn run(
                $self,
                $cx: &workfleet_task_manager::TaskContext,
            ) -> Result<$output, workfleet_task_manager::TaskError> {
                $run
            }
        }
    };
}
pub(crate) use task;

/// The same of an asynchronous task.
macro_rules! async_task {
    ($type:ty, $name:literal, $output:ty, |$self:ident, $cx:ident| $run:expr) => {
        impl workfleet_task_manager::TaskSpec for $type {
            const NAME: &'static str = $name;
            type Output = $output;
        }
        impl workfleet_task_manager::AsyncTask for $type {
            async fn run(
                $self,
                $cx: &workfleet_task_manager::TaskContext,
            ) -> Result<$output, workfleet_task_manager::TaskError> {
                $run
            }
        }
    };
}
pub(crate) use async_task;
