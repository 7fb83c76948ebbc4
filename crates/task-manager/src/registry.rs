//! Which tasks a program knows, and what each of its workers sets up once.
//!
//! Invariants:
//! - A name stands for one type, and no heartbeat timeout is zero. What is registered otherwise is kept as an error, which
//!   `start` and `init` report.
//! - The same registrations in any order make the same digest and the same indices.

use std::{
    any::{Any, TypeId, type_name},
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use workfleet_scheduler::Class;
use workfleet_wire::{EncodeError, message};

use crate::{
    causes::with_sources,
    chain::Chain,
    code::{AsyncTask, Task},
    context::TaskContext,
    error::TaskError,
    failure::{Failed, FailureCause},
    run::{
        runtime::on_own_runtime,
        sessions::{AnySession, Sessions},
    },
    session_values::{GivenValue, OwnValue, SessionFailed, SessionValues},
    task::{EncodedTask, SpecInfo, TaskSpec},
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
    sessions: Vec<SessionMaker>,
    refused: Option<RegistryError>,
}

/// Decodes a task, runs it, and appends its encoded output if that is wanted.
type RunFn = fn(&[u8], &TaskContext, Option<&mut Vec<u8>>) -> Result<(), Box<Failed>>;

/// The same for a task that runs beside others; the flag says whether the output is wanted.
pub(crate) type AsyncRunFn = for<'a> fn(&'a [u8], &'a TaskContext, bool) -> AsyncRun<'a>;

type AsyncRun<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Box<Failed>>> + 'a>>;

/// A type of task and its code.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    type_id: fn() -> TypeId,
    pub(crate) spec: fn() -> &'static SpecInfo,
    /// Runs it on this thread, to its end.
    pub(crate) run: RunFn,
    /// Of an asynchronous task.
    pub(crate) run_async: Option<AsyncRunFn>,
}

impl Entry {
    pub(crate) fn is_async(&self) -> bool {
        self.run_async.is_some()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&(self.spec)().name).finish()
    }
}

#[derive(Clone)]
struct SessionMaker {
    type_id: TypeId,
    type_name: &'static str,
    /// What [`Registry::session_with`] was given.
    own_value: Option<OwnValue>,
    make: Arc<MakeSession>,
}

