//! How events and senders travel: as their address.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{frames::Address, node::Node};
use crate::Event;

/// As its address: in the process where it is deserialised it is the same event, or [lost](crate::EventLost).
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Node::own().export_event(&self.shared).address().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = Address::deserialize(deserializer)?;
        Ok(Self { shared: Node::own().event(address) })
    }
}
