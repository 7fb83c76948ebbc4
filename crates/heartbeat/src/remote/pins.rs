//! What keeps an event, and the way of a sender, there while they are on their way.
//!
//! Whoever serialises an event may let go of it before the copy has arrived anywhere; and a process that passes a sender on
//! stands for those below it only while it holds the way itself. So whoever keeps the bytes keeps the [`Pins`] as well.

use std::{cell::RefCell, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::channel::Channel;
use crate::event::Shared;

/// Holds what a value referred to when it was serialised. Usually that is nothing.
///
/// It serialises as nothing, and counts as serialised what it holds: a value that keeps the bytes of another keeps this
/// beside them.
#[derive(Clone, Default)]
pub struct Pins(Option<Arc<Vec<Pin>>>);

#[derive(Clone)]
#[expect(dead_code, reason = "they are there to be held")]
pub(crate) enum Pin {
    Event(Arc<Shared>),
    Channel(Arc<Channel>),
}

thread_local! {
    /// What was serialised on this thread, while somebody wants to know.
    static SERIALISED: RefCell<Option<Vec<Pin>>> = const { RefCell::new(None) };
}

/// Gathers what is serialised, also if that panics.
struct Gathering {
    outer: Option<Vec<Pin>>,
}

impl Drop for Gathering {
    fn drop(&mut self) {
        let outer = self.outer.take();
        SERIALISED.with(|serialised| serialised.replace(outer));
    }
}

impl Pins {
    /// Serialises something by `serialise`, and holds the events and senders in it.
    pub fn of<R>(serialise: impl FnOnce() -> R) -> (R, Self) {
        let outer = SERIALISED.with(|serialised| serialised.replace(Some(Vec::new())));
        let gathering = Gathering { outer };
        let result = serialise();
        let gathered = SERIALISED.with(|serialised| serialised.take()).filter(|pins| !pins.is_empty());
        drop(gathering);
        (result, Self(gathered.map(Arc::new)))
    }

    /// Whether there is nothing to hold.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Notes what is serialised, if somebody wants to know.
pub(super) fn pin(pin: impl FnOnce() -> Pin) {
    SERIALISED.with(|serialised| {
        if let Some(pins) = &mut *serialised.borrow_mut() {
            pins.push(pin());
        }
    });
}

impl Serialize for Pins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        for held in self.0.iter().flat_map(|pins| pins.iter()) {
            pin(|| held.clone());
        }
        ().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self::default())
    }
}

/// Values are equal whatever is held for them.
impl PartialEq for Pins {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Pins {}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pins({})", self.0.as_ref().map_or(0, |pins| pins.len()))
    }
}
