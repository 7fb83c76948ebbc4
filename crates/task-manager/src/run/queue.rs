//! The tasks that a worker has in hand, in the order in which they begin, and those that run.
//!
//! In a worker process, the thread that waits for the next task may own the socket meanwhile: `socket_ownership` decides.
//!
//! Invariants:
//! - Tasks begin in the order of priority, then of arrival.
//! - The thread that reads from the manager adds, takes back and cancels; the task thread takes the next. What was taken back
//!   was not begun.
//! - Which lease runs changes under the lock, so a cancellation reaches the attempt it was meant for, or none.

use std::{
    collections::VecDeque,
    sync::{
        PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use super::{
    queued::Queued,
    running::Running,
    socket_ownership::{IoStep, SocketOwnership},
};
use crate::sync::{Condvar, Mutex, MutexGuard};

#[derive(Debug, Default)]
pub(crate) struct TaskQueue {
    state: Mutex<State>,
    /// A task came, or the end, or the socket is free.
    changed: Condvar,
    /// How many of the running attempts should stop, for a task that asks often. Changed under the lock.
    cancelled: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// By priority, then by arrival.
    waiting: VecDeque<Queued>,
    running: Running,
    /// The task thread waits for `changed`.
    thread_waits: bool,
    /// The task thread runs several tasks at once, and is to be woken by this.
    waker: Option<Waker>,
    closing: bool,
    ownership: SocketOwnership,
}

/// What the task thread is to do.
#[derive(Debug)]
pub(crate) enum Step {
    /// Run this. With the flag, the I/O thread has to be woken up first: it will poll the socket if this takes long.
    Run(Queued, bool),
    /// Wait for the socket until something came, then call again.
    PollSocket,
    /// Nothing has come by the deadline.
    Nothing,
    /// Nothing comes any more.
    End,
}

impl TaskQueue {
    pub(crate) fn add(&self, tasks: impl Iterator<Item = Queued>) {
        let mut state = self.lock();
        for task in tasks {
            let order = |task: &Queued| (task.priority, task.attempt.sequence);
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
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        self.announce(state);
    }

    /// The next task, if there is one. The one that had the thread has ended.
    pub(crate) fn try_next(&self) -> Option<Queued> {
        self.begin(&mut self.lock())
    }

    /// The next task for a thread that runs several at once; `None` once nothing comes any more.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Queued>> {
        let mut state = self.lock();
        if let Some(task) = self.begin(&mut state) {
            return Poll::Ready(Some(task));
        }
        if state.closing {
            return Poll::Ready(None);
        }
        let replaced = state.waker.replace(cx.waker().clone());
        drop(state);
        // A waker's destructor may run anything: not under the lock.
        drop(replaced);
        Poll::Pending
    }

    /// A task that shared the thread has ended.
    pub(crate) fn end_concurrent(&self, lease: u64) {
        let mut state = self.lock();
        state.running.end_concurrent(lease);
        self.count_cancelled(&state);
    }

    /// What comes next for the task thread; waits while the I/O thread owns the socket, but not beyond the deadline. `wake_io` is
    /// called, without the lock, to ask it for the socket.
    pub(crate) fn next(&self, deadline: Option<Instant>, wake_io: impl Fn()) -> Step {
        let mut state = self.lock();
        state.ownership.come_back();
        loop {
            if let Some(task) = self.begin(&mut state) {
                return Step::Run(task, state.ownership.begin_task());
            }
            if state.closing {
                let wake = state.ownership.end();
                drop(state);
                if wake {
                    wake_io();
                }
                return Step::End;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                state.ownership.stop_asking();
                return Step::Nothing;
            }
            if state.ownership.take() {
                return Step::PollSocket;
            }
            if state.ownership.ask() {
                drop(state);
                wake_io();
                state = self.lock();
                continue;
            }
            state.thread_waits = true;
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.thread_waits = false;
        }
    }

    /// What comes next for the I/O thread.
    pub(crate) fn io_step(&self) -> IoStep {
        let mut state = self.lock();
        let State { ownership, running, .. } = &mut *state;
        let step = ownership.io_step(running);
        if ownership.is_free() {
            self.announce(state);
        }
        step
    }

    /// Somebody is about to wait for an answer. True if the I/O thread has to be woken up to wait for it.
    pub(crate) fn want_answer(&self) -> bool {
        self.lock().ownership.want_answer()
    }

    /// The task thread waits for tasks by [`poll_next`](Self::poll_next), and does not own the socket meanwhile. True if the I/O thread
    /// has to be woken up to.
    pub(crate) fn give_up_socket(&self) -> bool {
        let mut state = self.lock();
        state.ownership.come_back();
        state.ownership.want_answer()
    }

    fn begin(&self, state: &mut State) -> Option<Queued> {
        let next = state.waiting.pop_front();
        // One that was asked back is not begun, whatever ends its thread meanwhile.
        let begun = next.as_ref().filter(|task| !task.revoked);
        let single = begun.filter(|task| !task.concurrent);
        state.running.set_single(single.map(Queued::lease));
        if let Some(task) = begun.filter(|task| task.concurrent) {
            state.running.add_concurrent(task.lease());
        }
        self.count_cancelled(state);
        next
    }

    /// Takes back up to `at_most` tasks that have not begun and are not more urgent than `from`, those that would begin
    /// last first.
    pub(crate) fn take_back(&self, at_most: u32, from: u8) -> Vec<u64> {
        let mut state = self.lock();
        let first = state.waiting.partition_point(|task| task.priority < from);
        let keep = first.max(state.waiting.len().saturating_sub(at_most as usize));
        state.waiting.split_off(keep).iter().map(Queued::lease).collect()
    }

    /// Cancels what runs, and marks what has not begun as asked back: the attempt under `lease`, or all.
    pub(crate) fn revoke(&self, lease: Option<u64>) {
        let mut state = self.lock();
        let meant = state.waiting.iter_mut().filter(|task| lease.is_none_or(|lease| task.lease() == lease));
        meant.for_each(|task| task.revoked = true);
        self.cancel_running(state, lease);
    }

    /// Cancels the attempt under `lease` if it runs. True if it had not begun and was taken back instead.
    pub(crate) fn cancel(&self, lease: u64) -> bool {
        let mut state = self.lock();
        if let Some(place) = state.waiting.iter().position(|task| task.lease() == lease) {
            state.waiting.remove(place);
            return true;
        }
        self.cancel_running(state, Some(lease));
        false
    }

    /// Cancels whatever runs.
    pub(crate) fn cancel_current(&self) {
        self.cancel_running(self.lock(), None);
    }

    fn cancel_running(&self, mut state: MutexGuard<'_, State>, lease: Option<u64>) {
        let tokens = state.running.cancel(lease);
        self.count_cancelled(&state);
        drop(state);
        tokens.cancel();
    }

    fn count_cancelled(&self, state: &State) {
        self.cancelled.store(state.running.cancelled(), Ordering::Release);
    }

    /// Whether the running attempt under `lease` should stop.
    pub(crate) fn is_cancelled(&self, lease: u64) -> bool {
        self.cancelled.load(Ordering::Acquire) > 0 && self.lock().running.is_cancelled(lease)
    }

    /// The token that is cancelled when the attempt under `lease` is.
    pub(crate) fn token(&self, lease: u64) -> CancellationToken {
        self.lock().running.token(lease)
    }

    /// What runs.
    pub(crate) fn running(&self) -> Vec<u64> {
        self.lock().running.leases()
    }

    fn announce(&self, mut state: MutexGuard<'_, State>) {
        let wake = state.thread_waits;
        let waker = state.waker.take();
        drop(state);
        if wake {
            self.changed.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_begins_first_and_the_latest_is_taken_back_first() {
        let queue = TaskQueue::default();
        queue.add(
            [Queued::under(1, 1), Queued::under(2, 1), Queued::under(3, 0), Queued::under(4, 1)].into_iter(),
        );
        assert_eq!(queue.try_next().map(|task| task.lease()), Some(3));
        assert_eq!(queue.take_back(1, 0), [4]);
        assert_eq!(queue.take_back(9, 2), [], "none that is more urgent than it may be");
        assert_eq!(queue.take_back(9, 0), [1, 2]);
        assert!(queue.try_next().is_none());
    }

    #[test]
    fn a_cancellation_reaches_only_the_attempt_it_is_meant_for() {
        let queue = TaskQueue::default();
        queue.add([Queued::under(1, 1), Queued::under(2, 1)].into_iter());
        assert!(queue.cancel(2), "not begun: taken back");
        assert!(queue.try_next().is_some());
        let token = queue.token(1);
        assert!(!queue.cancel(2));
        assert!(!token.is_cancelled());
        assert!(!queue.cancel(1));
        assert!(token.is_cancelled() && queue.is_cancelled(1) && queue.token(1).is_cancelled());
    }

    #[test]
    fn what_was_asked_back_before_it_began_does_not_run() {
        let queue = TaskQueue::default();
        for concurrent in [false, true] {
            queue.add([Queued { concurrent, ..Queued::under(1, 1) }].into_iter());
            queue.revoke(None);
            assert!(queue.try_next().is_some_and(|task| task.revoked));
            assert_eq!(queue.running(), []);
        }
    }

    #[test]
    fn a_closed_queue_is_emptied_before_it_ends() {
        let queue = TaskQueue::default();
        queue.add([Queued::under(1, 1)].into_iter());
        queue.close();
        assert!(matches!(queue.next(None, || ()), Step::Run(..)));
        assert!(matches!(queue.next(None, || ()), Step::End));
    }

    #[test]
    fn a_task_thread_that_goes_away_before_it_owns_the_socket_leaves_it_where_it_is() {
        let queue = TaskQueue::default();
        assert_eq!(queue.io_step(), IoStep { poll_socket: true, tick: false });
        let deadline = Instant::now() + std::time::Duration::from_millis(1);
        // The I/O thread is slow to hear what it is asked.
        let step = queue.next(Some(deadline), || while Instant::now() < deadline {});
        assert!(matches!(step, Step::Nothing), "{step:?}");
        queue.want_answer();
        assert_eq!(queue.io_step(), IoStep { poll_socket: true, tick: false });
    }

    /// An idle task thread that has got the socket from the I/O thread.
    fn socket_owned_by_the_task_thread() -> TaskQueue {
        let queue = TaskQueue::default();
        assert_eq!(queue.io_step(), IoStep { poll_socket: true, tick: false });
        let asked = std::cell::Cell::new(false);
        let step = queue.next(None, || {
            asked.set(true);
            assert_eq!(queue.io_step(), IoStep { poll_socket: false, tick: true });
        });
        assert!(asked.get() && matches!(step, Step::PollSocket));
        assert_eq!(
            queue.io_step(),
            IoStep { poll_socket: false, tick: false },
            "an idle worker does not tick"
        );
        queue
    }

    #[test]
    fn a_task_thread_that_is_to_exit_leaves_the_socket_to_the_io_thread() {
        let queue = socket_owned_by_the_task_thread();
        queue.close();
        let woken = std::cell::Cell::new(false);
        assert!(matches!(queue.next(None, || woken.set(true)), Step::End));
        assert!(woken.get(), "the I/O thread sleeps and has to look");
        assert_eq!(queue.io_step(), IoStep { poll_socket: true, tick: false });
        assert!(matches!(queue.next(None, || unreachable!("it owns the socket")), Step::End));
    }

    #[test]
    fn a_long_task_leaves_the_socket_to_the_io_thread_and_a_short_one_to_nobody() {
        let queue = socket_owned_by_the_task_thread();
        queue.add([Queued::under(1, 1), Queued::under(2, 1)].into_iter());
        assert!(
            matches!(queue.next(None, || ()), Step::Run(_, true)),
            "the I/O thread sleeps and has to look"
        );
        assert_eq!(queue.io_step(), IoStep { poll_socket: false, tick: true });
        assert!(matches!(queue.next(None, || ()), Step::Run(_, false)), "it looks anyway");
        assert_eq!(queue.io_step(), IoStep { poll_socket: false, tick: true }, "another task runs by now");
        assert_eq!(
            queue.io_step(),
            IoStep { poll_socket: true, tick: false },
            "still the same: it is a long one"
        );
    }

    #[test]
    fn whoever_waits_for_an_answer_is_not_kept_waiting_for_a_tick() {
        let queue = socket_owned_by_the_task_thread();
        assert!(!queue.want_answer(), "the task thread owns the socket");
        queue.add([Queued::under(1, 1)].into_iter());
        assert!(matches!(queue.next(None, || ()), Step::Run(..)));
        assert!(queue.want_answer());
        assert_eq!(queue.io_step(), IoStep { poll_socket: true, tick: false });
        assert!(!queue.want_answer(), "the I/O thread owns the socket");
    }
}

#[cfg(all(test, workfleet_loom))]
mod models {
    //! Both threads of a worker, and a manager that sends a task and then the end, in every order that their locks
    //! allow. A wake-up that is lost leaves a thread waiting forever, which loom reports.

    use loom::{
        sync::{Arc, Condvar, Mutex},
        thread,
    };

    use super::{Queued, Step, TaskQueue};

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
                    Frame::Task => queue.add([Queued::under(1, 0)].into_iter()),
                    Frame::End => {
                        queue.close();
                        self.change(|state| state.end_read = true);
                    }
                }
            }
            !ended
        }
    }

    #[test]
    fn no_wake_up_is_lost_when_the_socket_changes_hands() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound.get_or_insert(2);
        model.check(|| {
            let shared = Arc::new((TaskQueue::default(), Events::default()));
            let io = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let (queue, events) = &*shared;
                    loop {
                        let step = queue.io_step();
                        if step.tick {
                            thread::yield_now();
                        }
                        if !events.poll(queue, step.poll_socket, true, step.tick) {
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
                match queue.next(None, wake_io) {
                    Step::Run(_, wake) => {
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
                    Step::PollSocket => {
                        events.poll(queue, true, false, false);
                    }
                    Step::Nothing => unreachable!("there is no deadline"),
                    Step::End => break,
                }
            }
            assert_eq!(ran, 1);
            events.change(|state| state.ended = true);
            io.join().unwrap();
            manager.join().unwrap();
        });
    }
}
