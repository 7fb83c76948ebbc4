//! Where the beats of a [`HeartbeatReceiver`](crate::HeartbeatReceiver) end: its function, and its place in the tree of processes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(not(feature = "remote"))]
use std::task::{Context, Poll};

use workfleet_fork::Home;

use crate::{Details, HeartbeatError};

type Receive = Arc<dyn Fn(Details) -> Result<(), HeartbeatError> + Send + Sync>;

pub(crate) struct OwnSink {
    /// Taken when the receiver is dropped. It is neither called nor dropped under the lock.
    receive: Mutex<Option<Receive>>,
    home: Home,
    #[cfg(feature = "remote")]
    elsewhere: elsewhere::Elsewhere,
}

impl OwnSink {
    pub(crate) fn new(
        receive: impl Fn(Details) -> Result<(), HeartbeatError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            receive: Mutex::new(Some(Arc::new(receive))),
            home: Home::here(),
            #[cfg(feature = "remote")]
            elsewhere: elsewhere::Elsewhere::default(),
        }
    }

    /// A beat of this process, or one that has come from another.
    pub(crate) fn beat(&self, details: Details) -> Result<(), HeartbeatError> {
        if !self.home.is_here() {
            return Err(HeartbeatError::Forked);
        }
        let receive = self.receive().clone();
        let Some(receive) = receive else { return Err(HeartbeatError::NotConnected) };
        // This may be the last to drop the function, too.
        match workfleet_panics::catch(move || receive(details)) {
            Ok(received) => received,
            Err(message) => Err(HeartbeatError::refused(format!("the receiver panicked: {message}"))),
        }
    }

    /// The receiver is gone. A call of the function that is under way goes on, and drops it.
    pub(crate) fn end(&self) {
        // In a fork, another thread may have held a lock.
        if !self.home.is_here() {
            return;
        }
        #[cfg(feature = "remote")]
        self.elsewhere.end();
        let receive = self.receive().take();
        drop(receive);
    }

    fn receive(&self) -> MutexGuard<'_, Option<Receive>> {
        self.receive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(not(feature = "remote"))]
    pub(crate) fn flush(&self) -> Flush {
        Flush
    }
}

/// Senders do not leave this process.
#[cfg(not(feature = "remote"))]
pub(crate) struct Flush;

#[cfg(not(feature = "remote"))]
impl Flush {
    pub(crate) fn unanswered(&self) -> Vec<String> {
        Vec::new()
    }

    pub(crate) fn poll_done(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[cfg(feature = "remote")]
pub(crate) use elsewhere::Flush;

#[cfg(feature = "remote")]
mod elsewhere {
    use std::{
        pin::Pin,
        sync::{
            Arc, Mutex, MutexGuard, PoisonError,
            atomic::{AtomicBool, Ordering},
        },
        task::{Context, Poll},
        vec::Drain,
    };

    use tokio::sync::oneshot;

    use super::OwnSink;
    use crate::{
        HeartbeatError,
        ports::{Arrived, BeatSink, TokenPlace, Unanswered},
    };

    /// What other processes know of it.
    #[derive(Default)]
    pub(super) struct Elsewhere {
        place: Mutex<Place>,
        /// A beat from elsewhere was refused, and that was said.
        refused: AtomicBool,
    }

    #[derive(Default)]
    enum Place {
        /// No sender has left this process.
        #[default]
        None,
        /// It holds the sink in turn, until that ends.
        Made(Arc<dyn TokenPlace>),
        Ended,
    }

    impl Elsewhere {
        pub(super) fn end(&self) {
            let place = std::mem::replace(&mut *self.lock(), Place::Ended);
            // Not under the lock.
            drop(place);
        }

        fn lock(&self) -> MutexGuard<'_, Place> {
            self.place.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl OwnSink {
        /// Where other processes find it; made when it is first asked for. None if the receiver is gone.
        pub(crate) fn place(
            self: &Arc<Self>,
            make: impl FnOnce(Arc<dyn BeatSink>) -> Arc<dyn TokenPlace>,
        ) -> Option<Arc<dyn TokenPlace>> {
            if !self.home.is_here() {
                return None;
            }
            let mut place = self.elsewhere.lock();
            if let Place::None = *place {
                *place = Place::Made(make(Arc::clone(self) as _));
            }
            match &*place {
                Place::Made(place) => Some(Arc::clone(place)),
                Place::None | Place::Ended => None,
            }
        }

        pub(crate) fn flush(&self) -> Flush {
            if !self.home.is_here() {
                return Flush(None);
            }
            let place = match &*self.elsewhere.lock() {
                Place::Made(place) => Arc::clone(place),
                Place::None | Place::Ended => return Flush(None),
            };
            let (tell, done) = oneshot::channel();
            // An error of the sending means that nobody waits any more.
            let unanswered = place.flush(Box::new(move || tell.send(()).unwrap_or(())));
            Flush(Some((unanswered, done)))
        }
    }

    impl BeatSink for OwnSink {
        fn beats(self: Arc<Self>, beats: Drain<'_, Arrived>) -> u64 {
            let mut ignored = 0_u64;
            for Arrived { details, superseded, .. } in beats {
                match self.beat(details) {
                    Ok(()) => {}
                    Err(HeartbeatError::NotConnected) => {
                        ignored = ignored.saturating_add(superseded.saturating_add(1));
                    }
                    Err(error) => {
                        if !self.elsewhere.refused.swap(true, Ordering::Relaxed) {
                            workfleet_notice::error!(%error, "a receiver of heartbeats refused a beat from another process; later ones are not logged");
                        }
                    }
                }
            }
            ignored
        }
    }

    /// A flush under way: none if nobody else had to be asked.
    pub(crate) struct Flush(Option<(Box<dyn Unanswered>, oneshot::Receiver<()>)>);

    impl Flush {
        pub(crate) fn unanswered(&self) -> Vec<String> {
            self.0.as_ref().map(|(unanswered, _)| unanswered.names()).unwrap_or_default()
        }

        pub(crate) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            let Some((_, done)) = &mut self.0 else { return Poll::Ready(()) };
            // An error means that nobody can answer any more.
            std::task::ready!(Pin::new(done).poll(cx)).unwrap_or(());
            self.0 = None;
            Poll::Ready(())
        }
    }
}
