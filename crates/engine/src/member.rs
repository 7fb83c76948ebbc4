//! Members: joining, renewing the lease, leaving.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{EngineTime, MemberId, TaskRun};

/// A program's manager or client that wants to become a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The id of this incarnation, which the client makes.
    pub member: MemberId,
    /// A name for operators.
    pub name: Arc<str>,
}

/// What a member learns when it has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// How long the lease lasts. The member counts from when it *sent* its request: so its lease ends before the engine's.
    pub lease: Duration,
    /// How long the locks of an expired member are kept from others after the end of its lease.
    pub lock_delay: Duration,
    /// For how long a call may be repeated.
    pub repeat_window: Duration,
    /// The engine's time.
    pub time: EngineTime,
}

impl Joined {
    /// Makes an answer. Engines do.
    #[must_use]
    pub const fn new(
        lease: Duration,
        lock_delay: Duration,
        repeat_window: Duration,
        time: EngineTime,
    ) -> Self {
        Self { lease, lock_delay, repeat_window, time }
    }
}

/// A task that a member holds, as it says with a beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The run.
    pub run: TaskRun,
    /// The details of its last heartbeat, if there is news. The next run begins with the last that arrived.
    pub details: Option<Bytes>,
}

/// A sign of life, which renews the lease of a member and of everything that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The member.
    pub member: MemberId,
    /// Larger with each beat. What an overtaken beat says of tasks is ignored.
    pub number: u64,
    /// The tasks of which the member wants to know whether it still holds them, and what their heartbeats said.
    pub holding: Vec<Held>,
}

/// What a member learns with each beat. It is the state, not what has changed: the next answer makes good a lost one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Beaten {
    /// How long the lease lasts, counted from when the member *sent* the beat.
    pub lease: Duration,
    /// The engine's time.
    pub time: EngineTime,
    /// The member's runs whose tasks are cancelled or past their deadlines. The member stops them and settles them.
    pub cancelled: Vec<TaskRun>,
    /// Those of the runs it named that it does not hold. What they say is fenced.
    pub gone: Vec<TaskRun>,
}

impl Beaten {
    /// Makes an answer. Engines do.
    #[must_use]
    pub const fn new(lease: Duration, time: EngineTime, cancelled: Vec<TaskRun>, gone: Vec<TaskRun>) -> Self {
        Self { lease, time, cancelled, gone }
    }
}

/// How a member leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// It says goodbye: what it still holds is returned and charged with nothing, and its locks are released at once.
    Goodbye,
    /// The caller knows that it has died. Its tasks count as lost; its locks are released at once.
    Died,
}