/// Makes a session, of the value that the manager gives it, if any.
type MakeSession = dyn Fn(Option<&GivenValue<'_>>) -> Result<AnySession, SessionFailed> + Send + Sync;

/// A registration that cannot stand, or two that cannot both.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two types of task have one name.
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
    /// Two sessions are of one type, so that neither could be told from the other.
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

impl Registry {
    /// A registry that knows nothing yet.
    pub fn new() -> Self {
        Self { inner: Arc::default() }.task::<Chain>()
    }

    /// Adds a type of task. Adding the same type twice changes nothing; adding another under the same name makes
    /// `start` and `init` fail with [`RegistryError::DuplicateName`].
    #[must_use]
    pub fn task<T: Task>(self) -> Self {
        self.add::<T>(run_encoded::<T>, None)
    }

    /// Adds a type of asynchronous task, as [`task`](Self::task) does.
    #[must_use]
    pub fn async_task<T: AsyncTask>(self) -> Self {
        self.add::<T>(block_on_encoded::<T>, Some(run_encoded_async::<T>))
    }

    fn add<T: TaskSpec>(mut self, run: RunFn, run_async: Option<AsyncRunFn>) -> Self {
        let inner = Arc::make_mut(&mut self.inner);
        let entry = Entry { type_id: TypeId::of::<T>, spec: spec_of::<T>, run, run_async };
        if T::HEARTBEAT_TIMEOUT == Some(Duration::ZERO) {
            inner.refused.get_or_insert(RegistryError::ZeroHeartbeatTimeout { name: T::NAME });
        }
        match inner.tasks.get(T::NAME) {
            Some(first) if (first.type_id)() != TypeId::of::<T>() => {
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

    /// Adds a session: a value that each worker makes once, before its first task, and lends to all of them through
    /// [`TaskContext::session`]. An error or panic of `make` is a failed start of that worker.
    ///
    /// In a worker process, `make` runs in a program of its own: see [`session_with`](Self::session_with) for what it should
    /// know of the manager's.
    ///
    /// A worker that leaves in order drops its sessions, the last made first, on the thread of the tasks. So it is when its
    /// manager closes by [`ClosePolicy::Join`](crate::ClosePolicy::Join) or [`ClosePolicy::Cancel`](crate::ClosePolicy::Cancel)
    /// (also if it is dropped), when the worker has had its
    /// [share of tasks](crate::ProcessManagerBuilder::tasks_per_worker), when its [`WorkerLoop`](crate::WorkerLoop) is
    /// dropped, and when another session cannot be made. What its tasks have returned is with the manager by then. A
    /// destructor that panics keeps no other from running. One that takes longer than the
    /// [grace](crate::ProcessManagerBuilder::grace) has its worker process killed
    /// ([`KillReason::NotExited`](crate::KillReason::NotExited)), or its thread left alone.
    ///
    /// Where the registry has [asynchronous tasks](Self::async_task), sessions are made and dropped in the context of their
    /// runtime: `tokio::spawn` works in `make`, and what it spawns runs in the [background](AsyncTask) of the worker. That is
    /// over by the time that sessions are dropped. Where there are none, `make` needs a runtime of its own for that.
    ///
    /// Sessions are *not* dropped by a worker process that is killed ([`ClosePolicy::Kill`](crate::ClosePolicy::Kill) among
    /// others), that dies, in which a task calls `exit`, or whose manager is gone. Nothing is promised of statics and
    /// thread-locals.
    #[must_use]
    pub fn session<S, F>(self, make: F) -> Self
    where
        S: Any + Send + Sync,
        F: Fn() -> Result<S, TaskError> + Send + Sync + 'static,
    {
        self.add_session::<S>(None, move |_given| make_session(&make))
    }

    /// Adds a [session](Self::session) that each worker makes of a value that the manager gives it.
    ///
    /// A worker process makes its sessions in a program of its own, of which only the code is the manager's: what the
    /// manager's program read from a file, was told by a user, or changed in a static, is not there. `value` is. It is encoded
    /// when the manager starts, and reaches every worker, also those that are started later, whatever its size: the limit of
    /// [frames](crate::ProcessManagerBuilder::frame_limit) does not apply. The value with which a worker process itself gets
    /// here is ignored.
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
    /// A value that [cannot travel](workfleet_wire::message#what-is-checked-where-a-value-is-sent) is a
    /// [`StartError::SessionValue`](crate::StartError::SessionValue). A worker whose program takes a value of another type,
    /// or none, is a [`StartFailure::SessionValue`](crate::StartFailure::SessionValue).
    #[must_use]
    pub fn session_with<V, S, F>(self, value: V, make: F) -> Self
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        S: Any + Send + Sync,
        F: Fn(V) -> Result<S, TaskError> + Send + Sync + 'static,
    {
        self.add_session::<S>(Some(OwnValue::new(value)), move |given| {
            let value = GivenValue::take::<V>(given, type_name::<S>())?;
            make_session(|| make(value))
        })
    }

    fn add_session<S: Any + Send + Sync>(
        mut self,
        own_value: Option<OwnValue>,
        make: impl Fn(Option<&GivenValue<'_>>) -> Result<AnySession, SessionFailed> + Send + Sync + 'static,
    ) -> Self {
        let inner = Arc::make_mut(&mut self.inner);
        let (type_id, type_name) = (TypeId::of::<S>(), type_name::<S>());
        if inner.sessions.iter().any(|session| session.type_id == type_id) {
            inner.refused.get_or_insert(RegistryError::DuplicateSession { type_name });
        } else {
            inner.sessions.push(SessionMaker { type_id, type_name, own_value, make: Arc::new(make) });
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

    /// What two processes compare to know that an index means the same task in both: FNV-1a over the sorted names.
    pub(crate) fn digest(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.inner.tasks.keys().flat_map(|name| name.bytes().chain([0xff])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash
    }

    /// The entries in the order of their indices on the wire.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.inner.tasks.values().copied().collect()
    }

    /// The values that sessions are to be given, or which session's cannot be sent.
    pub(crate) fn session_values(&self) -> Result<SessionValues, (&'static str, EncodeError)> {
        let with_values = self.inner.sessions.iter();
        SessionValues::encode(
            with_values.filter_map(|session| Some((session.type_name, session.own_value.as_ref()?))),
        )
    }

    /// Makes every session, in the order of registration, of the values that the manager gives, up to one that cannot be made.
    pub(crate) fn make_sessions(
        &self,
        values: &SessionValues,
        made: &mut Sessions,
    ) -> Result<(), SessionFailed> {
        let sessions = &self.inner.sessions;
        let given = values.given()?;
        let takes = |value: &GivenValue<'_>, session: &SessionMaker| {
            session.own_value.is_some() && session.type_name == value.session
        };
        if let Some(value) = given.iter().find(|value| !sessions.iter().any(|session| takes(value, session)))
        {
            return Err(value.taken_by_none());
        }
        for session in sessions {
            let value = (session.make)(given.iter().find(|value| takes(value, session)))?;
            made.add(session.type_id, session.type_name, value);
        }
        Ok(())
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions: Vec<_> = self.inner.sessions.iter().map(|session| session.type_name).collect();
        f.debug_struct("Registry")
            .field("tasks", &self.names().collect::<Vec<_>>())
            .field("sessions", &sessions)
            .finish()
    }
}

/// Finds the index of a task's type on the wire.
#[derive(Debug)]
pub(crate) struct Index {
    specs: Vec<&'static SpecInfo>,
    classes: Vec<Class>,
}

impl Index {
    /// `concurrent` says whether a worker runs several asynchronous tasks at once.
    pub(crate) fn new(registry: &Registry, concurrent: bool) -> Self {
        let entries = registry.entries();
        let class = |(number, entry): (usize, &Entry)| Class {
            number: u16::try_from(number).unwrap_or(u16::MAX),
            concurrent: concurrent && entry.is_async(),
        };
        Self {
            specs: entries.iter().map(|entry| (entry.spec)()).collect(),
            classes: entries.iter().enumerate().map(class).collect(),
        }
    }

    /// The class of a type that is registered.
    pub(crate) fn class(&self, index: u32) -> Class {
        self.classes[index as usize]
    }

    /// How long a task of a type that is registered may be silent.
    pub(crate) fn heartbeat_timeout(&self, index: u32) -> Option<Duration> {
        self.specs[index as usize].heartbeat_timeout
    }

    pub(crate) fn len(&self) -> usize {
        self.specs.len()
    }

    pub(crate) fn spec(&self, index: u32) -> Option<&'static SpecInfo> {
        self.specs.get(index as usize).copied()
    }

    pub(crate) fn of(&self, task: &EncodedTask) -> Option<u32> {
        // One type's information usually stands at one address, and few types are registered: look there first.
        let position = self
            .specs
            .iter()
            .position(|spec| std::ptr::eq(*spec, task.spec))
            .or_else(|| self.specs.binary_search_by_key(&task.spec.name, |spec| spec.name).ok());
        position.map(|position| position as u32)
    }
}

fn make_session<S: Any + Send + Sync>(
    make: impl FnOnce() -> Result<S, TaskError>,
) -> Result<AnySession, SessionFailed> {
    match make() {
        Ok(session) => Ok(Box::new(session)),
        Err(error) => Err(SessionFailed::making(type_name::<S>(), &error)),
    }
}

fn spec_of<T: TaskSpec>() -> &'static SpecInfo {
    SpecInfo::of::<T>()
}

fn run_encoded<T: Task>(
    payload: &[u8],
    cx: &TaskContext,
    output: Option<&mut Vec<u8>>,
) -> Result<(), Box<Failed>> {
    let value = decode::<T>(payload)?.run(cx).map_err(TaskError::into_failed)?;
    output.map_or(Ok(()), |output| encode_output::<T>(&value, output))
}

fn run_encoded_async<'a, T: AsyncTask>(
    payload: &'a [u8],
    cx: &'a TaskContext,
    wants_output: bool,
) -> AsyncRun<'a> {
    Box::pin(async move {
        let value = decode::<T>(payload)?.run(cx).await.map_err(TaskError::into_failed)?;
        let mut output = Vec::new();
        if wants_output {
            encode_output::<T>(&value, &mut output)?;
        }
        Ok(output)
    })
}

fn block_on_encoded<T: AsyncTask>(
    payload: &[u8],
    cx: &TaskContext,
    output: Option<&mut Vec<u8>>,
) -> Result<(), Box<Failed>> {
    let task = decode::<T>(payload)?;
    let ended = on_own_runtime(|runtime| runtime.block_on(task.run(cx)));
    let ended = ended.map_err(|error| TaskError::from(error).into_failed())?;
    let value = ended.map_err(TaskError::into_failed)?;
    output.map_or(Ok(()), |output| encode_output::<T>(&value, output))
}

fn decode<T: TaskSpec>(payload: &[u8]) -> Result<T, Box<Failed>> {
    message::decode(payload).map_err(|error| FailureCause::Rejected { reason: with_sources(&error) }.into())
}

fn encode_output<T: TaskSpec>(value: &T::Output, output: &mut Vec<u8>) -> Result<(), Box<Failed>> {
    message::encode_checked_into(value, output)
        .map_err(|error: EncodeError| FailureCause::Output { reason: with_sources(&error) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let index = Index::new(&ba, false);
        let task = EncodedTask::new(&B).expect("it encodes");
        assert_eq!(index.of(&task), Some(1));
        assert_eq!(Index::new(&Registry::new().task::<A>(), false).of(&task), None);
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
