//! Why a task, a message or a frame was not taken.
//!
//! Invariant: a task that is not taken is handed back, with the reason.

use std::fmt;

use workfleet_wire::{EncodeError, Kind};

use workfleet_causes::readable;

use crate::{kinds, priority::Priority};

/// A task was not taken. [`into_task`](Self::into_task) has it back.
pub struct ScheduleError<T> {
    inner: Box<(T, ScheduleErrorKind)>,
}

/// Why a task was not taken.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleErrorKind {
    /// The manager is closed, or closing.
    #[error("the manager is closed")]
    Closed,
    /// This process is a fork of the one that started the manager. It has none of the manager's threads, and nobody would run
    /// the task.
    #[error(
        "this process is a fork of the one that started the manager: start another manager after the fork, or exec"
    )]
    Forked,
    /// It is a [`NullManager`](crate::NullManager), which runs nothing.
    #[error("this manager has no workers")]
    NoWorkers,
    /// The attempt on whose behalf it was to be scheduled has ended.
    #[error("the attempt that schedules it has ended")]
    AttemptEnded,
    /// There is no such priority.
    #[error("priority {priority} is beyond the manager's {levels} levels, of which {} is the last", levels - 1)]
    #[non_exhaustive]
    Priority {
        /// What was asked for.
        priority: Priority,
        /// How many levels there are, from 0.
        levels: u8,
    },
    /// The registry has no task of this name, so no worker could run it.
    #[error("no task {name:?} is registered")]
    #[non_exhaustive]
    Unregistered {
        /// The name.
        name: &'static str,
    },
    /// The task that schedules it has scheduled as many as it
    /// [may](crate::ProcessManagerBuilder::children_limit).
    #[error("the task that schedules it has scheduled {limit} already, which is the limit")]
    #[non_exhaustive]
    TooManyChildren {
        /// How many tasks one task may schedule.
        limit: u32,
    },
    /// The task does not encode.
    #[error("the task cannot be encoded: {0}")]
    Encode(EncodeError),
    /// The encoded task does not fit a frame.
    #[error(
        "the task has {len_bytes} bytes, beyond the frame_limit of {limit_bytes}, which the manager's builder can raise"
    )]
    #[non_exhaustive]
    TooLarge {
        /// What it has.
        len_bytes: u64,
        /// What a frame takes.
        limit_bytes: u64,
    },
}

readable!(ScheduleErrorKind {
    Closed,
    Forked,
    NoWorkers,
    AttemptEnded,
    Priority { priority, levels },
    Unregistered { name },
    TooManyChildren { limit },
    Encode(source),
    TooLarge { len_bytes, limit_bytes },
});

impl<T> ScheduleError<T> {
    pub(crate) fn new(task: T, kind: ScheduleErrorKind) -> Self {
        Self { inner: Box::new((task, kind)) }
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> ScheduleError<U> {
        let (task, kind) = *self.inner;
        ScheduleError::new(f(task), kind)
    }

    pub(crate) fn into_parts(self) -> (T, ScheduleErrorKind) {
        *self.inner
    }

    /// Why.
    pub fn kind(&self) -> &ScheduleErrorKind {
        &self.inner.1
    }

    /// The task, back.
    pub fn into_task(self) -> T {
        self.inner.0
    }
}

impl<T> fmt::Debug for ScheduleError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            f.debug_tuple("ScheduleError").field(self.kind()).finish()
        } else {
            fmt::Debug::fmt(self.kind(), f)
        }
    }
}

impl<T> fmt::Display for ScheduleError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.kind(), f)
    }
}

impl<T> std::error::Error for ScheduleError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.kind())
    }
}

/// A message or frame was not sent.
#[doc(alias = "SendError")]
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum MessageSendError {
    /// The attempt that sends has ended.
    #[error("the attempt that sends has ended")]
    AttemptEnded,
    /// The worker that it is meant for is gone.
    #[error("the worker is gone")]
    WorkerGone,
    /// The content does not encode.
    #[error("the message cannot be encoded: {0}")]
    Encode(EncodeError),
    /// The encoded content does not fit a frame.
    #[error(
        "the message has {len_bytes} bytes, beyond the frame_limit of {limit_bytes}, which the manager's builder can raise"
    )]
    #[non_exhaustive]
    TooLarge {
        /// What it has.
        len_bytes: u64,
        /// What a frame takes.
        limit_bytes: u64,
    },
    /// What was sent before has not been taken: by the worker, or by the inbox's reader.
    #[error("{waiting_bytes} bytes wait to be taken already, beyond the limit of {limit_bytes}")]
    #[non_exhaustive]
    Full {
        /// What waits.
        waiting_bytes: u64,
        /// What may wait.
        limit_bytes: u64,
    },
    /// This task's manager has no service for the frame.
    #[error("the frame kind {} belongs to no service of this manager", kinds::TABLE.named(*.kind))]
    #[non_exhaustive]
    NoService {
        /// The kind.
        kind: Kind,
    },
    /// A service used a frame kind that is not its own.
    #[error("the frame kind {} is outside the service's range", kinds::TABLE.named(*.kind))]
    #[non_exhaustive]
    ForeignKind {
        /// The kind.
        kind: Kind,
    },
    /// The manager takes no more messages.
    #[error("the manager is closed")]
    Closed,
    /// This process is a fork of the one that started the manager.
    #[error(
        "this process is a fork of the one that started the manager: start another manager after the fork, or exec"
    )]
    Forked,
}

readable!(MessageSendError {
    AttemptEnded,
    WorkerGone,
    Encode(source),
    TooLarge { len_bytes, limit_bytes },
    Full { waiting_bytes, limit_bytes },
    NoService { kind },
    ForeignKind { kind },
    Closed,
    Forked,
});
