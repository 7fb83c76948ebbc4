//! What becomes of messages that running tasks send into a full inbox.
//!
//! Invariant: a dropped message is counted, and its reader is told where it is missing. Failures are never dropped.

/// What a full inbox does with messages that running tasks still send.
///
/// While the inbox is beyond its [limit](crate::ProcessManagerBuilder::inbox_limit), the manager begins no task. Running
/// tasks go on: a task that waited for the inbox would occupy a worker that others need. So a running task can add any
/// number of messages.
///
/// ```
/// use workfleet_task_manager::{InboxOverflow, Registry, ThreadManager};
///
/// // Progress reports of which only the latest are of interest: at most 16 MiB and 4 MiB of them wait.
/// let manager = ThreadManager::builder(Registry::new())
///     .inbox_limit(16 << 20)
///     .inbox_overflow(InboxOverflow::DropOldest { beyond: 4 << 20 })
///     .start()?;
/// assert_eq!(manager.stats().dropped_messages, 0);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InboxOverflow {
    /// The inbox takes them all, and its memory grows. When it has twice the limit, the manager logs a warning, once for
    /// each pause. This is the default.
    #[default]
    Grow,
    /// The inbox takes them, and drops the oldest messages while it has more bytes than the limit and `beyond` together.
    /// It keeps failures, and the last message of any size.
    ///
    /// [`Stats::dropped_messages`](crate::Stats::dropped_messages) and the
    /// [report](crate::CloseReport::dropped_messages) count the dropped messages. In place of missing messages, the
    /// reader gets [`MessageError::Dropped`](crate::MessageError::Dropped), with their number. The manager logs a
    /// warning, once for each pause.
    DropOldest {
        /// How many bytes are kept beyond the limit.
        beyond: usize,
    },
}

/// Messages that are missing at the front of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The number of the first of them in the order of arrival.
    pub(super) arrival: u64,
    pub(super) count: u64,
}

/// Running tasks send more into a full inbox than may be left unsaid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflowed {
    pub(crate) limit_bytes: usize,
    pub(crate) len_bytes: usize,
    pub(crate) overflow: InboxOverflow,
}

impl Overflowed {
    pub(super) fn tell(self) {
        let Self { limit_bytes, len_bytes, overflow } = self;
        match overflow {
            InboxOverflow::Grow => workfleet_notice::warn!(
                limit_bytes,
                len_bytes,
                "the inbox has twice its limit and goes on growing: running tasks send faster than readers read. Read \
                 faster, send less, or bound it by inbox_overflow"
            ),
            InboxOverflow::DropOldest { beyond } => workfleet_notice::warn!(
                limit_bytes,
                beyond_bytes = beyond,
                "the inbox drops its oldest messages: running tasks send faster than readers read. \
                 Stats::dropped_messages counts them"
            ),
        }
    }
}
