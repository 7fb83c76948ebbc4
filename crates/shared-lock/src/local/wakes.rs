//! Wakers on their way from under a lock to where they may be called.
//!
//! Invariants:
//! - A waker is called and dropped only after the lock under which it was collected has been left: it is a user's code, and
//!   may come back for the same lock.
//! - Every waker is called, also when one before it panics. The first panic goes on afterwards, unless the thread
//!   is panicking already; then it has been reported by the panic hook, and ends here.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Waker,
    thread,
};

use workfleet_panics::discard;

/// Most commands wake nobody or one waiter: those take no memory.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Wakes {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    pub(super) fn push(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.first.is_none() => self.first = Some(waker),
            more => self.more.extend(more),
        }
    }

    /// Calls them in the order in which they came. No lock may be held.
    #[inline]
    pub(super) fn wake(self) {
        if let Some(first) = self.first {
            wake_all(first, self.more);
        }
    }
}

fn wake_all(first: Waker, more: Vec<Waker>) {
    let mut panic = None;
    for waker in std::iter::once(first).chain(more) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            match panic {
                None => panic = Some(payload),
                Some(_) => discard(payload),
            }
        }
    }
    match panic {
        Some(payload) if thread::panicking() => discard(payload),
        Some(payload) => resume_unwind(payload),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::{sync::Arc, task::Wake};

    use super::*;

    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }

    #[derive(Default)]
    struct Counts(AtomicUsize);
    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_panicking_waker_keeps_no_other_from_being_woken() {
        let counts = Arc::new(Counts::default());
        let mut wakes = Wakes::default();
        for _ in 0..2 {
            wakes.push(Some(Waker::from(Arc::new(Panics))));
            wakes.push(Some(Waker::from(Arc::clone(&counts))));
            wakes.push(None);
        }
        let payload = catch_unwind(AssertUnwindSafe(|| wakes.wake())).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a waker that panics"));
        assert_eq!(counts.0.load(Ordering::Relaxed), 2);
    }

    /// The payload of a panic is a user's too, and so is its destructor.
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("a payload that panics");
        }
    }
    impl Wake for PanicsWhenDropped {
        fn wake(self: Arc<Self>) {
            std::mem::forget(self);
            std::panic::panic_any(PanicsWhenDropped);
        }
    }

    #[test]
    fn a_payload_that_panics_keeps_no_other_from_being_woken() {
        let counts = Arc::new(Counts::default());
        let mut wakes = Wakes::default();
        for _ in 0..3 {
            wakes.push(Some(Waker::from(Arc::new(PanicsWhenDropped))));
            wakes.push(Some(Waker::from(Arc::clone(&counts))));
        }
        let payload = catch_unwind(AssertUnwindSafe(|| wakes.wake())).unwrap_err();
        assert!(payload.is::<PanicsWhenDropped>(), "the first panic");
        std::mem::forget(payload);
        assert_eq!(counts.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_panicking_waker_does_not_abort_a_thread_that_panics_already() {
        struct WakesWhenDropped;
        impl Drop for WakesWhenDropped {
            fn drop(&mut self) {
                let mut wakes = Wakes::default();
                wakes.push(Some(Waker::from(Arc::new(PanicsWhenDropped))));
                wakes.push(Some(Waker::from(Arc::new(Panics))));
                wakes.wake();
            }
        }
        let payload = catch_unwind(|| {
            let _wakes = WakesWhenDropped;
            panic!("the first panic");
        });
        assert_eq!(payload.unwrap_err().downcast_ref::<&str>(), Some(&"the first panic"));
    }
}
