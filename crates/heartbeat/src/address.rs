//! Where something is to be found, from every process of the fleet.

use serde::{Deserialize, Serialize};

/// The address of an event or of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Address {
    /// Made by this process, with this number.
    Made { home: u128, number: u64 },
    /// An event of this name, of one pool.
    Named { scope: u128, name: String },
}
