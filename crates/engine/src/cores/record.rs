//! What is kept of one task, and of one member.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    DeadCause, Departure, FleetTaskId, MemberId, NewTask, Payload, Tally, TaskRun,
    cores::{
        answers::Answers,
        ready::{Item, Kind, Place},
    },
};

/// Why a leased task is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    Deadline,
}

/// How a member ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its lease has run out.
    Expired,
    /// It has left, or somebody says so.
    Left(Departure),
}

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for its time.
    Delayed {
        until: Instant,
    },
    /// It is in [`Ready`](super::ready::Ready).
    Ready,
    /// It is among the member's leases.
    Leased {
        member: MemberId,
        stop: Option<Stop>,
    },
    Done(Payload),
    Cancelled,
    /// It is among the dead letters, unless it was dropped.
    Dead {
        cause: DeadCause,
        at: Instant,
    },
}

impl State {
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Cancelled | Self::Dead { .. })
    }
}

/// One task.
#[derive(Debug)]
pub(crate) struct Record {
    /// As it was enqueued. Once it cannot run again, without its payload.
    pub(crate) task: Arc<NewTask>,
    /// Its place among those of its priority.
    pub(crate) arrival: u64,
    /// When it was enqueued, or retried as a dead letter.
    pub(crate) since: Instant,
    pub(crate) deadline: Option<Instant>,
    /// The number of its last run.
    pub(crate) run: u64,
    pub(crate) tally: Tally,
    pub(crate) details: Option<Bytes>,
    /// What went wrong in the last run that was settled as to be retried.
    pub(crate) failure: Option<Bytes>,
    pub(crate) state: State,
}

impl Record {
    pub(crate) fn id(&self) -> FleetTaskId {
        self.task.id
    }

    pub(crate) fn task_run(&self) -> TaskRun {
        TaskRun { task: self.task.id, run: self.run }
    }

    /// Whether this member has leased it in this run.
    pub(crate) fn is_leased_by(&self, by: MemberId, run: u64) -> bool {
        self.run == run && matches!(self.state, State::Leased { member, .. } if member == by)
    }

    /// What a request for work has to know of it. `lost_limit` is when it runs alone.
    pub(crate) fn item(&self, lost_limit: u32) -> Item {
        let NewTask { id, priority, series, name, concurrency, .. } = &*self.task;
        Item {
            id: *id,
            place: Place { priority: *priority, arrival: self.arrival },
            kind: Kind {
                series: series.clone(),
                is_alone: self.tally.lost >= lost_limit,
                name: name.clone(),
            },
            concurrency: concurrency.clone(),
        }
    }
}

/// One member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    /// When its lease runs out.
    pub(crate) lease_end: Instant,
    /// Of its last beat.
    pub(crate) beat: u64,
    pub(crate) leases: BTreeSet<FleetTaskId>,
    /// Those of its leases that are to stop.
    pub(crate) stopping: BTreeSet<FleetTaskId>,
    /// Whether its one lease is of a task that runs alone.
    pub(crate) is_alone: bool,
    /// The task that it is to run alone, as soon as it has nothing else.
    pub(crate) reserved: Option<FleetTaskId>,
    /// Its last batch that was asked for: the number, and what was in it.
    pub(crate) batch: (u64, Vec<TaskRun>),
    /// The names that it asked for last.
    pub(crate) names: BTreeSet<Arc<str>>,
    pub(crate) answers: Answers,
}

impl Member {
    pub(crate) fn new(name: Arc<str>, lease_end: Instant) -> Self {
        Self {
            name,
            lease_end,
            beat: 0,
            leases: BTreeSet::new(),
            stopping: BTreeSet::new(),
            is_alone: false,
            reserved: None,
            batch: (0, Vec::new()),
            names: BTreeSet::new(),
            answers: Answers::default(),
        }
    }
}
