//! The channels whose beats wait to be sent to the parent, and whether a thread is about to send them.
//!
//! Invariant: while a beat waits, the sending thread was woken, is about to be woken, or looks again without being
//! woken.

use std::sync::PoisonError;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// When this many wait, the sending thread is woken again, even if it would look soon.
const WAKE_AT: usize = 512;

#[derive(Debug)]
pub(super) struct Waiting<C> {
    list: Mutex<Vec<C>>,
    /// The sending thread was woken, or looks again without being woken.
    armed: AtomicBool,
}

/// How many wait.
#[derive(Clone, Copy, Debug)]
#[must_use = "somebody may have to be woken"]
pub(super) struct Count(usize);

impl<C> Waiting<C> {
    pub(super) fn new() -> Self {
        Self { list: Mutex::new(Vec::new()), armed: AtomicBool::new(false) }
    }

    /// One more waits. [`needs_wake`](Self::needs_wake) follows.
    pub(super) fn add(&self, one: C) -> Count {
        let mut list = self.lock();
        list.push(one);
        Count(list.len())
    }

    /// Whether the sending thread has to be woken, now that this many wait.
    pub(super) fn needs_wake(&self, count: Count) -> bool {
        !self.armed.swap(true, Ordering::AcqRel) || count.0.is_multiple_of(WAKE_AT)
    }

    /// Those that wait, for the thread that was woken or looks again. After this it does not look again, unless it [says
    /// so](Self::look_again).
    pub(super) fn turn(&self) -> Vec<C> {
        // Whoever is not here yet finds nobody armed, and wakes.
        if self.armed.swap(false, Ordering::AcqRel) { self.take() } else { Vec::new() }
    }

    /// The sending thread looks again without being woken.
    pub(super) fn look_again(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// Those that wait, for another thread that sends them at once.
    pub(super) fn take(&self) -> Vec<C> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<C>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, workfleet_loom))]
mod models {
    //! Beats of one token, which somebody sends who sleeps while he has nothing to do, beside a flush. A wake-up that is lost
    //! leaves him sleeping forever, which loom reports.

    use loom::{
        sync::{Arc, Condvar, Mutex},
        thread,
    };

    use super::Waiting;

    /// A channel, and what has been sent from it.
    #[derive(Default)]
    struct Channel {
        held: Mutex<Option<u32>>,
        sent: Mutex<Vec<u32>>,
    }

    struct World {
        channel: Channel,
        waiting: Waiting<()>,
        woken: (Mutex<bool>, Condvar),
        sending: Mutex<()>,
    }

    impl World {
        fn beat(&self, number: u32) {
            let mut held = self.channel.held.lock().unwrap();
            let count = held.replace(number).is_none().then(|| self.waiting.add(()));
            drop(held);
            if let Some(count) = count
                && self.waiting.needs_wake(count)
            {
                *self.woken.0.lock().unwrap() = true;
                self.woken.1.notify_one();
            }
        }

        fn send(&self, waiting: Vec<()>) {
            for () in &waiting {
                let held = self.channel.held.lock().unwrap().take();
                self.channel.sent.lock().unwrap().extend(held);
            }
        }

        /// What a flush does before it answers.
        fn flush(&self) {
            let _sending = self.sending.lock().unwrap();
            self.send(self.waiting.take());
        }

        /// Sends until this has been sent.
        fn serve(&self, last: u32) {
            loop {
                let sending = self.sending.lock().unwrap();
                let waiting = self.waiting.turn();
                let again = !waiting.is_empty();
                self.send(waiting);
                drop(sending);
                if self.channel.sent.lock().unwrap().last() == Some(&last) {
                    return;
                }
                if again {
                    self.waiting.look_again();
                    thread::yield_now();
                    continue;
                }
                let mut woken = self.woken.0.lock().unwrap();
                while !*woken {
                    woken = self.woken.1.wait(woken).unwrap();
                }
                *woken = false;
            }
        }
    }

    fn world() -> Arc<World> {
        Arc::new(World {
            channel: Channel::default(),
            waiting: Waiting::new(),
            woken: (Mutex::new(false), Condvar::new()),
            sending: Mutex::new(()),
        })
    }

    #[test]
    fn the_last_beat_is_sent_without_being_asked_for() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound.get_or_insert(3);
        model.check(|| {
            let world = world();
            let server = thread::spawn({
                let world = Arc::clone(&world);
                move || world.serve(2)
            });
            world.beat(1);
            world.beat(2);
            server.join().unwrap();
        });
    }

    #[test]
    fn a_flush_leaves_no_beat_behind_whose_send_has_returned() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound.get_or_insert(3);
        model.check(|| {
            let world = world();
            let other = thread::spawn({
                let world = Arc::clone(&world);
                move || world.beat(1)
            });
            world.beat(2);
            world.flush();
            assert!(!world.channel.sent.lock().unwrap().is_empty(), "it, or the one that has superseded it");
            other.join().unwrap();
        });
    }
}
