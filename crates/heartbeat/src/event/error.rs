//! What events fail with.

use std::time::Duration;

use workfleet_causes::readable;

/// The event cannot be reached from this process. There are three reasons:
///
/// - when the event arrived here, the process that made it held no copy of it any more;
/// - this process is not connected to that process, directly or through others;
/// - this process is a fork of one that had the event.
#[doc(alias = "EventLost")]
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event is out of reach: the process that made it has let go of it, or is not connected, or this process is a fork of \
     one that had it"
)]
#[non_exhaustive]
pub struct EventLostError;

readable!(struct EventLostError);

/// A wait for an event ended without it.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// It was not set in time.
    #[error("the event was not set within {0:?}")]
    TimedOut(Duration),
    /// It would have to wait, and there is no tokio runtime here, or its timer is off. (tokio reports the second only by a panic. It
    /// is caught here, but the panic hook still prints it.)
    #[error(
        "to wait with a limit needs a tokio runtime with a timer: call `enable_time` or `enable_all` on the runtime's builder"
    )]
    NoTimer,
    /// It is out of reach.
    #[error(transparent)]
    Lost(#[from] EventLostError),
}

readable!(WaitError { TimedOut(after), NoTimer, Lost(error) });
