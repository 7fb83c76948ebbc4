//! What the machine can do at all: the same work without a pool, measured in the same run.

pub(crate) mod busy;
pub(crate) mod death;
pub(crate) mod digest;
pub(crate) mod frames;
pub(crate) mod hop;
pub(crate) mod local;
pub(crate) mod memory;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod tokio;
