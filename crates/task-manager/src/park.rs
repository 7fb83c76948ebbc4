//! How a thread waits for what wakes a [`Waker`].

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::{Wake, Waker},
    time::Instant,
};

/// A place for one thread at a time to wait in, and the waker that lets it go on. A wake that nobody waited for lets the
/// next wait pass at once.
#[derive(Debug)]
pub(crate) struct Parker {
    signal: Arc<Signal>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        let signal = Arc::new(Signal::default());
        Self { waker: Waker::from(Arc::clone(&signal)), signal }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Waits to be woken.
    pub(crate) fn park(&self) {
        let woken = self.signal.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.signal.changed.wait_while(woken, |woken| !*woken);
        *waited.unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Waits to be woken. False: it was not, until the deadline.
    pub(crate) fn park_until(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let woken = self.signal.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.signal.changed.wait_timeout_while(woken, left, |woken| !*woken);
        let (mut woken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *woken)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}
