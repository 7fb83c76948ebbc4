//! Why a worker is in the state in which it is.

use std::fmt;

/// Why a worker is in its state: in its [`Status`](crate::Status).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum StatusReason {
    /// It was made, and not started.
    #[default]
    NotStarted,
    /// It was started.
    Started,
    /// Its group started it again, this many times since the group began.
    Restarted(u32),
    /// It was asked to stop. After its end: it stopped within its grace period.
    StopRequested(StoppedBy),
    /// It was asked to stop, did not within its grace period, and was aborted.
    Aborted(StoppedBy),
    /// Its `run` returned by itself.
    EndedByItself,
    /// A hook failed: all of them that did, in words, with the errors' sources.
    Failed(String),
    /// Its runtime was shut down while it ran.
    RuntimeGone,
    /// This process is a fork of the one that it runs in.
    Forked,
}

/// What asked a worker to stop first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum StoppedBy {
    /// Code with a [`WorkerRef`](crate::WorkerRef) or a [`WorkerHandle`](crate::WorkerHandle) of it.
    Caller,
    /// Its [`WorkerHandle`](crate::WorkerHandle) was dropped.
    HandleDropped,
    /// The worker itself, by [`WorkerContext::stop`](crate::WorkerContext::stop).
    Itself,
    /// The group of this name, which stops.
    Group(String),
    /// Its group, because it was removed there, or because another that was added with it did not come up.
    Removed,
    /// Its group, to restart it together with another child.
    RestartWithAnother,
    /// The end of its child of this name: it is a group.
    Child(String),
    /// A signal of this number.
    Signal(i32),
}

impl fmt::Display for StatusReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("nobody has started it"),
            Self::Started => f.write_str("it was started"),
            Self::Restarted(1) => f.write_str("it was restarted once"),
            Self::Restarted(times) => write!(f, "it was restarted {times} times"),
            Self::StopRequested(by) => write!(f, "stopped by {by}"),
            Self::Aborted(by) => write!(f, "aborted at its deadline, after it was stopped by {by}"),
            Self::EndedByItself => f.write_str("it ended by itself"),
            Self::Failed(failures) => f.write_str(failures),
            Self::RuntimeGone => f.write_str("its runtime was shut down"),
            Self::Forked => f.write_str("it runs in the process that this one is a fork of"),
        }
    }
}

impl fmt::Display for StoppedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("a caller"),
            Self::HandleDropped => f.write_str("the drop of its handle"),
            Self::Itself => f.write_str("itself"),
            Self::Group(name) => write!(f, "its group `{name}`"),
            Self::Removed => f.write_str("its removal from its group"),
            Self::RestartWithAnother => f.write_str("its group, to be restarted with another child"),
            Self::Child(name) => write!(f, "the end of its child `{name}`"),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}
