//! Where an event is to be found, and by whom it is reached.

use std::sync::Arc;

use super::{
    frames::{About, Address, DONE, GONE, OPERATION, STATE},
    node::Node,
};
use crate::{
    cores::event::{News, Send},
    event::Shared,
};

/// The place of an event that other processes may know.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) node: Arc<Node>,
    pub(super) address: Address,
    pub(super) reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It is at home here.
    Home,
    /// It is a copy, attached under this number.
    Copy(u64),
    /// There is no way to it.
    None,
}

impl Place {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    /// Whether an answer from above would have to be read by this very thread.
    pub(crate) fn reads_here(&self) -> bool {
        self.node.up().is_some_and(|up| up.reads_here())
    }

    /// Sends what a step of the event's core asks for; under the core's lock.
    pub(crate) fn send(&self, messages: &[Send]) {
        for &message in messages {
            match message {
                Send::Operation(news) => {
                    if let (Some(up), Reach::Copy(number)) = (self.node.up(), self.reach) {
                        up.send(OPERATION, &about(number, news));
                        up.expect_answer();
                    }
                }
                Send::State((below, number), news) => {
                    self.node.send_below(below, STATE, &about(number, news));
                }
                Send::Done((below, number), news) => self.node.send_below(below, DONE, &about(number, news)),
                Send::Gone((below, number)) => {
                    self.node.send_below(below, GONE, &super::frames::encode(&number));
                }
            }
        }
    }

    /// An event that is to stay does so also if nobody holds it, if somebody may ask for it by name, or if it has to send
    /// something home. What is returned is to be dropped without the lock.
    #[must_use]
    pub(crate) fn keep(&self, event: &Arc<Shared>, keep: bool) -> Option<Arc<Shared>> {
        let event = keep.then(|| Arc::clone(event));
        match (&self.address, self.reach) {
            (Address::Named { scope, name }, Reach::Home) => self.node.keep_named(*scope, name, event),
            (_, Reach::Copy(number)) => self.node.keep_copy(number, event),
            (Address::Made { .. }, Reach::Home) | (_, Reach::None) => event,
        }
    }

    /// Nobody holds the event here any more.
    pub(crate) fn forget(&self, event: *const Shared) {
        self.node.forget_event(self, event);
    }
}

fn about(number: u64, news: News) -> Vec<u8> {
    super::frames::encode(&About { number, news })
}
