//! Beats that came together from another process: taken in together, under one lock and with one look at the clock.

use std::sync::Arc;

use crate::{
    Details,
    cores::Key,
    ports::{Arrived, BeatSink},
};

/// Heartbeaters take in at most this many at once, because they do it under their lock.
const BEATS_AT_ONCE: usize = 64;

/// Beats for the heartbeaters of this process that came together.
#[derive(Default)]
pub(super) struct Batch {
    /// Whose they are; `None` if there are none.
    sink: Option<Arc<dyn BeatSink>>,
    beats: Vec<Arrived>,
    /// How many of the delivered beats were for tokens that are gone.
    ignored: u64,
}

impl Batch {
    /// Adds a beat. Those that were added before may be delivered now.
    pub(super) fn add(&mut self, sink: &Arc<dyn BeatSink>, key: Key, details: Details, superseded: u64) {
        let others = self.sink.as_ref().is_some_and(|other| !Arc::ptr_eq(other, sink));
        if others || self.beats.len() >= BEATS_AT_ONCE {
            self.hand_over();
        }
        self.sink.get_or_insert_with(|| Arc::clone(sink));
        self.beats.push(Arrived { key, details, superseded });
    }

    /// Delivers what is left. Returns how many of all beats were for tokens that are gone.
    #[must_use = "ignored beats are counted"]
    pub(super) fn deliver(mut self) -> u64 {
        self.hand_over();
        self.ignored
    }

    fn hand_over(&mut self) {
        if let Some(sink) = self.sink.take() {
            self.ignored = self.ignored.saturating_add(sink.beats(self.beats.drain(..)));
        }
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Heartbeaters, Report, sent};

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
                sent::own()
                    .channel(sent::place_of(&sender).expect("it is registered").address())
                    .expect("it is here")
            })
            .collect();
        let mut batch = Batch::default();
        for number in 0..BEATS {
            // Many to one, then one to the other, and so on.
            let which = usize::from(number % (2 * BEATS_AT_ONCE as u64) == 0);
            channels[which].arrived(&mut batch, Details::encode(&number).expect("it encodes"), 2);
        }
        assert_eq!(batch.deliver(), 0);
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
