//! What each ready-made worker can be given: a name and a grace period.
//!
//! The methods stand here once. A macro writes them into each type, so that its documentation has them.

use std::{borrow::Cow, time::Duration};

use crate::name;

/// What a ready-made worker was given; what it was not given is `None`.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) grace: Option<Duration>,
}

impl Given {
    /// The name, or that of the type `T`.
    pub(crate) fn name_or_of<T: ?Sized>(&self) -> Cow<'static, str> {
        self.name.clone().unwrap_or_else(|| name::of_type::<T>().into())
    }
}

/// The methods that each ready-made worker has, with a field `given`.
macro_rules! settings_of_every_worker {
    () => {
        /// Sets its name.
        #[must_use]
        pub fn with_name(mut self, name: impl Into<std::borrow::Cow<'static, str>>) -> Self {
            self.given.name = Some(name.into());
            self
        }

        /// Sets its grace period.
        #[must_use]
        pub fn with_grace(mut self, grace: std::time::Duration) -> Self {
            self.given.grace = Some(grace);
            self
        }
    };
}
pub(crate) use settings_of_every_worker;

/// What [`Worker`](crate::Worker) asks for of that. A worker without a name has that of the type.
macro_rules! answers_of_every_worker {
    ($named:ty) => {
        fn name(&self) -> std::borrow::Cow<'static, str> {
            self.given.name_or_of::<$named>()
        }

        fn grace(&self) -> Option<std::time::Duration> {
            self.given.grace
        }
    };
}
pub(crate) use answers_of_every_worker;
