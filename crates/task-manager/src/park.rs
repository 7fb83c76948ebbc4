//! How a thread waits for what wakes a [`Waker`].

use std::{
    pin::pin,
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
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

/// Blocks this thread until the future is ready.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parker = Parker::new();
    let mut cx = Context::from_waker(parker.waker());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        parker.park();
    }
}
