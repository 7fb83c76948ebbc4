//! Events that other processes may know: the home of each, and the processes that use it.

use std::sync::{Arc, Weak};

use super::{
    frames::{self, About, DONE, GONE, NAME_LIMIT_BYTES, STATE, What},
    node::{Attached, Node},
    outlet::Outlet,
};
use crate::{
    address::Address,
    cores::event::{News, Send},
    ports::{EventPlace, Origin, Replica},
};

/// The place of an event that other processes may know.
#[derive(Debug)]
struct Place {
    node: Arc<Node>,
    address: Address,
    reach: Reach,
}

#[derive(Debug)]
enum Reach {
    /// It is at home here.
    Home,
    /// It is a copy, attached to this way out under this number.
    Copy(Arc<Outlet>, u64),
    /// There is no way to it.
    None,
}

/// An event's name exceeds [`NAME_LIMIT_BYTES`].
#[doc(alias = "NameTooLong")]
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event's name has {len_bytes} bytes, of {NAME_LIMIT_BYTES} that it may have")]
#[non_exhaustive]
pub struct EventNameError {
    /// The name's length.
    pub len_bytes: usize,
}

workfleet_causes::readable!(struct EventNameError { len_bytes });

impl Node {
    /// A place for an event that was made here.
    pub(crate) fn export_event(self: &Arc<Self>, event: Weak<dyn Replica>) -> Box<dyn EventPlace> {
        let address = self.new_address();
        self.lock_tables().events.insert(address.clone(), event);
        Box::new(Place { node: Arc::clone(self), address, reach: Reach::Home })
    }

    /// The event of this name in this scope.
    pub(crate) fn named_event(
        self: &Arc<Self>,
        scope: u128,
        name: &str,
    ) -> Result<Arc<dyn Replica>, EventNameError> {
        if name.len() > NAME_LIMIT_BYTES {
            return Err(EventNameError { len_bytes: name.len() });
        }
        Ok(self.event(Address::Named { scope, name: name.to_owned() }))
    }

    /// The event at this address.
    pub(crate) fn event(self: &Arc<Self>, address: Address) -> Arc<dyn Replica> {
        let mut tables = self.lock_tables();
        if let Some(found) = tables.events.get(&address).and_then(Weak::upgrade) {
            return found;
        }
        let at_home = match &address {
            // If it was here, nobody holds it any more.
            Address::Made { home, .. } => self.is_home(*home).then_some(Reach::None),
            Address::Named { scope, .. } => tables.scopes.contains_key(scope).then_some(Reach::Home),
        };
        let reach = at_home.unwrap_or_else(|| match tables.route(&address) {
            Some(outlet) => Reach::Copy(Arc::clone(outlet), self.next_number()),
            None => Reach::None,
        });
        let attach = match &reach {
            Reach::Home => None,
            Reach::Copy(outlet, number) => Some((Arc::clone(outlet), *number)),
            Reach::None => return self.event_at(address, reach),
        };
        let event = self.event_at(address.clone(), reach);
        if let Some((outlet, number)) = attach {
            tables.numbers.insert((outlet.id(), number), Attached::Event(Arc::downgrade(&event)));
            outlet.attach(number, What::Event, address.clone());
        }
        tables.events.insert(address, Arc::downgrade(&event));
        event
    }

    /// An event that cannot be set, attached to nothing.
    pub(crate) fn nowhere(self: &Arc<Self>, address: Address) -> Arc<dyn Replica> {
        self.event_at(address, Reach::None)
    }

    fn event_at(self: &Arc<Self>, address: Address, reach: Reach) -> Arc<dyn Replica> {
        (self.make_event)(Box::new(Place { node: Arc::clone(self), address, reach }))
    }

    /// Returns the event that is not kept, or not any more.
    fn keep_named(
        &self,
        scope: u128,
        name: &str,
        event: Option<Arc<dyn Replica>>,
    ) -> Option<Arc<dyn Replica>> {
        let mut tables = self.lock_tables();
        let Some(kept) = tables.scopes.get_mut(&scope) else {
            drop(tables);
            return event;
        };
        match event {
            Some(event) => kept.insert(name.to_owned(), event),
            None => kept.remove(name),
        }
    }

    /// The same for a copy.
    fn keep_copy(&self, number: u64, event: Option<Arc<dyn Replica>>) -> Option<Arc<dyn Replica>> {
        let mut tables = self.lock_tables();
        match event {
            Some(event) => tables.kept_copies.insert(number, event),
            None => tables.kept_copies.remove(&number),
        }
    }
}

impl EventPlace for Place {
    fn address(&self) -> &Address {
        &self.address
    }

    fn origin(&self) -> Origin {
        match self.reach {
            Reach::Home => Origin::Here,
            Reach::Copy(..) => Origin::Elsewhere,
            Reach::None => Origin::Lost,
        }
    }

    fn reads_here(&self) -> bool {
        matches!(&self.reach, Reach::Copy(outlet, _) if outlet.up().reads_here())
    }

    fn send(&self, messages: &[Send]) {
        for &message in messages {
            match message {
                Send::Operation(news) => {
                    if let Reach::Copy(outlet, number) = &self.reach {
                        outlet.operate(*number, news);
                    }
                }
                Send::State((child, number), news) => {
                    self.node.send_to_child(child, STATE, &about(number, news));
                }
                Send::Done((child, number), news) => {
                    self.node.send_to_child(child, DONE, &about(number, news))
                }
                Send::Gone((child, number)) => self.node.send_to_child(child, GONE, &frames::encode(&number)),
            }
        }
    }

    /// Keeps an event also while no copy of it is held: because it may be asked for by name, or because it has to send
    /// something home.
    fn keep(&self, event: Option<Arc<dyn Replica>>) -> Option<Arc<dyn Replica>> {
        match (&self.address, &self.reach) {
            (Address::Named { scope, name }, Reach::Home) => self.node.keep_named(*scope, name, event),
            (_, Reach::Copy(_, number)) => self.node.keep_copy(*number, event),
            (Address::Made { .. }, Reach::Home) | (_, Reach::None) => event,
        }
    }

    fn forget(&self, event: *const ()) {
        if !self.node.is_here() {
            return;
        }
        let mut tables = self.node.lock_tables();
        // Another may have been made at the same address since.
        if tables.events.get(&self.address).is_some_and(|at| std::ptr::addr_eq(at.as_ptr(), event)) {
            tables.events.remove(&self.address);
        }
        if let Reach::Copy(outlet, number) = &self.reach {
            tables.numbers.remove(&(outlet.id(), *number));
            outlet.detach(*number);
        }
    }
}

fn about(number: u64, news: News) -> Vec<u8> {
    frames::encode(&About { number, news })
}
