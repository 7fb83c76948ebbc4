//! Questions, which change nothing.

use std::time::{Duration, Instant};

use workfleet_heartbeat::Details;
use workfleet_scheduler::Books;

use super::{Seated, Shared};

/// A seat, as whoever looks sees it.
pub(crate) struct Look {
    pub(crate) seated: Option<Seated>,
    pub(crate) in_flight: usize,
    pub(crate) silent_for: Option<Duration>,
}

impl Shared {
    /// What the task of this number said last; none if it has ended.
    pub(crate) fn last_heartbeat(&self, sequence: u64) -> Option<Details> {
        self.turn(|core, _| core.scheduler.find(sequence)?.body.last_heartbeat().cloned())
    }

    /// What the books, the queue and the seats say, all at one time.
    pub(crate) fn look<R>(&self, look: impl FnOnce(Books, usize, &[Look]) -> R) -> R {
        self.turn(|core, _| {
            let now = Instant::now();
            let look_at = |seat: usize| Look {
                seated: core.seats[seat].clone(),
                in_flight: core.scheduler.in_flight(seat),
                silent_for: core.scheduler.silent_since(seat).map(|at| now.saturating_duration_since(at)),
            };
            let seats: Vec<_> = (0..core.seats.len()).map(look_at).collect();
            look(core.scheduler.books(), core.scheduler.queued(), &seats)
        })
    }
}
