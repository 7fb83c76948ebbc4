//! Real forks of a process that has workers: every call that needs their runtime fails at once, and does not wait forever.

#[path = "../../fork/tests/support/mod.rs"]
mod support;

use std::future::pending;

use support::in_a_fork;
use tokio::runtime::{Builder, Runtime};
use workfleet_worker_lifecycle::{
    AddError, Ending, QueueConsumerWorker, QueueSendErrorKind, RemoveError, StartError, WorkerContext,
    WorkerHandle, WorkerState, Workers, start,
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

async fn deaf(_cx: WorkerContext) {
    pending().await
}

#[test]
fn in_a_fork_workers_are_out_of_reach_and_others_work() {
    let around = Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime");
    let consumer = QueueConsumerWorker::new(|_: u32| async {});
    let sender = consumer.sender();
    let group = Workers::new("group").with_child(deaf).with_child(consumer);
    let control = group.control();
    let group = around.block_on(start(group)).expect("it starts");
    let child = around.block_on(control.add(deaf)).expect("it starts");
    let unstarted = WorkerHandle::new(deaf);
    let mut states = group.watch_state();
    in_a_fork(|| {
        let own = runtime();
        own.block_on(async {
            assert!(matches!(group.wait_for_startup().await, Err(StartError::Forked { .. })));
            assert_eq!(group.wait_for_shutdown().await.ending(), Ending::Forked);
            assert_eq!(group.shutdown().await.expect("it is at once").ending(), Ending::Forked);
            assert_eq!(group.outcome().map(|outcome| outcome.ending()), Some(Ending::Forked));
            assert_eq!(child.worker.wait_for_shutdown().await.ending(), Ending::Forked);
            assert_eq!(
                (group.state(), group.status().state),
                (WorkerState::ForceStopped, WorkerState::ForceStopped)
            );
            assert_eq!((states.state(), states.changed().await), (WorkerState::ForceStopped, None));
            assert!(!group.gracefully_stop());
            group.abort();
            assert!(matches!(unstarted.startup().await, Err(StartError::Forked { .. })));
            assert!(matches!(control.add(deaf).await, Err(AddError::Forked(_))));
            assert!(matches!(control.remove(child.id).await, Err(RemoveError::Forked)));
            for failed in [sender.send(1), sender.send_wait(1).await] {
                assert_eq!(failed.expect_err("nobody consumes").kind(), QueueSendErrorKind::Forked);
            }
            assert!(sender.is_closed() && sender.queue_size() == 0 && sender.leftovers().len() == 0);
            drop(group);

            let worker =
                start(|cx: WorkerContext| async move { cx.stopping().await }).await.expect("it starts");
            assert_eq!(worker.shutdown().await.expect("it obeys").state(), WorkerState::Stopped);
        });
    });
}
