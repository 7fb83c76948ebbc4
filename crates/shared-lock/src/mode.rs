//! The two ways to hold a key.

use std::fmt;

/// How a key is held: by one holder alone, or by several that only read.
///
/// | held \ asked for | exclusive | shared |
/// |---|---|---|
/// | not held | granted | granted |
/// | exclusively | waits | waits |
/// | shared | waits | granted, if no request waits |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[doc(alias = "LockMode")]
pub enum Mode {
    /// Together with other shared holders: for readers.
    Shared,
    /// Alone: for writers. The default.
    #[default]
    Exclusive,
}

/// Lists every mode with its name: one that is missing does not compile.
macro_rules! names {
    ($($mode:ident: $name:literal),+) => {
        /// Every mode: for tests that have to hold for each.
        #[doc(hidden)]
        pub const ALL: [Self; [$(Self::$mode),+].len()] = [$(Self::$mode),+];

        fn name(self) -> &'static str {
            match self {
                $(Self::$mode => $name,)+
            }
        }
    };
}

impl Mode {
    names!(Shared: "shared", Exclusive: "exclusive");

    /// The stronger of the two, which is [`Exclusive`](Self::Exclusive) unless both are shared.
    ///
    /// ```
    /// use workfleet_shared_lock::Mode;
    ///
    /// assert_eq!(Mode::Shared.stronger(Mode::Exclusive), Mode::Exclusive);
    /// ```
    #[must_use]
    pub fn stronger(self, other: Self) -> Self {
        self.max(other)
    }

    /// Whether a request of this mode is granted beside a holder in the mode `held`, if nobody waits.
    pub(crate) fn joins(self, held: Self) -> bool {
        !self.is_alone() && !held.is_alone()
    }

    /// Whether a holder in this mode holds the key alone. The cores ask a mode for nothing else: requests that are not alone
    /// are granted together, and each of them waits for the last one before it that is.
    pub(crate) fn is_alone(self) -> bool {
        match self {
            Self::Shared => false,
            Self::Exclusive => true,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
