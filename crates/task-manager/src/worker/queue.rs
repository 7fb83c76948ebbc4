//! The tasks that a worker has in hand, and which of its two threads watches the socket for more.
//!
//! An idle task thread watches by itself: a task that comes to an idle worker then starts without passing from one
//! thread to another. While a task runs, nobody watches at first; the I/O thread looks after a [`TICK`], and takes
//! the watch if it finds the same task running still, or at once if somebody waits for an answer. An idle task thread
//! asks for the watch back.
//!
//! Invariants:
//! - Whoever watches adds, takes back and cancels; the task thread takes the next. What was taken back was not begun.
//! - Which lease runs changes under the lock, so a cancellation reaches the attempt it was meant for, or none.
//! - While a task runs, the I/O thread watches or will look within a tick.
//!
//! [`TICK`]: super::outbox::TICK

use std::{
    collections::VecDeque,
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// A task that has not begun.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) lease: u64,
    pub(super) sequence: u64,
    pub(super) attempt: u32,
    pub(super) task_type: u32,
    pub(super) priority: u8,
    pub(super) wants_output: bool,
    pub(super) payload: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(super) struct TaskQueue {
    state: Mutex<State>,
    /// A task came, or the end, or the watch is free.
    changed: Condvar,
    /// The lease that was cancelled last, for a task that asks often.
    cancelled_lease: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// By priority, then by arrival.
    waiting: VecDeque<Queued>,
    /// 0: none.
    running_lease: u64,
    /// Made when a task asks for it.
    token: Option<CancellationToken>,
    /// The task thread waits for `changed`.
    thread_waits: bool,
    closing: bool,
    watcher: Watcher,
    /// The task thread is idle and wants to watch.
    watch_wanted: bool,
    /// Somebody waits for an answer while a task runs.
    answer_wanted: bool,
    /// The I/O thread will look again without being woken.
    armed: bool,
    /// What ran when the I/O thread last looked.
    seen_lease: u64,
}

/// Which thread watches the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watcher {
    /// From the start, while the sessions are made, and while a long task runs.
    #[default]
    Io,
    Task,
    /// A task has begun not long ago.
    Nobody,
}

/// What the task thread is to do.
#[derive(Debug)]
pub(super) enum Turn {
    /// Run this. With the flag, the I/O thread has to be woken up first: it will watch if this takes long.
    Run(Queued, bool),
    /// Watch the socket until something came, then call again.
    Watch,
    /// Nothing comes any more.
    End,
}

/// What the I/O thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IoTurn {
    /// Watch the socket.
    pub(super) watch: bool,
    /// Look again after a tick.
    pub(super) tick: bool,
}

impl TaskQueue {
    pub(super) fn add(&self, tasks: impl Iterator<Item = Queued>) {
        let mut state = self.lock();
        for task in tasks {
            let order = |task: &Queued| (task.priority, task.sequence);
            if state.waiting.back().is_none_or(|last| order(last) <= order(&task)) {
                state.waiting.push_back(task);
            } else {
                let place = state.waiting.partition_point(|other| order(other) <= order(&task));
                state.waiting.insert(place, task);
            }
        }
        self.announce(state);
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        self.announce(state);
    }

    /// The next task, if there is one.
    pub(super) fn try_next(&self) -> Option<Queued> {
        Self::begin(&mut self.lock())
    }

    /// What comes next for the task thread; waits while the I/O thread watches. `wake_io` is called, without the lock,
    /// to ask it for the watch.
    pub(super) fn next(&self, wake_io: impl Fn()) -> Turn {
        let mut state = self.lock();
        if state.watcher == Watcher::Task {
            state.watcher = Watcher::Nobody;
        }
        loop {
            if let Some(task) = Self::begin(&mut state) {
                let wake = state.watcher == Watcher::Nobody && !state.armed;
                state.armed |= wake;
                state.watch_wanted = false;
                return Turn::Run(task, wake);
            }
            if state.closing {
                return Turn::End;
            }
            if state.watcher == Watcher::Nobody {
                state.watcher = Watcher::Task;
                return Turn::Watch;
            }
            if !state.watch_wanted {
                state.watch_wanted = true;
                drop(state);
                wake_io();
                state = self.lock();
                continue;
            }
            state.thread_waits = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.thread_waits = false;
        }
    }

    /// What comes next for the I/O thread.
    pub(super) fn io_turn(&self) -> IoTurn {
        let mut state = self.lock();
        let turn = match state.watcher {
            Watcher::Task => IoTurn { watch: false, tick: false },
            Watcher::Io if state.watch_wanted => {
                state.watch_wanted = false;
                state.watcher = Watcher::Nobody;
                // Until the task thread has taken it.
                IoTurn { watch: false, tick: true }
            }
            Watcher::Io => IoTurn { watch: true, tick: false },
            Watcher::Nobody => {
                let long = state.running_lease != 0 && state.running_lease == state.seen_lease;
                let watch = long || state.answer_wanted;
                if watch {
                    state.watcher = Watcher::Io;
                }
                IoTurn { watch, tick: !watch }
            }
        };
        state.seen_lease = state.running_lease;
        state.answer_wanted = false;
        state.armed = turn.tick;
        if state.watcher == Watcher::Nobody {
            self.announce(state);
        }
        turn
    }

