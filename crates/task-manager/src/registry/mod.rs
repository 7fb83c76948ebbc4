//! Which tasks a program knows, and which sessions each of its workers has.
//!
//! How a task is run stands in `entry`, its number on the wire in `index`, the making of sessions in `sessions`.
//!
//! Invariants:
//! - A name stands for one type, and no heartbeat timeout is zero. What is registered otherwise is kept as an error, which
//!   `start` and `init` report.
//! - The same registrations in any order make the same digest and the same indices.

pub(crate) mod entry;
pub(crate) mod index;
mod sessions;

use std::{
    any::{Any, type_name},
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use workfleet_wire::EncodeError;

use self::{
    entry::Entry,
    sessions::{SessionMaker, SessionMakers},
};
use crate::{
    chain::Chain,
    code::{AsyncTask, Task},
    error::TaskError,
    run::sessions::Sessions,
    session_values::{SessionFailed, SessionValues},
    task::TaskSpec,
};

/// The tasks that a program can run, by name, and the sessions that each worker makes for them.
///
/// Cloning is cheap: the clones share everything.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use workfleet_task_manager::{Registry, Task, TaskContext, TaskError, TaskSpec};
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Lookup(String);
/// impl TaskSpec for Lookup {
///     const NAME: &'static str = "lookup";
///     type Output = Option<u32>;
/// }
/// impl Task for Lookup {
///     fn run(self, cx: &TaskContext) -> Result<Option<u32>, TaskError> {
///         Ok(cx.session::<Table>()?.0.iter().position(|name| *name == self.0).map(|index| index as u32))
///     }
/// }
/// struct Table(Vec<String>);
///
/// let registry = Registry::new().task::<Lookup>().session(|| Ok(Table(vec!["a".into(), "b".into()])));
/// assert_eq!(registry.names().collect::<Vec<_>>(), ["lookup"]);
/// ```
///
/// A [`Chain`] of registered tasks needs no registration. Names that begin with `workfleet.` are reserved.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    /// Sorted by name: a task's index on the wire is its place here.
    tasks: BTreeMap<&'static str, Entry>,
    sessions: SessionMakers,
    refused: Option<RegistryError>,
}

/// A registration that is refused, or two that exclude each other.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two types of task have the same name.
    #[error("the task name {name:?} is registered for {first} and for {second}")]
    #[non_exhaustive]
    DuplicateName {
        /// The name.
        name: &'static str,
        /// The type that had it first.
        first: &'static str,
        /// The type that was registered under it again.
        second: &'static str,
    },
    /// Two sessions have the same type. A task asks for its session by the type, so one of them could not be reached.
    #[error("the session type {type_name} is registered twice")]
    #[non_exhaustive]
    DuplicateSession {
        /// The type.
        type_name: &'static str,
    },
    /// The heartbeat timeout of a type of task is zero: none could beat that often.
    #[error("the task {name:?} has a heartbeat timeout of zero: no task could beat that often")]
    #[non_exhaustive]
    ZeroHeartbeatTimeout {
        /// The name.
        name: &'static str,
    },
}

