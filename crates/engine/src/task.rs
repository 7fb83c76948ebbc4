//! A task, as a client enqueues it and as a member leases it.
//!
//! Invariant: every time in here is a duration, and counts from when the engine learns of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{FleetTaskId, MemberId};

/// How the bytes of a payload are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Format {
    /// As [postcard](https://postcard.jamesmunns.com), which is what programs in Rust send.
    #[default]
    Postcard,
    /// As JSON, which programs in any language can send.
    Json,
}

/// The encoded content of a task, or of its output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Payload {
    /// How the bytes are to be read. The engine does not look into them.
    pub format: Format,
    /// The bytes.
    pub bytes: Bytes,
}

impl Payload {
    /// Bytes that postcard has made.
    pub fn postcard(bytes: impl Into<Bytes>) -> Self {
        Self { format: Format::Postcard, bytes: bytes.into() }
    }

    /// A JSON text.
    pub fn json(text: impl Into<Bytes>) -> Self {
        Self { format: Format::Json, bytes: text.into() }
    }
}

/// For how long a [unique key](Unique) belongs to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UniqueFor {
    /// Until the task ends: done, cancelled, or as a dead letter.
    Task,
    /// For this long since the task was enqueued, whether it ends earlier or later.
    Time(Duration),
}

/// A key that one task has at a time: to enqueue another with the same key gives back the id of the first.
///
/// All tasks of an engine share these keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unique {
    /// The key.
    pub key: Arc<str>,
    /// For how long it belongs to the task.
    pub until: UniqueFor,
}

/// At most so many tasks with one key are leased at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Concurrency {
    /// The key. All tasks of an engine share these keys.
    pub key: Arc<str>,
    /// The task is leased only while fewer than so many others with the key are. At least 1.
    pub limit: u32,
}

/// How many tasks of a series may be leased in a time: a bucket of `count` that fills up in `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// So many at once, if the series was idle. At least 1.
    pub count: u32,
    /// In which time the bucket fills up. More than zero.
    pub per: Duration,
}

/// When a task that failed is tried again. Members follow it; an engine only keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    /// After so many attempts, the task is a dead letter. At least 1.
    pub attempts: u32,
    /// How long to wait after the first failure. Each further wait is twice as long.
    pub backoff: Duration,
    /// No wait is longer.
    pub max_backoff: Duration,
}

impl Default for Retry {
    /// One attempt.
    fn default() -> Self {
        Self { attempts: 1, backoff: Duration::from_secs(1), max_backoff: Duration::from_secs(3600) }
    }
}

/// One run of one task by one member: what fences everything that is said of it.
///
/// A run begins when the task is leased, and ends when it is settled or its member ends. Runs of a task are numbered from 1, and
/// no number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskRun {
    /// The task.
    pub task: FleetTaskId,
    /// Which of its runs.
    pub run: u64,
}

/// The run during which a task was enqueued, if one enqueued it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parent {
    /// The member that has leased the parent.
    pub member: MemberId,
    /// The parent's run.
    pub run: TaskRun,
}

/// A task that is to be enqueued.
///
/// ```
/// use std::time::Duration;
///
/// use workfleet_engine::{EngineTime, NewTask, Payload, FleetTaskId};
///
/// let id = FleetTaskId::generate(EngineTime::from_unix_ms(1_790_000_000_000))?;
/// let mut task = NewTask::new(id, "digest", Payload::json(r#"{"path":"/etc/hosts"}"#));
/// task.priority = 0; // the most urgent
/// task.not_before = Duration::from_secs(60);
/// # Ok::<(), workfleet_engine::EngineError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewTask {
    /// Its id, which the client makes.
    pub id: FleetTaskId,
    /// What kind of task it is. Members lease only names that they know.
    pub name: Arc<str>,
    /// The version of its payload, for members that know several. 0 by default.
    pub version: u32,
    /// Its content.
    pub payload: Payload,
    /// The series to which it belongs: series are served independently. The default series is the empty text.
    pub series: Arc<str>,
    /// 0 is the most urgent. 1 by default.
    pub priority: u8,
    /// It is not leased before this has passed. Zero by default.
    pub not_before: Duration,
    /// When it is tried again. One attempt by default.
    pub retry: Retry,
    /// When this has passed and it has not ended, it is a dead letter; if it is leased then, it is cancelled.
    pub deadline: Option<Duration>,
    /// A key that makes it unique.
    pub unique: Option<Unique>,
    /// A key that bounds how many run at once.
    pub concurrency: Option<Concurrency>,
    /// The rate of its series from now on: the last one that is enqueued counts.
    pub rate: Option<Rate>,
    /// The run that enqueues it. If that run is over, the task is refused.
    pub parent: Option<Parent>,
    /// The W3C trace context of the client that enqueues it.
    pub traceparent: Option<Arc<str>>,
    /// For how long its outcome is kept after its end. The engine keeps it for the repeat window at least. 10 minutes by default.
    pub keep_outcome: Duration,
}

