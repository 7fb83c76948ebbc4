//! What the handles of one event in one process share.
//!
//! Invariants:
//! - What a step of the core has to send is sent under the core's lock, so that it leaves in the order of the steps.
//! - Waiters are woken outside it.
//! - In a fork, no lock is taken and nothing is sent: the event is lost there.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Instant,
};

use workfleet_fork::Home;

use super::{error::EventLostError, signal::Signal};
use crate::{
    cores::event::{EventCore, Step},
    park::block_on_until,
};

#[derive(Debug)]
pub(crate) struct Shared {
    signal: Signal,
    core: Mutex<EventCore>,
    home: Home,
    /// Set once another process may come to know of it.
    #[cfg(feature = "remote")]
    place: std::sync::OnceLock<Box<dyn crate::ports::EventPlace>>,
}

impl Shared {
    /// An event that is made here.
    pub(super) fn home() -> Self {
        Self::new(EventCore::home(), true)
    }

    fn new(core: EventCore, known: bool) -> Self {
        Self {
            signal: Signal::new(known),
            core: Mutex::new(core),
            home: Home::here(),
            #[cfg(feature = "remote")]
            place: std::sync::OnceLock::new(),
        }
    }

    /// Whether the event came to this process, and not to one of which it is a fork.
    pub(crate) fn is_here(&self) -> bool {
        self.home.is_here()
    }

    pub(super) fn operate(self: &Arc<Self>, set: bool) -> Result<(), EventLostError> {
        if !self.is_here() {
            return Err(EventLostError);
        }
        let mut core = self.lock();
        let step = core.operate(set).ok_or(EventLostError)?;
        self.carry_out(core, step);
        Ok(())
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.signal.is_set().unwrap_or_else(|| self.ask())
    }

    /// What was told last; `None` if that is nothing yet.
    pub(super) fn last_known(&self) -> Option<bool> {
        self.signal.is_set()
    }

    #[cold]
    fn ask(&self) -> bool {
        if !self.is_here() {
            return false;
        }
        #[cfg(feature = "remote")]
        if self.place.get().is_some_and(|place| place.reads_here()) {
            // The answer would have to be read by this very thread.
            return false;
        }
        self.signal.wait_until_known()
    }

    pub(super) async fn wait(&self) -> Result<(), EventLostError> {
        let mut set = pin!(self.signal.wait());
        // A fork that takes a wait over finds nobody who would end it.
        let set = poll_fn(|cx| if self.is_here() { set.as_mut().poll(cx) } else { Poll::Ready(false) }).await;
        if set { Ok(()) } else { Err(EventLostError) }
    }

    pub(super) fn blocking_wait(&self, deadline: Option<Instant>) -> Option<Result<(), EventLostError>> {
        block_on_until(self.wait(), deadline)
    }

    #[cfg_attr(
        not(feature = "remote"),
        expect(unused_mut, reason = "an event that stays at home is not kept")
    )]
    fn carry_out(self: &Arc<Self>, mut core: MutexGuard<'_, EventCore>, step: Step) {
        if let Some(change) = step.change {
            self.signal.apply(change);
        }
        #[cfg(feature = "remote")]
        let released = self.place.get().and_then(|place| {
            if !step.send.is_empty() {
                place.send(&step.send);
            }
            core.keep_changed().and_then(|keep| place.keep(keep.then(|| Arc::clone(self) as _)))
        });
        drop(core);
        #[cfg(feature = "remote")]
        drop(released);
        if step.change.is_some() {
            self.signal.announce();
        }
    }

    fn lock(&self) -> MutexGuard<'_, EventCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "remote")]
mod elsewhere {
    //! The event as other processes see it.

    use super::{Arc, EventCore, Shared};
    use crate::{
        cores::event::Input,
        ports::{EventPlace, Origin, Replica},
    };

    impl Shared {
        /// The event that is to be found at `place`.
        pub(crate) fn at(place: Box<dyn EventPlace>) -> Arc<Self> {
            let origin = place.origin();
            let shared = match origin {
                Origin::Here => Self::home(),
                Origin::Elsewhere | Origin::Lost => Self::new(EventCore::copy(), false),
            };
            let first = shared.place.set(place).is_ok();
            debug_assert!(first, "it was just made");
            let shared = Arc::new(shared);
            if origin == Origin::Lost {
                Arc::clone(&shared).handle(Input::Lost);
            }
            shared
        }

        /// Where others find it; made when it is first asked for.
        pub(crate) fn place(self: &Arc<Self>, make: impl FnOnce() -> Box<dyn EventPlace>) -> &dyn EventPlace {
            &**self.place.get_or_init(make)
        }
    }

    impl Replica for Shared {
        fn handle(self: Arc<Self>, input: Input) {
            let mut core = self.lock();
            let step = core.handle(input);
            self.carry_out(core, step);
        }
    }

    impl Drop for Shared {
        fn drop(&mut self) {
            if let Some(place) = self.place.get().filter(|_| self.is_here()) {
                place.forget(std::ptr::from_ref(self).cast());
            }
        }
    }
}
