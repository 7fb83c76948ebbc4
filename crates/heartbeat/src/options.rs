//! The options of one heartbeater.

use std::time::Duration;

/// The options of one heartbeater: its timeout and its throttle.
///
/// ```
/// use std::time::Duration;
/// use workfleet_heartbeat::HeartbeaterOptions;
///
/// let options = HeartbeaterOptions::new().timeout(Duration::from_secs(30)).throttle(Duration::from_secs(1));
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing until they are given to a heartbeater"]
pub struct HeartbeaterOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) throttle: Duration,
}

impl HeartbeaterOptions {
    /// No timeout and no throttle.
    pub fn new() -> Self {
        Self::default()
    }

    /// The [timeout](Self::timeout), for who heeds it.
    pub fn get_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The [throttle](Self::throttle), for who heeds it.
    pub fn get_throttle(&self) -> Duration {
        self.throttle
    }

    /// A silence of this length is [missed](crate::Report::Missed). Without this, none is. [Time in
    /// which this program was stopped](crate#a-program-that-was-stopped-as-a-whole) does not count.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Sets the shortest time between two reported beats. After a beat, later ones wait for this long, and only the latest is reported.
    /// Zero by default: a beat waits only for the callback.
    pub fn throttle(self, interval: Duration) -> Self {
        Self { throttle: interval, ..self }
    }
}
