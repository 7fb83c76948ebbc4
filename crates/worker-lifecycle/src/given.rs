//! What each ready-made worker can be given: a name, a grace period and a status.
//!
//! The methods stand here once. A macro writes them into each type, so that its documentation has them.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use crate::{name, status::StatusSource};

/// What a ready-made worker was given; what it was not given is `None`.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) grace: Option<Duration>,
    pub(crate) status: Option<Arc<dyn StatusSource>>,
}

impl Given {
    /// The name, or that of the type `T`.
    pub(crate) fn name_or_of<T: ?Sized>(&self) -> Cow<'static, str> {
        self.name.clone().unwrap_or_else(|| name::of_type::<T>().into())
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Given");
        shown.field("name", &self.name).field("grace", &self.grace).finish_non_exhaustive()
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

        /// Sets what its status says beyond its state, and its queue if it has one. Closures are sources.
        #[must_use]
        pub fn with_status(mut self, status: impl crate::StatusSource + 'static) -> Self {
            self.given.status = Some(std::sync::Arc::new(status));
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

        fn status(&self) -> Option<std::sync::Arc<dyn crate::StatusSource>> {
            self.given.status.clone()
        }
    };
}
pub(crate) use answers_of_every_worker;
