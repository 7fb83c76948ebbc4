//! What the machine can do at all: the same work without a pool, measured in the same run.

pub(crate) mod digest;
pub(crate) mod socket;
