//! The way that the beats of one token take through one process: to the heartbeaters that are here, or out.
//!
//! Invariant: of the beats that wait to leave, only the latest of each token is kept. Its channel is among those that the way
//! out is going to send from, or that are being sent from.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{
    batch::Batch,
    flush,
    frames::{self, Beat, What},
    node::{Attached, Node, Passage},
    outlet::{Outlet, Waits},
};
use crate::{
    Details, HeartbeatError,
    address::Address,
    cores::{Key, event::Copy},
    ports::{BeatSink, Done, TokenPlace, Unanswered},
};

struct Channel {
    node: Arc<Node>,
    address: Address,
    way: Way,
    /// Which child processes send beats of this token.
    copies: Arc<Mutex<BTreeSet<Copy>>>,
}

enum Way {
    Here {
        sink: Arc<dyn BeatSink>,
        key: Key,
    },
    Out {
        outlet: Arc<Outlet>,
        /// Its number there.
        number: u64,
        held: Mutex<Held>,
        /// Itself, to wait there.
        me: Weak<Channel>,
    },
}

#[derive(Default)]
struct Held {
    details: Option<Details>,
    superseded: u64,
}

/// Why there is no way for the beats of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoChannel {
    /// It would end here, and the token is gone.
    Gone,
    /// It would lead elsewhere, and there is no way out.
    NotConnected,
}

impl Node {
    /// A way for beats to heartbeaters that are here.
    pub(crate) fn export_channel(self: &Arc<Self>, sink: Arc<dyn BeatSink>, key: Key) -> Arc<dyn TokenPlace> {
        let address = self.new_address();
        let channel: Arc<dyn Passage> = Arc::new(Channel {
            node: Arc::clone(self),
            address: address.clone(),
            way: Way::Here { sink, key },
            copies: Arc::default(),
        });
        self.lock_tables().channels.insert(address, Arc::downgrade(&channel));
        channel
    }

    /// The way for beats to this address.
    pub(super) fn channel(self: &Arc<Self>, address: &Address) -> Result<Arc<dyn Passage>, NoChannel> {
        let mut tables = self.lock_tables();
        if let Some(found) = tables.channels.get(address).and_then(Weak::upgrade) {
            return Ok(found);
        }
        if matches!(address, Address::Made { home, .. } if self.is_home(*home)) {
            return Err(NoChannel::Gone);
        }
        let Some(outlet) = tables.route(address).cloned() else {
            return Err(NoChannel::NotConnected);
        };
        let number = self.next_number();
        let channel: Arc<dyn Passage> = Arc::new_cyclic(|me: &Weak<Channel>| Channel {
            node: Arc::clone(self),
            address: address.clone(),
            way: Way::Out {
                outlet: Arc::clone(&outlet),
                number,
                held: Mutex::default(),
                me: Weak::clone(me),
            },
            copies: Arc::default(),
        });
        tables.numbers.insert((outlet.id(), number), Attached::Channel(Arc::downgrade(&channel)));
        outlet.attach(number, What::Sender, address.clone());
        tables.channels.insert(address.clone(), Arc::downgrade(&channel));
        Ok(channel)
    }

    /// The same for a sender.
    pub(crate) fn token(self: &Arc<Self>, address: &Address) -> Result<Arc<dyn TokenPlace>, NoChannel> {
        self.channel(address).map(|channel| channel as _)
    }
}

impl Channel {
    /// Passes a beat on.
    fn pass(&self, details: Details, superseded: u64) {
        match &self.way {
            Way::Here { sink, key } => {
                let mut alone = Batch::default();
                alone.add(sink, *key, details, superseded);
                self.deliver(alone);
            }
            Way::Out { outlet, held, me, .. } => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let replaced = held.details.replace(details);
                let more = superseded.saturating_add(u64::from(replaced.is_some()));
                held.superseded = held.superseded.saturating_add(more);
                // Under the lock: whoever supersedes a beat can be sure that it is there to be sent.
                let waiting = match replaced {
                    None => me.upgrade().map(|me| outlet.add_waiting(me)),
                    Some(_) => None,
                };
                drop(held);
                if let Some(count) = waiting {
                    outlet.beats_wait(count);
                }
            }
        }
    }

    fn deliver(&self, batch: Batch) {
        let ignored = batch.deliver();
        if ignored > 0 {
            self.node.ignore_beats(ignored);
        }
    }

    fn copies(&self) -> MutexGuard<'_, BTreeSet<Copy>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the processes that send beats of this token.
    fn holds(&self) -> impl FnOnce() -> Vec<Copy> + Send + 'static {
        let copies = Arc::clone(&self.copies);
        move || copies.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

impl TokenPlace for Channel {
    fn address(&self) -> &Address {
        &self.address
    }

    fn beat(&self, details: Details) -> Result<(), HeartbeatError> {
        if !self.node.is_here() {
            return Err(HeartbeatError::Forked);
        }
        self.pass(details, 0);
        Ok(())
    }

    fn flush(&self, done: Done) -> Box<dyn Unanswered> {
        Box::new(flush::flush(&self.node, self.holds(), done))
    }

    fn catch_up(&self, done: Done) {
        flush::catch_up(&self.node, done);
    }
}

impl Passage for Channel {
    fn arrived(&self, batch: &mut Batch, details: Details, superseded: u64) {
        match &self.way {
            Way::Here { sink, key } => batch.add(sink, *key, details, superseded),
            Way::Out { .. } => self.pass(details, superseded),
        }
    }

    fn add_copy(&self, copy: Copy) {
        self.copies().insert(copy);
    }

    fn remove_copy(&self, copy: Copy) {
        self.copies().remove(&copy);
    }

    fn flush_to_the_end(&self, done: Done) {
        flush::flush_to_the_end(&self.node, self.holds(), done);
    }
}

impl Waits for Channel {
    fn take(&self, frame: &mut Vec<u8>) {
        let Way::Out { number, held, .. } = &self.way else { return };
        let Held { details, superseded } =
            std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(details) = details {
            frames::encode_into(&Beat { number: *number, superseded, details }, frame);
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if !self.node.is_here() {
            return;
        }
        let mut tables = self.node.lock_tables();
        let channels = &mut tables.channels;
        if channels.get(&self.address).is_some_and(|at| std::ptr::addr_eq(at.as_ptr(), self)) {
            channels.remove(&self.address);
        }
        if let Way::Out { outlet, number, .. } = &self.way {
            tables.numbers.remove(&(outlet.id(), *number));
            outlet.detach(*number);
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("address", &self.address).finish_non_exhaustive()
    }
}
