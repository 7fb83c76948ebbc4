//! The ways to close a manager.

/// How a manager closes.
///
/// What becomes of a task, by what it was doing when the manager began to close:
///
/// | | `Join` | `Cancel`, also a scope that ends well, and drop | `Kill`, also a scope that fails, and drop while panicking |
/// |---|---|---|---|
/// | waits, in the queue or in a worker's hand | is run | never starts | never starts |
/// | runs, and ends when it is told | runs to its end | ends as cancelled | is killed, or abandoned on its thread |
/// | runs, and finishes when it is told | runs to its end | ends with its output | is killed, or abandoned on its thread |
/// | runs on, whatever it is told | runs to its end | is killed, or abandoned, after the grace period | is killed, or abandoned on its thread |
/// | is scheduled meanwhile by one that runs | is run | never starts | never starts |
/// | has ended | its output or failure stays in its handle | the same | the same |
///
/// Whatever way a task ends, its handle says so by the time the manager has closed. Of tasks without a handle, the
/// [`CloseReport`](crate::CloseReport) has those that never started and the failures, cancellations among them, that nobody read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosePolicy {
    /// Reads and drops the messages, but for those of [readers that last](crate::Pool::messages_until_close), waits for every
    /// task however long it takes, then lets the workers go.
    Join,
    /// Starts nothing more, cancels what runs, and waits for that up to the grace period; then does as `Kill`. Each worker
    /// goes as soon as it has nothing in hand.
    Cancel,
    /// Starts nothing more, cancels what runs, and ends every worker at once. Worker processes are killed. Worker
    /// threads cannot be: one that runs a task is abandoned and named in the [report](crate::CloseReport::abandoned).
    Kill,
}

/// Lists every policy with its severity: one that is missing does not compile.
macro_rules! severities {
    ($($policy:ident: $severity:literal),+) => {
        /// Every policy: for tests that have to hold for each.
        #[doc(hidden)]
        pub const ALL: [Self; [$(Self::$policy),+].len()] = [$(Self::$policy),+];

        /// Closing again by a higher one hurries the first.
        pub(super) fn severity(self) -> u8 {
            match self {
                $(Self::$policy => $severity,)+
            }
        }
    };
}

impl ClosePolicy {
    severities!(Join: 0, Cancel: 1, Kill: 2);
}
