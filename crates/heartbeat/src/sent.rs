//! How events and senders travel: as their address. Here, and only here, events and heartbeaters are joined with the tree.

use std::{any::Any, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use workfleet_fork::PerProcess;
use workfleet_wire::message;

use crate::{
    Details, Event, HeartbeatError, HeartbeatSender, Token,
    address::Address,
    cores::Key,
    event::Shared,
    pins::pin,
    ports::{Done, EventPlace, Replica, TokenPlace, Unanswered},
    sender::Route,
    tree::{NoChannel, Node},
};

/// The node that this process is. A fork is another, and begins with nothing.
pub(crate) fn own() -> &'static Arc<Node> {
    static OWN: PerProcess<Arc<Node>> = PerProcess::new();
    OWN.get_or_init(|| Node::new(event_at))
}

pub(crate) fn event_at(place: Box<dyn EventPlace>) -> Arc<dyn Replica> {
    Shared::at(place)
}

/// The event that a node has found.
pub(crate) fn event(replica: Arc<dyn Replica>) -> Event {
    let replica: Arc<dyn Any + Send + Sync> = replica;
    match replica.downcast() {
        Ok(shared) => Event { shared },
        Err(_) => unreachable!("`event_at` makes all events"),
    }
}

/// The place of the token; none if it is gone.
pub(crate) fn place_of(sender: &HeartbeatSender) -> Option<Arc<dyn TokenPlace>> {
    match sender.route() {
        Route::Local { shared, key } => shared.place(*key, |sink, key| own().export_channel(sink, key)),
        Route::Sent(place) => Some(Arc::clone(place)),
        Route::Own(sink) => sink.place(|sink| own().export_channel(sink, Key::NO_TABLE)),
    }
}

/// As its address: in the process where it is deserialised it is the same event, or [lost](crate::EventLostError).
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.shared.is_here() {
            return own().new_address().serialize(serializer);
        }
        pin(|| Arc::clone(&self.shared) as _);
        let replica: Arc<dyn Replica> = Arc::clone(&self.shared) as _;
        let place = self.shared.place(|| own().export_event(Arc::downgrade(&replica)));
        place.address().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = Address::deserialize(deserializer)?;
        // Only to see whether it would arrive: nobody gets this one.
        let found = if message::is_dry_run() { own().nowhere(address) } else { own().event(address) };
        Ok(event(found))
    }
}

/// As its token's name and address.
impl Serialize for HeartbeatSender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Route::Sent(place) = self.route() {
            pin(|| Arc::clone(place) as _);
        }
        let place = place_of(self);
        let address = place.map_or_else(|| own().new_address(), |place| place.address().clone());
        (self.token().as_bytes(), address).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HeartbeatSender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (token, address) = <(Vec<u8>, Address)>::deserialize(deserializer)?;
        let found = if message::is_dry_run() { Err(NoChannel::NotConnected) } else { own().token(&address) };
        let place = found.unwrap_or_else(|why| Arc::new(Nowhere { address, why }));
        Ok(Self::sent(Token::from(token), place))
    }
}

/// The place of a token to which there is no way.
struct Nowhere {
    address: Address,
    why: NoChannel,
}

impl TokenPlace for Nowhere {
    fn address(&self) -> &Address {
        &self.address
    }

    fn beat(&self, _details: Details) -> Result<(), HeartbeatError> {
        match self.why {
            NoChannel::Gone => {
                own().ignore_beats(1);
                Ok(())
            }
            NoChannel::NotConnected => Err(HeartbeatError::NotConnected),
        }
    }

    /// No heartbeaters have a place like this.
    fn flush(&self, done: Done) -> Box<dyn Unanswered> {
        done();
        Box::new(NobodyAsked)
    }

    fn catch_up(&self, done: Done) {
        done();
    }
}

struct NobodyAsked;

impl Unanswered for NobodyAsked {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}
