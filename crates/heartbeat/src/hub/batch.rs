//! Beats that came together from another process: taken in together, under one lock and with one look at the clock.

use std::sync::Arc;

use super::Shared;
use crate::{Details, cores::Key};

/// The lock is held for no more than so many.
const BEATS_AT_ONCE: usize = 64;

/// Beats of one process's heartbeaters that came together.
#[derive(Default)]
pub(crate) struct Batch {
    /// Whose they are; `None` if there are none.
    shared: Option<Arc<Shared>>,
    beats: Vec<Gathered>,
}

/// A beat that has superseded so many on its way.
pub(super) struct Gathered {
    pub(super) key: Key,
    pub(super) details: Details,
    pub(super) superseded: u64,
}

impl Batch {
    /// Adds a beat. Those that were added before may be delivered now.
    pub(super) fn add(&mut self, shared: &Arc<Shared>, beat: Gathered) {
        let others = self.shared.as_ref().is_some_and(|other| !Arc::ptr_eq(other, shared));
        if others || self.beats.len() >= BEATS_AT_ONCE {
            self.deliver();
        }
        self.shared.get_or_insert_with(|| Arc::clone(shared));
        self.beats.push(beat);
    }

    /// Hands over what is left.
    pub(crate) fn deliver(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.beats_from_elsewhere(self.beats.drain(..));
        }
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Heartbeaters, Report, tree::Node};

    #[test]
    fn nothing_is_lost_of_a_batch_that_is_for_several_and_larger_than_what_is_taken_in_at_once() {
        const BEATS: u64 = 7 * BEATS_AT_ONCE as u64;
        let (seen, reports) = mpsc::channel();
        let hubs = [(); 2].map(|()| Heartbeaters::new().expect("a thread"));
        let channels: Vec<_> = (0..)
            .zip(&hubs)
            .map(|(which, hub)| {
                let seen = seen.clone();
                let tell = move |report: Report| {
                    if let Report::Beat(details) = report {
                        seen.send((which, details.decode::<u64>().expect("a number"))).expect("it is read");
                    }
                };
                let sender = hub.register("token", tell).expect("it is free");
                Node::own().channel(&sender.to_sent().1).expect("it is here")
            })
            .collect();
        let mut batch = Batch::default();
        for number in 0..BEATS {
            // Many to one, then one to the other, and so on.
            let which = usize::from(number % (2 * BEATS_AT_ONCE as u64) == 0);
            channels[which].beat_within(&mut batch, Details::encode(&number).expect("it encodes"), 2);
        }
        batch.deliver();
        hubs.iter().for_each(|hub| hub.blocking_unregister("token").expect("it is there"));
        let stats = hubs.each_ref().map(Heartbeaters::stats);
        // Each with the two that it has superseded.
        assert_eq!(stats.iter().map(|stats| stats.beats).sum::<u64>(), 3 * BEATS);
        assert_eq!(stats[1].beats, 3 * 4);
        drop((channels, hubs, seen));
        let all: Vec<_> = reports.iter().collect();
        let last_of = |which| all.iter().rev().find(|(of, _)| *of == which).map(|(_, number)| *number);
        assert_eq!(last_of(0), Some(BEATS - 1));
        assert_eq!(last_of(1), Some(6 * BEATS_AT_ONCE as u64));
    }
}