    /// Somebody is about to wait for an answer. True if the I/O thread has to be woken up to watch for it.
    pub(super) fn want_answer(&self) -> bool {
        let mut state = self.lock();
        let wake = state.watcher == Watcher::Nobody;
        state.answer_wanted |= wake;
        wake
    }

    fn begin(state: &mut State) -> Option<Queued> {
        let next = state.waiting.pop_front();
        state.running_lease = next.as_ref().map_or(0, |task| task.lease);
        state.token = None;
        next
    }

    /// Takes back up to `at_most` tasks that have not begun, those that would begin last first.
    pub(super) fn take_back(&self, at_most: u32) -> Vec<u64> {
        let mut state = self.lock();
        let keep = state.waiting.len().saturating_sub(at_most as usize);
        state.waiting.split_off(keep).into_iter().map(|task| task.lease).collect()
    }

    /// Cancels the attempt under `lease` if it runs. True if it had not begun and was taken back instead.
    pub(super) fn cancel(&self, lease: u64) -> bool {
        let mut state = self.lock();
        if let Some(place) = state.waiting.iter().position(|task| task.lease == lease) {
            state.waiting.remove(place);
            return true;
        }
        if state.running_lease == lease {
            self.cancel_running(state);
        }
        false
    }

    /// Cancels whatever runs.
    pub(super) fn cancel_current(&self) {
        let state = self.lock();
        if state.running_lease != 0 {
            self.cancel_running(state);
        }
    }

    fn cancel_running(&self, mut state: MutexGuard<'_, State>) {
        self.cancelled_lease.store(state.running_lease, Ordering::Release);
        let token = state.token.take();
        drop(state);
        // Outside the lock: cancelling a token wakes whoever waits for it.
        if let Some(token) = token {
            token.cancel();
        }
    }

    pub(super) fn is_cancelled(&self, lease: u64) -> bool {
        self.cancelled_lease.load(Ordering::Acquire) == lease
    }

    /// The token that is cancelled when the attempt under `lease` is.
    pub(super) fn token(&self, lease: u64) -> CancellationToken {
        let mut state = self.lock();
        if state.running_lease == lease && !self.is_cancelled(lease) {
            return state.token.get_or_insert_default().clone();
        }
        let token = CancellationToken::new();
        token.cancel();
        token
    }

    fn announce(&self, state: MutexGuard<'_, State>) {
        let wake = state.thread_waits;
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    fn task(lease: u64, priority: u8) -> Queued {
        Queued {
            lease,
            sequence: lease,
            attempt: 1,
            task_type: 0,
            priority,
            wants_output: false,
            payload: Box::default(),
        }
    }

    #[test]
    fn the_most_urgent_begins_first_and_the_latest_is_taken_back_first() {
        let queue = TaskQueue::default();
        queue.add([task(1, 1), task(2, 1), task(3, 0), task(4, 1)].into_iter());
        assert_eq!(queue.try_next().map(|task| task.lease), Some(3));
        assert_eq!(queue.take_back(1), [4]);
        assert_eq!(queue.take_back(9), [1, 2]);
        assert!(queue.try_next().is_none());
    }

    #[test]
    fn a_cancellation_reaches_only_the_attempt_it_is_meant_for() {
        let queue = TaskQueue::default();
        queue.add([task(1, 1), task(2, 1)].into_iter());
        assert!(queue.cancel(2), "not begun: taken back");
        assert!(queue.try_next().is_some());
        let token = queue.token(1);
        assert!(!queue.cancel(2));
        assert!(!token.is_cancelled());
        assert!(!queue.cancel(1));
        assert!(token.is_cancelled() && queue.is_cancelled(1) && queue.token(1).is_cancelled());
    }

    #[test]
    fn a_closed_queue_is_emptied_before_it_ends() {
        let queue = TaskQueue::default();
        queue.add([task(1, 1)].into_iter());
        queue.close();
        assert!(matches!(queue.next(|| ()), Turn::Run(..)));
        assert!(matches!(queue.next(|| ()), Turn::End));
    }

    /// An idle task thread that has got the watch from the I/O thread.
    fn watched_by_the_task_thread() -> TaskQueue {
        let queue = TaskQueue::default();
        assert_eq!(queue.io_turn(), IoTurn { watch: true, tick: false });
        let asked = std::cell::Cell::new(false);
        let turn = queue.next(|| {
            asked.set(true);
            assert_eq!(queue.io_turn(), IoTurn { watch: false, tick: true });
        });
        assert!(asked.get() && matches!(turn, Turn::Watch));
        assert_eq!(queue.io_turn(), IoTurn { watch: false, tick: false }, "an idle worker does not tick");
        queue
    }

    #[test]
    fn a_long_task_is_watched_by_the_io_thread_and_a_short_one_by_nobody() {
        let queue = watched_by_the_task_thread();
        queue.add([task(1, 1), task(2, 1)].into_iter());
        assert!(matches!(queue.next(|| ()), Turn::Run(_, true)), "the I/O thread sleeps and has to look");
        assert_eq!(queue.io_turn(), IoTurn { watch: false, tick: true });
        assert!(matches!(queue.next(|| ()), Turn::Run(_, false)), "it looks anyway");
        assert_eq!(queue.io_turn(), IoTurn { watch: false, tick: true }, "another task runs by now");
        assert_eq!(queue.io_turn(), IoTurn { watch: true, tick: false }, "still the same: it is a long one");
    }

    #[test]
    fn whoever_waits_for_an_answer_is_not_kept_waiting_for_a_tick() {
        let queue = watched_by_the_task_thread();
        assert!(!queue.want_answer(), "the task thread watches");
        queue.add([task(1, 1)].into_iter());
        assert!(matches!(queue.next(|| ()), Turn::Run(..)));
        assert!(queue.want_answer());
        assert_eq!(queue.io_turn(), IoTurn { watch: true, tick: false });
        assert!(!queue.want_answer(), "the I/O thread watches");
    }
}

#[cfg(all(test, workfleet_loom))]
mod models {
    //! Both threads of a worker, and a manager that sends a task and then the end, in every order that their locks
    //! allow. A wake-up that is lost leaves a thread waiting for ever, which loom reports.