impl NewTask {
    /// A task with defaults for everything else.
    pub fn new(id: FleetTaskId, name: impl Into<Arc<str>>, payload: Payload) -> Self {
        Self {
            id,
            name: name.into(),
            version: 0,
            payload,
            series: Arc::from(""),
            priority: 1,
            not_before: Duration::ZERO,
            retry: Retry::default(),
            deadline: None,
            unique: None,
            concurrency: None,
            rate: None,
            parent: None,
            traceparent: None,
            keep_outcome: Duration::from_secs(600),
        }
    }
}

/// What an engine answers for each task that it was asked to enqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Enqueued {
    /// The task is new, and is kept.
    New(FleetTaskId),
    /// There is a task with its id or its unique key, which has this id. The new one is dropped.
    Existing(FleetTaskId),
}

impl Enqueued {
    /// The id of the task that is kept.
    #[must_use]
    pub const fn id(self) -> FleetTaskId {
        match self {
            Self::New(id) | Self::Existing(id) => id,
        }
    }
}

/// How often things have happened to a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tally {
    /// How often it was started, as its settlements say.
    pub attempts: u32,
    /// How many workers died of it, as its settlements say.
    pub crashes: u32,
    /// How often the member that had leased it was lost.
    pub lost: u32,
}

/// A task that a member has leased.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeasedTask {
    /// The task as it was enqueued.
    pub task: Arc<NewTask>,
    /// Its run.
    pub run: u64,
    /// What has happened to it before this run.
    pub tally: Tally,
    /// How much of its deadline is left; none if it has none.
    pub remaining: Option<Duration>,
    /// Whether the member is to run it alone, because members were lost with it before.
    pub alone: bool,
    /// The last details of a heartbeat of an earlier run.
    pub details: Option<Bytes>,
}

impl LeasedTask {
    /// Its run, with which it is settled.
    #[must_use]
    pub fn task_run(&self) -> TaskRun {
        TaskRun { task: self.task.id, run: self.run }
    }

    /// What its children have as their parent.
    #[must_use]
    pub fn as_parent(&self, member: MemberId) -> Parent {
        Parent { member, run: self.task_run() }
    }
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The task is done, with this output.
    Done(Payload),
    /// It failed, and is to be tried again after a time.
    Retry {
        /// How long it is to wait.
        after: Duration,
        /// What went wrong, encoded.
        failure: Bytes,
    },
    /// It was not begun, and another may have it. The task is charged with nothing.
    Returned,
    /// It failed for good, and becomes a dead letter.
    Dead {
        /// What went wrong, encoded.
        failure: Bytes,
    },
}

/// The end of a run.
///
/// If the task was cancelled meanwhile, it ends as cancelled, unless it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The run.
    pub run: TaskRun,
    /// How often the task was started in this run.
    pub attempts: u32,
    /// How many workers died of it in this run.
    pub crashes: u32,
    /// What became of it.
    pub verdict: Verdict,
}

/// Whether a settlement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settled {
    /// It is recorded.
    Ok,
    /// The run is over, or never was. Nothing has changed.
    Fenced,
}
