//! Workers that are replaced after their share of tasks: processes and threads.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use support::alone;
use workfleet_task_manager::{
    ClosePolicy, ManagerStartError, Pool, ProcessManager, Registry, Task, TaskContext, TaskError, TaskSpec,
    ThreadManager,
};

/// Which session it runs with: its process, and the number of the session in there.
#[derive(Debug, Serialize, Deserialize)]
struct Where;

impl TaskSpec for Where {
    const NAME: &'static str = "where";
    type Output = (u32, u32);
}

impl Task for Where {
    fn run(self, cx: &TaskContext) -> Result<(u32, u32), TaskError> {
        Ok((std::process::id(), cx.session::<Session>()?.0))
    }
}

struct Session(u32);

fn registry() -> Registry {
    static SESSIONS: AtomicU32 = AtomicU32::new(0);
    Registry::new().task::<Where>().session(|| Ok(Session(SESSIONS.fetch_add(1, Ordering::Relaxed))))
}
workfleet_task_manager::test_worker!(registry());

/// What runs of `3` tasks see, one worker after the other.
fn lives(pool: &Pool) -> Vec<(u32, u32)> {
    let handles: Vec<_> = (0..9).map(|_| pool.submit(Where).expect("it is taken")).collect();
    let seen: Vec<_> = handles.into_iter().map(|handle| handle.wait().expect("it is done")).collect();
    let mut lives = seen.clone();
    lives.dedup();
    for life in &lives {
        assert_eq!(seen.iter().filter(|seen| *seen == life).count(), 3, "{seen:?}");
    }
    assert_eq!(lives.len(), 3);
    let report = pool.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.failures.len()), (9, 0));
    lives
}

#[test]
fn a_worker_process_is_replaced_after_its_share() {
    let _alone = alone();
    let manager =
        ProcessManager::builder(registry()).workers(1).tasks_per_worker(3).start().expect("it starts");
    let mut pids: Vec<u32> = lives(&manager).into_iter().map(|(pid, _)| pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

#[test]
fn a_worker_thread_is_replaced_with_its_session_after_its_share() {
    let _alone = alone();
    let manager =
        ThreadManager::builder(registry()).workers(1).tasks_per_worker(3).start().expect("it starts");
    let sessions: Vec<u32> = lives(&manager).into_iter().map(|(_, session)| session).collect();
    assert_eq!([sessions[1] - sessions[0], sessions[2] - sessions[1]], [1, 1]);
}

#[test]
fn no_share_at_all_is_refused() {
    let started = ThreadManager::builder(registry()).tasks_per_worker(0).start();
    assert!(matches!(started, Err(ManagerStartError::Setting { setting: "tasks_per_worker", value: 0, .. })));
}
