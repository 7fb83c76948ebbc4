//! What a group is told about itself and its children, and what its core answers.

use std::time::{Duration, Instant};

use super::sets::SetId;
use crate::{
    group::ids::{ChildId, ChildIncarnation},
    restart::{Backoff, Budget},
};

/// When a child is restarted. An end that does not lead to a restart stops the group, unless the child
/// [may end](crate::ChildSpec::may_end).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Never.
    #[default]
    Never,
    /// When it failed or was aborted, but not when it ended by itself.
    OnFailure,
    /// Whenever it ends without having been asked to.
    Always,
}

/// Which other children are restarted together with a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestartStrategy {
    /// None.
    #[default]
    OneForOne,
    /// All other children that can be restarted. They are stopped first, then all start in order.
    OneForAll,
    /// The children that start after it and can be restarted. They are stopped first, then all start in order.
    RestForOne,
}

/// In which order a group stops its children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StopOrder {
    /// All at once.
    #[default]
    Concurrent,
    /// Phase by phase, the last first. Children of one phase stop at once; at the group's deadline, so do all that are
    /// left.
    ReversePhases,
}

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::group) struct Config {
    pub(in crate::group) strategy: RestartStrategy,
    pub(in crate::group) stop_order: StopOrder,
    /// A function of the user first stops children in an order of its own.
    pub(in crate::group) has_stop_hook: bool,
    pub(in crate::group) backoff: Backoff,
    pub(in crate::group) budget: Budget,
}

/// A child as the core knows it.
#[derive(Clone, Copy, Debug)]
pub(in crate::group) struct Traits {
    pub(in crate::group) phase: u32,
    pub(in crate::group) restart: Restart,
    pub(in crate::group) may_end: bool,
    /// It can be restarted.
    pub(in crate::group) is_renewable: bool,
}

/// The properties of an incarnation, which are known when it begins.
#[derive(Clone, Copy, Debug)]
pub(in crate::group) struct LifeTraits {
    pub(in crate::group) grace: Duration,
    /// It handles its deadline itself, and is never stuck.
    pub(in crate::group) is_group: bool,
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) enum Effect {
    /// Start this incarnation of a child, then say so by [`Supervisor::launched`](super::Supervisor::launched).
    Start(ChildId, ChildIncarnation),
    /// Ask it to stop by this deadline; again, if it has become earlier.
    Stop(ChildId, Instant),
    /// It will be restarted at this time at the earliest.
    Waits(ChildId, Instant),
    /// It is stuck and counts as ended.
    GaveUp(ChildId),
    /// It was removed and has ended, or its first start failed.
    Gone(ChildId),
    /// This child of a set did not come up: all of the set go.
    NotUp(SetId, ChildId),
    /// The group stops: the stop hook begins.
    BeginStopHook,
    /// The group's deadline has passed: the stop hook is dropped.
    CutStopHook,
    /// Each child of the set has been up, or one did not come up and all have gone.
    Settled(SetId),
}

/// Why a group stops of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) enum Verdict {
    /// A child of the first batch did not come up.
    DidNotStart(ChildId),
    /// A child ended that may not, and is not restarted.
    Ended { child: ChildId, failed: bool },
    /// A child is to be restarted, and the budget is spent.
    Exhausted(ChildId),
    /// A child is to be stopped for a restart, and is stuck.
    Stuck(ChildId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) enum Mode {
    /// The first batch is not up.
    Starting,
    Running,
    Stopping,
    /// No child runs any more.
    Ended,
}
