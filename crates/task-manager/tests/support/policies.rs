//! The ways to close, by what a test needs to know of them. Each list is made from all policies, less those that are known to
//! differ. So a new policy is tested by each test that has such a list.

use workfleet_task_manager::ClosePolicy;

/// The policies that let a worker end in order, as long as it does so within the grace.
pub(crate) fn patient() -> impl Iterator<Item = ClosePolicy> {
    ClosePolicy::ALL.into_iter().filter(|policy| *policy != ClosePolicy::Kill)
}

/// The policies that start nothing more.
pub(crate) fn halting() -> impl Iterator<Item = ClosePolicy> {
    ClosePolicy::ALL.into_iter().filter(|policy| *policy != ClosePolicy::Join)
}
