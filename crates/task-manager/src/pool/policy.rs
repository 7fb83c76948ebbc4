//! The ways to close a manager.

/// How a manager closes.
///
/// What happens to a task depends on its state when the manager begins to close:
///
/// | | `Join` | `Cancel`, also a scope that ends well, and drop | `Kill`, also a scope that fails, and drop while panicking |
/// |---|---|---|---|
/// | waits, in the queue or prefetched by a worker | is run | never starts | never starts |
/// | runs, and ends when it is told | runs to its end | ends as cancelled | is killed, or abandoned on its thread |
/// | runs, and finishes when it is told | runs to its end | ends with its output | is killed, or abandoned on its thread |
/// | runs on, whatever it is told | runs to its end | is killed, or abandoned, after the grace period | is killed, or abandoned on its thread |
/// | is scheduled meanwhile by one that runs | is run | never starts | never starts |
/// | has ended | its output or failure stays in its handle | the same | the same |
///
/// When the manager has closed, each handle has its task's output or failure. For tasks without a handle, the
/// [`CloseReport`](crate::CloseReport) has those that never started, and the failures and cancellations that were not
/// read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosePolicy {
    /// Waits for every task, without a limit, then lets the workers exit. Meanwhile it reads and drops the messages,
    /// except those for [readers until close](crate::Pool::messages_until_close).
    Join,
    /// Starts no more tasks, cancels the running ones, and waits for them up to the grace period; then it does what
    /// `Kill` does. Each worker exits as soon as it has no task left.
    Cancel,
    /// Starts no more tasks, cancels the running ones, and ends every worker at once. Worker processes are killed. A
    /// worker thread cannot be killed: if it runs a task, it is abandoned and named in the
    /// [report](crate::CloseReport::abandoned).
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
