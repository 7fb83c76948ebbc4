//! Questions, which read under the core's lock and change nothing.

use std::time::{Duration, Instant};

use workfleet_heartbeat::Details;
use workfleet_scheduler::Books;

use super::{Seated, Shared, body::Order, core::Core};

/// A seat, as whoever looks sees it.
pub(crate) struct Look {
    pub(crate) is_ready: bool,
    /// None where there is no worker, or none with a process of its own.
    pub(crate) pid: Option<u32>,
    pub(crate) in_flight: usize,
    pub(crate) silent_for: Option<Duration>,
}

impl Shared {
    /// What the task of this number said last; none if it has ended.
    pub(crate) fn last_heartbeat(&self, sequence: u64) -> Option<Details> {
        self.lock_core().scheduler.find(sequence)?.body.last_heartbeat().cloned()
    }

    /// What the books, the queue and the seats say, all at one time.
    pub(crate) fn look<R>(&self, look: impl FnOnce(Books, usize, &[Look]) -> R) -> R {
        let core = self.lock_core();
        let now = Instant::now();
        let look_at = |(seat, seated): (usize, &Option<Seated>)| Look {
            is_ready: seated.is_some(),
            pid: seated.as_ref().and_then(|seated| seated.pid),
            in_flight: core.scheduler.in_flight(seat),
            silent_for: core.scheduler.silent_since(seat).map(|at| now.saturating_duration_since(at)),
        };
        let seats: Vec<_> = core.seats.iter().enumerate().map(look_at).collect();
        let (books, queued) = self.count(&core);
        look(books, queued, &seats)
    }

    /// What has become of the tasks so far.
    pub(crate) fn books(&self) -> Books {
        self.count(&self.lock_core()).0
    }

    /// The books, and how many tasks wait.
    fn count(&self, core: &Core) -> (Books, usize) {
        // No turn has seen to these yet: they wait all the same.
        let new = self.intake.count(|order| matches!(order, Order::Schedule { .. }));
        let mut books = core.scheduler.books();
        books.scheduled += new as u64;
        (books, core.scheduler.queued() + new)
    }
}
