//! What asynchronous tasks and sessions leave in the background of their worker: it goes on when they have ended, and ends
//! before the worker's sessions do.

#[path = "support/both.rs"]
mod both;
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use both::{Door, GRACE, Kind, Started, come_to, on_both, start};
use serde::{Deserialize, Serialize};
use support::{append_line, assert_balanced, policies, tasks::Nothing};
use workfleet_task_manager::{
    AsyncTask, ClosePolicy, Pool, ProcessManager, Registry, TaskContext, TaskError, TaskSpec, ThreadManager,
};

/// Leaves somebody in the background who comes to a door, again and again, and says in a file that he ends.
#[derive(Debug, Serialize, Deserialize)]
struct Leave {
    door: PathBuf,
    file: PathBuf,
}

impl TaskSpec for Leave {
    const NAME: &'static str = "leave";
    type Output = ();
}

impl AsyncTask for Leave {
    async fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.session::<Session>()?.say_at_end(&self.file);
        tokio::spawn(visit_again_and_again(self.door, SaysAtEnd("background", self.file)));
        Ok(())
    }
}

async fn visit_again_and_again(door: PathBuf, _says: SaysAtEnd) {
    loop {
        // By a timer, then by a socket. An error means that the test has ended.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if come_to(&door, "background").await.is_err() {
            return;
        }
    }
}

/// Appends a line to a file when it is dropped.
struct SaysAtEnd(&'static str, PathBuf);

impl Drop for SaysAtEnd {
    fn drop(&mut self) {
        append_line(&self.1, self.0).expect("a file");
    }
}

/// Spawns where it is made and where it is dropped.
struct Session(Mutex<Option<SaysAtEnd>>);

impl Session {
    fn make(door: Option<PathBuf>) -> Self {
        let waits = async move {
            // An error means that the test has ended.
            let _ = come_to(&door.unwrap_or_default(), "session").await;
        };
        drop(tokio::spawn(waits));
        Self(Mutex::default())
    }

    fn say_at_end(&self, file: &Path) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(SaysAtEnd("session", file.into()));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Never polled; but no panic.
        drop(tokio::spawn(async {}));
    }
}

fn registry_with(door: Option<PathBuf>) -> Registry {
    let registry = Registry::new().async_task::<Leave>().task::<Nothing>();
    registry.session(move || Ok(Session::make(door.clone())))
}

fn registry() -> Registry {
    registry_with(env::args().find_map(|argument| argument.strip_prefix("door=").map(PathBuf::from)))
}
workfleet_task_manager::test_worker!(registry());

fn leave(pool: &Pool, door: &Door, file: &Path) {
    let leave = Leave { door: door.path(), file: file.into() };
    pool.submit(leave).expect("it is taken").wait().expect("it is done");
}

fn goes_on_while_the_worker_is_idle(kind: Kind) {
    for at_once in [1, 8] {
        let (door, file) = (Door::new(), tempfile::NamedTempFile::new().expect("a file"));
        let pool = start!(kind, registry(), workers(1), async_tasks(at_once));
        leave(&pool, &door, file.path());
        for _ in 0..3 {
            let guest = door.next();
            assert_eq!(guest.name, "background");
            guest.go_on();
        }
        // A task that comes meanwhile is heard of.
        pool.submit(Nothing).expect("it is taken").wait().expect("it is done");
        door.next().go_on();
        assert_balanced(&pool.close(ClosePolicy::Join).expect("it closes"));
    }
}

fn goes_on_while_tasks_wait(kind: Kind) {
    let (door, file) = (Door::new(), tempfile::NamedTempFile::new().expect("a file"));
    let pool = start!(kind, registry(), workers(1));
    leave(&pool, &door, file.path());
    let mut waiting = std::collections::VecDeque::new();
    while !door.has_another() {
        // The worker is never without a task.
        waiting.push_back(pool.submit(Nothing).expect("it is taken"));
        if waiting.len() > 1000 {
            waiting.pop_front().expect("there are more").wait().expect("it is done");
        }
    }
    waiting.into_iter().for_each(|task| task.wait().expect("it is done"));
    assert_balanced(&pool.close(ClosePolicy::Join).expect("it closes"));
}

fn ends_before_the_sessions(kind: Kind) {
    for policy in policies::patient() {
        let (door, file) = (Door::new(), tempfile::NamedTempFile::new().expect("a file"));
        let pool = start!(kind, registry(), workers(1));
        leave(&pool, &door, file.path());
        pool.close(policy).expect("it closes");
        let said = fs::read_to_string(file.path()).expect("the file is there");
        assert_eq!(said, "background\nsession\n", "{policy:?}");
    }
}

fn of_a_session_goes_on(kind: Kind) {
    let door = Door::new();
    let pool = match kind {
        Kind::Processes => {
            let door = format!("door={}", door.path().display());
            let arguments = ["workfleet_worker", "--exact", "--nocapture", &door];
            let builder = ProcessManager::builder(registry()).workers(1).grace(GRACE).arguments(arguments);
            Started::Processes(builder.start().expect("it starts"))
        }
        Kind::Threads => {
            let builder = ThreadManager::builder(registry_with(Some(door.path()))).workers(1).grace(GRACE);
            Started::Threads(builder.start().expect("it starts"))
        }
    };
    let guest = door.next();
    assert_eq!(guest.name, "session");
    guest.go_on();
    assert_balanced(&pool.close(ClosePolicy::Join).expect("it closes"));
}

on_both!(
    goes_on_while_the_worker_is_idle,
    goes_on_while_tasks_wait,
    ends_before_the_sessions,
    of_a_session_goes_on,
);
