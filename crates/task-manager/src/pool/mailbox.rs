//! What the future that serves a worker is told by other threads.
//!
//! Invariant: each thing lies in a mailbox at most once, so a mailbox is no longer than there are different things to
//! say. If a letter is put again before it was taken, it is there once.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Each kind of worker has its own `M`, with one variant for each thing that can be said.
pub(crate) struct Mailbox<M> {
    mail: Mutex<VecDeque<M>>,
    arrived: Notify,
}

impl<M: PartialEq> Mailbox<M> {
    pub(crate) fn put(&self, mail: M) {
        let mut waiting = self.lock();
        if !waiting.contains(&mail) {
            waiting.push_back(mail);
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    /// The first of what lies here, or the next that comes. Only one future waits here at a time.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing.
    pub(crate) async fn next(&self) -> M {
        loop {
            if let Some(mail) = self.lock().pop_front() {
                return mail;
            }
            self.arrived.notified().await;
        }
    }
}

impl<M> Mailbox<M> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<M>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Default for Mailbox<M> {
    fn default() -> Self {
        Self { mail: Mutex::default(), arrived: Notify::new() }
    }
}

impl<M: fmt::Debug> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().iter()).finish()
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn poll<M: PartialEq>(mailbox: &Mailbox<M>) -> Poll<M> {
        pin!(mailbox.next()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_was_not_taken_yet_is_said_once_and_what_was_taken_can_be_said_again() {
        let mailbox = Mailbox::default();
        for mail in [1, 2, 1, 2, 2] {
            mailbox.put(mail);
        }
        assert_eq!([poll(&mailbox), poll(&mailbox)], [Poll::Ready(1), Poll::Ready(2)]);
        assert_eq!(poll(&mailbox), Poll::Pending);
        mailbox.put(2);
        assert_eq!(poll(&mailbox), Poll::Ready(2));
    }

    #[test]
    fn who_stops_waiting_loses_no_mail() {
        let mailbox = Mailbox::default();
        let mut waits = Box::pin(mailbox.next());
        assert_eq!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        mailbox.put(1);
        // It was woken, and is dropped before it looks.
        drop(waits);
        assert_eq!(poll(&mailbox), Poll::Ready(1));
    }
}
