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