workfleet_causes::readable!(RegistryError {
    DuplicateName { name, first, second },
    DuplicateSession { type_name },
    ZeroHeartbeatTimeout { name },
});

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self { inner: Arc::default() }.task::<Chain>()
    }

    /// Adds a type of task. Adding the same type twice changes nothing; adding another under the same name makes
    /// `start` and `init` fail with [`RegistryError::DuplicateName`].
    ///
    /// An [`AsyncTask`] goes to [`async_task`](Self::async_task) instead; this does not compile, and says so:
    ///
    /// ```compile_fail,E0277
    /// use workfleet_task_manager::{AsyncTask, Registry};
    ///
    /// fn register<T: AsyncTask>() -> Registry {
    ///     Registry::new().task::<T>()
    /// }
    /// ```
    #[must_use]
    pub fn task<T: Task>(self) -> Self {
        self.add::<T>(Entry::of::<T>())
    }

    /// Adds a type of asynchronous task, as [`task`](Self::task) does.
    #[must_use]
    pub fn async_task<T: AsyncTask>(self) -> Self {
        self.add::<T>(Entry::of_async::<T>())
    }

    fn add<T: TaskSpec>(mut self, entry: Entry) -> Self {
        let inner = Arc::make_mut(&mut self.inner);
        if T::HEARTBEAT_TIMEOUT == Some(Duration::ZERO) {
            inner.refused.get_or_insert(RegistryError::ZeroHeartbeatTimeout { name: T::NAME });
        }
        match inner.tasks.get(T::NAME) {
            Some(first) if !first.is_same_type(&entry) => {
                inner.refused.get_or_insert(RegistryError::DuplicateName {
                    name: T::NAME,
                    first: ((first.spec)().type_name)(),
                    second: type_name::<T>(),
                });
            }
            Some(_) => {}
            None => {
                inner.tasks.insert(T::NAME, entry);
            }
        }
        self
    }

    /// Adds a session: a value that each worker makes once, before its first task, and lends to all its tasks through
    /// [`TaskContext::session`](crate::TaskContext::session). If `make` returns an error or panics, the start of that
    /// worker has failed.
    ///
    /// In a worker process, `make` sees nothing of the manager's memory. To give it data, use
    /// [`session_with`](Self::session_with).
    ///
    /// A worker that exits in order drops its sessions on the thread of the tasks; the last one made is dropped first.
    /// By then the manager has the outcomes of its tasks. A worker exits in order when its manager closes by
    /// [`ClosePolicy::Join`](crate::ClosePolicy::Join) or [`ClosePolicy::Cancel`](crate::ClosePolicy::Cancel) (also if
    /// the manager is dropped), when it has run its [share of tasks](crate::ProcessManagerBuilder::tasks_per_worker),
    /// when its [`WorkerLoop`](crate::WorkerLoop) is dropped, and when another session cannot be made.
    ///
    /// If a destructor panics, the other sessions are dropped all the same. If the destructors take longer than the
    /// [grace](crate::ProcessManagerBuilder::grace), a worker process is killed
    /// ([`KillReason::NotExited`](crate::KillReason::NotExited)), and a worker thread is abandoned.
    ///
    /// If the registry has [asynchronous tasks](Self::async_task), sessions are made and dropped inside their runtime.
    /// So `tokio::spawn` works in `make`, and the spawned future runs in the [background](AsyncTask) of the worker; it
    /// is dropped before the sessions are. If the registry has no asynchronous tasks, `make` needs a runtime of its own
    /// to spawn.
    ///
    /// Sessions are *not* dropped if the worker process is killed (by [`ClosePolicy::Kill`](crate::ClosePolicy::Kill),
    /// for example), if it dies, if a task calls `exit`, or if its manager is gone. There is no promise about statics
    /// and thread-locals.
    #[must_use]
    pub fn session<S, F>(self, make: F) -> Self
    where
        S: Any + Send + Sync,
        F: Fn() -> Result<S, TaskError> + Send + Sync + 'static,
    {
        self.add_session(SessionMaker::new(make))
    }

    /// Adds a [session](Self::session) that each worker makes from a value of the manager.
    ///
    /// A worker process has the manager's code, but not its memory. It does not have what the manager's program has read
    /// from a file, has got from a user, or has changed in a static. It gets `value`: the manager encodes it when it
    /// starts, and sends it to every worker, also to workers that are started later. The value may have any size: the
    /// limit of [frames](crate::ProcessManagerBuilder::frame_limit) does not apply. A worker process also runs this call
    /// before [`init`](crate::init); the `value` of that call is ignored.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use workfleet_task_manager::{ClosePolicy, Manager, ManagerExt, Registry, Task, TaskContext, TaskError, TaskSpec, ThreadManager};
    /// #[derive(Serialize, Deserialize)]
    /// struct Config { model: String }
    /// struct Model { name: String }
    /// # #[derive(Debug, Serialize, Deserialize)]
    /// # struct Name;
    /// # impl TaskSpec for Name { const NAME: &'static str = "name"; type Output = String; }
    /// # impl Task for Name {
    /// #     fn run(self, cx: &TaskContext) -> Result<String, TaskError> { Ok(cx.session::<Model>()?.name.clone()) }
    /// # }
    ///
    /// let config = Config { model: "large.bin".into() }; // say, of the arguments
    /// let registry = Registry::new()
    ///     .task::<Name>()
    ///     .session_with(config, |config: Config| Ok(Model { name: config.model }));
    /// # let manager = ThreadManager::builder(registry).workers(1).start()?;
    /// # assert_eq!(manager.submit(Name)?.wait()?, "large.bin");
    /// # manager.close(ClosePolicy::Join)?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// If the value [cannot be sent](workfleet_wire::message#what-is-checked-where-a-value-is-sent), the start fails
    /// with [`ManagerStartError::SessionValue`](crate::ManagerStartError::SessionValue). If a worker's program expects a value of
    /// another type, or none, that worker fails to start with
    /// [`StartFailure::SessionValue`](crate::StartFailure::SessionValue).
    #[must_use]
    pub fn session_with<V, S, F>(self, value: V, make: F) -> Self
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        S: Any + Send + Sync,
        F: Fn(V) -> Result<S, TaskError> + Send + Sync + 'static,
    {
        self.add_session(SessionMaker::of_value(value, make))
    }

    fn add_session(mut self, session: SessionMaker) -> Self {
        let inner = Arc::make_mut(&mut self.inner);
        if let Err(type_name) = inner.sessions.add(session) {
            inner.refused.get_or_insert(RegistryError::DuplicateSession { type_name });
        }
        self
    }

    /// The names of the registered tasks, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.inner.tasks.keys().copied().filter(|name| *name != Chain::NAME)
    }

    /// The code of the tasks of this name.
    pub(crate) fn entry(&self, name: &str) -> Option<Entry> {
        self.inner.tasks.get(name).copied()
    }

    pub(crate) fn has_sessions(&self) -> bool {
        !self.inner.sessions.is_empty()
    }

    pub(crate) fn has_async_tasks(&self) -> bool {
        self.inner.tasks.values().any(Entry::is_async)
    }

    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        match &self.inner.refused {
            Some(refused) => Err(refused.clone()),
            None => Ok(()),
        }
    }

    /// What two processes compare to know that an index means the same task in both.
    pub(crate) fn digest(&self) -> u64 {
        index::digest(self.inner.tasks.keys().copied())
    }

    /// The entries in the order of their indices on the wire.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.inner.tasks.values().copied().collect()
    }

    /// The values that sessions are to be given, or which session's cannot be sent.
    pub(crate) fn session_values(&self) -> Result<SessionValues, (&'static str, EncodeError)> {
        self.inner.sessions.values()
    }

    /// Makes every session of the values that the manager gives, up to one that cannot be made.
    pub(crate) fn make_sessions(
        &self,
        values: &SessionValues,
        made: &mut Sessions,
    ) -> Result<(), SessionFailed> {
        self.inner.sessions.make(values, made)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("tasks", &self.names().collect::<Vec<_>>())
            .field("sessions", &self.inner.sessions)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{index::Index, *};
    use crate::{context::TaskContext, task::EncodedTask};

    macro_rules! task {
        ($type:ident, $name:literal) => {
            task!($type, $name, None);
        };
        ($type:ident, $name:literal, $heartbeat_timeout:expr) => {
            #[derive(Debug, serde::Serialize, serde::Deserialize)]
            struct $type;
            impl TaskSpec for $type {
                const NAME: &'static str = $name;
                type Output = ();
                const HEARTBEAT_TIMEOUT: Option<Duration> = $heartbeat_timeout;
            }
            impl Task for $type {
                fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
                    Ok(())
                }
            }
        };
    }
    task!(A, "a");
    task!(B, "b");
    task!(OtherA, "a");
    task!(Restless, "restless", Some(Duration::ZERO));

    #[test]
    fn the_order_of_registration_does_not_matter() {
        let ab = Registry::new().task::<A>().task::<B>();
        let ba = Registry::new().task::<B>().task::<A>().task::<B>();
        assert_eq!(ab.digest(), ba.digest());
        assert_ne!(ab.digest(), Registry::new().task::<A>().digest());
        let index = Index::new(&ba.entries(), false);
        let task = EncodedTask::new(&B).expect("it encodes");
        assert_eq!(index.of(&task), Some(1));
        assert_eq!(Index::new(&Registry::new().task::<A>().entries(), false).of(&task), None);
        assert!(ba.check().is_ok());
    }

    #[test]
    fn two_types_of_one_name_are_refused() {
        let error = Registry::new().task::<A>().task::<OtherA>().check().expect_err("two types, one name");
        assert!(matches!(error, RegistryError::DuplicateName { name: "a", .. }), "{error}");
    }

    #[test]
    fn a_heartbeat_timeout_of_zero_is_refused() {
        let error = Registry::new().task::<Restless>().check().expect_err("nobody beats that often");
        assert_eq!(error, RegistryError::ZeroHeartbeatTimeout { name: "restless" });
    }

    #[test]
    fn two_sessions_of_one_type_are_refused() {
        let registry = Registry::new().session(|| Ok(1_u32)).session(|| Ok(2_u32));
        assert_eq!(registry.check(), Err(RegistryError::DuplicateSession { type_name: "u32" }));
    }
}
