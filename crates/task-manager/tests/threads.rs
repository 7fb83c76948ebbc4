//! What only a pool of threads does.

mod support;

use support::{alone, assert_balanced, tasks::registry};
use workfleet_task_manager::{ClosePolicy, ThreadManager};

/// [`alone`] finds a thread that is left.
#[test]
fn a_thread_that_becomes_ready_while_its_manager_closes_ends() {
    let _alone = alone();
    for policy in [ClosePolicy::Join, ClosePolicy::Cancel, ClosePolicy::Kill].into_iter().cycle().take(60) {
        let manager = ThreadManager::builder(registry()).workers(4).start().expect("it starts");
        assert_balanced(&manager.close(policy).expect("it closes"));
    }
}
