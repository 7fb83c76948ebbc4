//! The times and bounds of an engine.

use std::time::Duration;

/// The times and bounds of an engine. What would exceed a bound is refused by an error that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// How long a member lives without a beat. 15 s by default.
    pub lease: Duration,
    /// How long the locks of an expired member are kept from others after the end of its lease. 5 s by default.
    pub lock_delay: Duration,
    /// How long answers and ids are kept for repetitions. 10 minutes by default.
    pub repeat_window: Duration,
    /// When members were lost so often with a task, it runs alone; if that member is lost too, it is a dead letter. 3 by default.
    pub lost_limit: u32,
    /// How many tasks the engine may know, with those whose outcomes it keeps. A million by default.
    pub tasks: usize,
    /// How many members the engine may know, with those that are gone and whose ids it keeps. 65,536 by default.
    pub members: usize,
    /// How many tasks a member may have leased at once. 65,536 by default.
    pub leases_per_member: usize,
    /// How many answers the engine keeps of a member that confirms none. 1,024 by default.
    pub answers_per_member: usize,
    /// How many requests for locks a member may have. 65,536 by default.
    pub lock_requests_per_member: usize,
    /// How many tasks, settlements, names or operations one call may have. 4,096 by default.
    pub batch: usize,
    /// How long a payload, an output or a failure may be. 64 MiB by default.
    pub payload_bytes: usize,
    /// How long the details of a heartbeat may be. 64 KiB by default.
    pub details_bytes: usize,
    /// How long a name, series, key or label may be. 1 KiB by default.
    pub text_bytes: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            lock_delay: Duration::from_secs(5),
            repeat_window: Duration::from_secs(600),
            lost_limit: 3,
            tasks: 1_000_000,
            members: 65_536,
            leases_per_member: 65_536,
            answers_per_member: 1_024,
            lock_requests_per_member: 65_536,
            batch: 4_096,
            payload_bytes: 64 << 20,
            details_bytes: 64 << 10,
            text_bytes: 1 << 10,
        }
    }
}