    use loom::{
        sync::{Arc, Condvar, Mutex},
        thread,
    };

    use super::{Queued, TaskQueue, Turn};

    /// The socket and the I/O thread's waker.
    #[derive(Default)]
    struct Events {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct State {
        frames: Vec<Frame>,
        woken: bool,
        /// What the running task waits for was read.
        end_read: bool,
        ended: bool,
    }

    enum Frame {
        Task,
        End,
    }

    impl Events {
        fn change(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.state.lock().unwrap());
            self.changed.notify_all();
        }

        /// Like `poll`: waits until there is something that is asked for; `tick` does not wait. Then carries out the
        /// frames, if they are watched. False once the worker has ended.
        fn poll(&self, queue: &TaskQueue, watch: bool, wake: bool, tick: bool) -> bool {
            let mut state = self.state.lock().unwrap();
            while !tick && !(watch && !state.frames.is_empty()) && !(wake && (state.woken || state.ended)) {
                state = self.changed.wait(state).unwrap();
            }
            state.woken &= !wake;
            let ended = state.ended;
            let frames = if watch { std::mem::take(&mut state.frames) } else { Vec::new() };
            drop(state);
            for frame in frames {
                match frame {
                    Frame::Task => queue.add([task()].into_iter()),
                    Frame::End => {
                        queue.close();
                        self.change(|state| state.end_read = true);
                    }
                }
            }
            !ended
        }
    }

    fn task() -> Queued {
        Queued {
            lease: 1,
            sequence: 1,
            attempt: 1,
            task_type: 0,
            priority: 0,
            wants_output: false,
            payload: Box::default(),
        }
    }

    #[test]
    fn no_wake_up_is_lost_when_the_watch_changes_hands() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound.get_or_insert(2);
        model.check(|| {
            let shared = Arc::new((TaskQueue::default(), Events::default()));
            let io = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let (queue, events) = &*shared;
                    loop {
                        let turn = queue.io_turn();
                        if turn.tick {
                            thread::yield_now();
                        }
                        if !events.poll(queue, turn.watch, true, turn.tick) {
                            break;
                        }
                    }
                }
            });
            let manager = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let events = &shared.1;
                    events.change(|state| state.frames.push(Frame::Task));
                    events.change(|state| state.frames.push(Frame::End));
                }
            });
            let (queue, events) = &*shared;
            let wake_io = || events.change(|state| state.woken = true);
            let mut ran = 0;
            loop {
                match queue.next(wake_io) {
                    Turn::Run(_, wake) => {
                        ran += 1;
                        if wake {
                            wake_io();
                        }
                        // A long task: it ends by something that has to be read while it runs.
                        let mut state = events.state.lock().unwrap();
                        while !state.end_read {
                            state = events.changed.wait(state).unwrap();
                        }
                    }
                    Turn::Watch => {
                        events.poll(queue, true, false, false);
                    }
                    Turn::End => break,
                }
            }
            assert_eq!(ran, 1);
            events.change(|state| state.ended = true);
            io.join().unwrap();
            manager.join().unwrap();
        });
    }
}
