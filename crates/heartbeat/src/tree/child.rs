//! A child process of this one: what it uses of what is here or further up.
//!
//! Invariants:
//! - Everything it has attached is held for it until it detaches it or is gone.
//! - Its frames are handled one after the other, by the thread that reads its connection.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use workfleet_wire::Kind;

use super::{
    batch::Batch,
    connection::ChildConnection,
    frames::{
        self, ATTACH, About, Attach, BEATS, DETACH, FLUSHED, NAME_LIMIT_BYTES, OPERATION, ProtocolError,
        TAKEN, What, decode,
    },
    node::{Node, Passage},
};
use crate::{address::Address, cores::event::Input, ports::Replica};

/// As much as this can be attached by one process.
const ATTACHED_LIMIT: usize = 1 << 20;

pub(super) struct AttachedChild {
    id: u64,
    connection: Arc<dyn ChildConnection>,
    held: Mutex<HashMap<u64, Held>>,
}

#[derive(Clone)]
enum Held {
    Event(Arc<dyn Replica>),
    Channel(Arc<dyn Passage>),
}

impl AttachedChild {
    pub(super) fn new(node: &Node, connection: Arc<dyn ChildConnection>) -> Self {
        let id = node.next_number();
        node.add_child(id, Arc::clone(&connection));
        Self { id, connection, held: Mutex::default() }
    }

    pub(super) fn name(&self) -> &str {
        self.connection.name()
    }

    /// A frame came from it.
    pub(super) fn on_frame(&self, node: &Arc<Node>, kind: Kind, payload: &[u8]) -> Result<(), ProtocolError> {
        match kind {
            ATTACH => self.attach(node, decode(kind, payload)?)?,
            DETACH => {
                let number: u64 = decode(kind, payload)?;
                let held = self.lock().remove(&number);
                if let Some(held) = held {
                    self.let_go(number, &held);
                }
            }
            OPERATION => {
                let About { number, news } = decode(kind, payload)?;
                if let Some(event) = self.event(number) {
                    event.handle(Input::Operation((self.id, number), news));
                }
            }
            TAKEN => {
                let number: u64 = decode(kind, payload)?;
                if let Some(event) = self.event(number) {
                    event.handle(Input::Taken((self.id, number)));
                }
            }
            BEATS => {
                let mut batch = Batch::default();
                let decoded = frames::each_beat(payload, |beat| {
                    let channel = match self.lock().get(&beat.number) {
                        Some(Held::Channel(channel)) => Arc::clone(channel),
                        _ => return node.ignore_beats(beat.superseded.saturating_add(1)),
                    };
                    channel.arrived(&mut batch, beat.details, beat.superseded);
                });
                // Also those before one that does not decode.
                let ignored = batch.deliver();
                if ignored > 0 {
                    node.ignore_beats(ignored);
                }
                decoded?;
            }
            FLUSHED => {
                let request: u64 = decode(kind, payload)?;
                node.flushes.answered((self.id, request));
            }
            _ => return Err(ProtocolError::Direction { kind }),
        }
        Ok(())
    }

    fn attach(&self, node: &Arc<Node>, attach: Attach) -> Result<(), ProtocolError> {
        let Attach { number, what, address } = attach;
        let refused = |reason: String| Err(ProtocolError::Attachment { reason });
        if let Address::Named { name, .. } = &address
            && name.len() > NAME_LIMIT_BYTES
        {
            let len_bytes = name.len();
            return refused(format!(
                "an event's name has {len_bytes} bytes, of {NAME_LIMIT_BYTES} it may have"
            ));
        }
        let count = self.lock().len();
        if count >= ATTACHED_LIMIT {
            return refused(format!(
                "{count} events and tokens are attached, of {ATTACHED_LIMIT} that may be"
            ));
        }
        let held = match what {
            What::Event => Some(Held::Event(node.event(address))),
            What::Sender => node.channel(&address).ok().map(Held::Channel),
        };
        // Beats of a token that is gone are counted when they come.
        let Some(held) = held else { return Ok(()) };
        let taken = self.lock().insert(number, held.clone());
        if taken.is_some() {
            return refused(format!("the number {number} is attached twice"));
        }
        match held {
            Held::Channel(channel) => channel.add_copy((self.id, number)),
            Held::Event(event) => event.handle(Input::Attached((self.id, number))),
        }
        Ok(())
    }

    /// It is gone: everything that was held for it is released.
    pub(super) fn gone(&self, node: &Node) {
        // Later questions find it gone.
        let own = node.remove_child(self.id);
        node.flushes.gone(self.id);
        let held = std::mem::take(&mut *self.lock());
        for (number, held) in &held {
            self.let_go(*number, held);
        }
        drop((own, held));
    }

    fn let_go(&self, number: u64, held: &Held) {
        match held {
            Held::Event(event) => Arc::clone(event).handle(Input::Detached((self.id, number))),
            Held::Channel(channel) => channel.remove_copy((self.id, number)),
        }
    }

    fn event(&self, number: u64) -> Option<Arc<dyn Replica>> {
        match self.lock().get(&number) {
            Some(Held::Event(event)) => Some(Arc::clone(event)),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AttachedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachedChild").field("name", &self.name()).finish_non_exhaustive()
    }
}
