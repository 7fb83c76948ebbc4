//! The recalls that a worker has not answered yet.
//!
//! Invariant: each unanswered recall was more urgent than those before, so there are no more of them than levels.

/// A worker's recalls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recalls {
    unanswered: u32,
    /// Nothing that they bring back is more urgent than this.
    from: u8,
    /// Nothing that the worker has prefetched, and may have to be asked for, is less urgent than this.
    least_urgent: u8,
}

impl Recalls {
    #[inline]
    pub(crate) fn are_unanswered(self) -> bool {
        self.unanswered > 0
    }

    /// The worker was given a task.
    #[inline]
    pub(crate) fn given(&mut self, priority: u8) {
        self.least_urgent = self.least_urgent.max(priority);
    }

    /// The worker is asked to give tasks back, none of them more urgent than `from`.
    pub(crate) fn ask(&mut self, from: u8) {
        self.from = if self.unanswered == 0 { from } else { from.min(self.from) };
        self.unanswered += 1;
    }

    /// Everything that waits there and is less urgent is asked for now: what is left of it is the one that runs.
    pub(crate) fn none_is_less_urgent_than(&mut self, priority: u8) {
        self.least_urgent = priority;
    }

    /// The worker has answered one, whatever it gave back.
    pub(crate) fn answered(&mut self) {
        // What nobody asked for is no answer.
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// The least urgent priority of which a task may be given to the worker meanwhile: one of a level that it is asked to give
    /// back would come after what it was given meanwhile.
    #[inline]
    pub(crate) fn allowed(self) -> Option<u8> {
        if self.unanswered == 0 { Some(u8::MAX) } else { self.from.checked_sub(1) }
    }

    /// The least urgent priority of which a task should not be overtaken by what the worker has prefetched, and is not
    /// asked back already.
    #[inline]
    pub(crate) fn in_the_way_of(self) -> Option<u8> {
        let stays = if self.unanswered == 0 { self.least_urgent } else { self.from.checked_sub(1)? };
        stays.min(self.least_urgent).checked_sub(1)
    }
}
