//! How events and senders travel: as their address.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use workfleet_wire::message;

use super::{
    frames::Address,
    node::Node,
    pins::{Pin, pin},
};
use crate::{Event, HeartbeatSender, Token};

/// As its address: in the process where it is deserialised it is the same event, or [lost](crate::EventLost).
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.shared.is_here() {
            return Node::own().address_of_nothing().serialize(serializer);
        }
        pin(|| Pin::Event(Arc::clone(&self.shared)));
        Node::own().export_event(&self.shared).address().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = Address::deserialize(deserializer)?;
        // Only to see whether it would arrive: nobody gets this one.
        if message::is_dry_run() {
            return Ok(Self { shared: Node::own().nowhere(address) });
        }
        Ok(Self { shared: Node::own().event(address) })
    }
}

/// As its token's name and address.
impl Serialize for HeartbeatSender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(channel) = self.channel() {
            pin(|| Pin::Channel(Arc::clone(channel)));
        }
        let (token, address) = self.to_sent();
        (token.as_bytes(), address).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HeartbeatSender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (token, address) = <(Vec<u8>, Address)>::deserialize(deserializer)?;
        if message::is_dry_run() {
            return Ok(Self::nowhere(Token::from(token), address));
        }
        Ok(Self::from_sent(Node::own(), Token::from(token), address))
    }
}
