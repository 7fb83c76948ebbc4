//! The argument of a heartbeater's callback.

use std::time::Duration;

use crate::Details;

/// The argument of a heartbeater's callback.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// A beat: the latest, if several came while the callback ran or the throttle held them.
    Beat(Details),
    /// A beat that ends a silence that was missed. If others came before it was reported, the latest of them.
    Late(Details),
    /// The token was silent for longer than its timeout. Each silence is reported once, and never gives way to a beat that
    /// comes later.
    #[non_exhaustive]
    Missed {
        /// The details of the last beat; they may not have been reported before, and will not be again. None if there
        /// never was a beat.
        last: Option<Details>,
        /// The time since the last beat, or since the registration.
        silent_for: Duration,
    },
}

impl Report {
    /// The details in it.
    pub fn details(&self) -> Option<&Details> {
        match self {
            Self::Beat(details) | Self::Late(details) => Some(details),
            Self::Missed { last, .. } => last.as_ref(),
        }
    }
}
