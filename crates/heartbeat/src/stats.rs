//! The books of all heartbeaters together.

/// What has happened so far. Always
/// `beats = reported + superseded + ignored + discarded + pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeartbeatStats {
    /// The tokens that are registered now.
    pub tokens: usize,
    /// The beats that were sent.
    pub beats: u64,
    /// The beats that a callback was given: each in a report of its own, or as the last details of a missed one.
    pub reported: u64,
    /// The beats that gave way to a later one of their token.
    pub superseded: u64,
    /// The beats whose token was gone.
    pub ignored: u64,
    /// The beats that were dropped without a report: of discarded tokens, and of tokens whose flush took too long.
    pub discarded: u64,
    /// The beats that wait for the throttle or the callback: at most two for each token.
    pub pending: u64,
    /// The beats that ended a silence that was missed.
    pub late: u64,
    /// The silences that were missed.
    pub missed: u64,
    /// The callbacks that panicked.
    pub panicked: u64,
}
