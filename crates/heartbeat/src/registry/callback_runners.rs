//! The callback runners: they call the callbacks that are ready. A callback that hangs does not make the others wait.
//!
//! Invariants, under the one lock:
//! - There is at most one *current* runner. It takes what is ready, and ends, in the same critical section, when there
//!   is nothing. So a callback that becomes ready either finds a current runner or starts one: no wake-up is lost.
//! - A runner that was replaced, because its call took too long, takes nothing more while there is a current one.
//! - While a callback is ready and the current runner is in a call, the check for hangs is on: the driver calls
//!   [`CallbackRunners::tick`] again and again.

use crate::sync::{Mutex, MutexGuard};

/// What the runners work on.
pub(crate) trait Work {
    /// Whether there is something to call.
    fn has_ready(&self) -> bool;
}

/// The work and its runners, behind one lock.
#[derive(Debug)]
pub(crate) struct CallbackRunners<W>(Mutex<Inner<W>>);

#[derive(Debug)]
struct Inner<W> {
    work: W,
    current: Option<Current>,
    /// How many runners were started: the last one's number.
    started: u64,
    /// How many calls have begun.
    calls: u64,
    hang_check: HangCheck,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    runner: RunnerId,
    /// It is in a call, or between two: it was run.
    runs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HangCheck {
    Off,
    /// On, and how many calls had begun when it last looked.
    On {
        calls: u64,
    },
}

/// Which runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunnerId(u64);

/// What is to be done once the lock is let go.
#[derive(Debug, Default)]
#[must_use = "what is ready would wait forever"]
pub(crate) struct Needs {
    /// Start this runner.
    pub(crate) runner: Option<RunnerId>,
    /// The check for hangs was off and is on.
    pub(crate) hang_check: bool,
}

/// What the check for hangs found.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Start this runner.
    pub(crate) runner: Option<RunnerId>,
    /// The check goes on.
    pub(crate) again: bool,
}

impl<W: Work> CallbackRunners<W> {
    pub(crate) fn new(work: W) -> Self {
        Self(Mutex::new(Inner { work, current: None, started: 0, calls: 0, hang_check: HangCheck::Off }))
    }

    /// Does something with the work.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut W) -> T) -> (T, Needs) {
        let mut inner = self.lock();
        let changed = change(&mut inner.work);
        let runner = inner.start_if_needed();
        let hang_check = inner.check_if_needed();
        (changed, Needs { runner, hang_check })
    }

    /// A runner has done a call, which it tells with `finish`, and asks for the next. With none, it has to end.
    pub(crate) fn next<T>(
        &self,
        me: RunnerId,
        finish: impl FnOnce(&mut W),
        take: impl FnOnce(&mut W) -> Option<T>,
    ) -> (Option<T>, Needs) {
        let mut inner = self.lock();
        finish(&mut inner.work);
        let mut taken = None;
        if inner.current.is_none_or(|current| current.runner == me) {
            taken = take(&mut inner.work);
            inner.current = taken.is_some().then_some(Current { runner: me, runs: true });
            inner.calls += u64::from(taken.is_some());
        }
        let hang_check = inner.check_if_needed();
        (taken, Needs { runner: None, hang_check })
    }

    /// A runner will not be run, or not any more. If it was the current one and something is ready, somebody else has to be
    /// started.
    pub(crate) fn lost(&self, runner: RunnerId) -> Needs {
        let mut inner = self.lock();
        if inner.current.is_some_and(|current| current.runner == runner) {
            inner.current = None;
        }
        let runner = inner.start_if_needed();
        Needs { runner, hang_check: false }
    }

    /// Nobody could be started: the next tick tries again.
    pub(crate) fn postpone(&self, runner: RunnerId) -> Needs {
        let mut inner = self.lock();
        if inner.current.is_some_and(|current| current.runner == runner) {
            inner.current = None;
        }
        let hang_check = inner.hang_check == HangCheck::Off;
        inner.hang_check = HangCheck::On { calls: inner.calls };
        Needs { runner: None, hang_check }
    }

    /// Looks whether the current runner is still in the call that it was in at the last look. If so, and something is ready,
    /// it is replaced.
    pub(crate) fn tick(&self) -> Tick {
        let mut inner = self.lock();
        let same_call = inner.hang_check == HangCheck::On { calls: inner.calls };
        if same_call && inner.work.has_ready() && inner.current.is_some_and(|current| current.runs) {
            inner.current = None;
        }
        inner.hang_check = HangCheck::Off;
        let runner = inner.start_if_needed();
        let again = inner.check_if_needed();
        Tick { runner, again }
    }

    /// Whether the driver has to call [`tick`](Self::tick) again and again.
    pub(crate) fn checks_for_hangs(&self) -> bool {
        self.lock().hang_check != HangCheck::Off
    }

    fn lock(&self) -> MutexGuard<'_, Inner<W>> {
        // Nothing of anybody else's runs under the lock, and what panics there is our own mistake: better to go on.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<W: Work> Inner<W> {
    fn start_if_needed(&mut self) -> Option<RunnerId> {
        if self.current.is_some() || !self.work.has_ready() {
            return None;
        }
        self.started += 1;
        let runner = RunnerId(self.started);
        self.current = Some(Current { runner, runs: false });
        Some(runner)
    }

    fn check_if_needed(&mut self) -> bool {
        let in_call = self.current.is_some_and(|current| current.runs);
        if self.hang_check != HangCheck::Off || !in_call || !self.work.has_ready() {
            return false;
        }
        self.hang_check = HangCheck::On { calls: self.calls };
        true
    }
}

#[cfg(all(test, workfleet_loom))]
mod models {
    use std::collections::VecDeque;

    use loom::{
        sync::{Arc, Mutex},
        thread,
    };

    use super::*;

    /// Calls that are ready, by number, and those that were made.
    #[derive(Default)]
    struct Calls {
        ready: VecDeque<u32>,
        running: usize,
        done: Vec<u32>,
    }

    impl Work for Calls {
        fn has_ready(&self) -> bool {
            !self.ready.is_empty()
        }
    }

    type Threads = Mutex<Vec<thread::JoinHandle<()>>>;

    fn start(runners: &Arc<CallbackRunners<Calls>>, threads: &Arc<Threads>, needs: Needs) {
        if let Some(me) = needs.runner {
            let (runners, mine) = (Arc::clone(runners), Arc::clone(threads));
            let runner = thread::spawn(move || run(&runners, &mine, me));
            threads.lock().unwrap().push(runner);
        }
    }

    fn run(runners: &Arc<CallbackRunners<Calls>>, threads: &Arc<Threads>, me: RunnerId) {
        let mut call = None;
        loop {
            let finish = |calls: &mut Calls| {
                if let Some(call) = call {
                    calls.running -= 1;
                    calls.done.push(call);
                }
            };
            let (next, needs) = runners.next(me, finish, |calls| {
                let call = calls.ready.pop_front()?;
                calls.running += 1;
                Some(call)
            });
            start(runners, threads, needs);
            match next {
                None => return,
                next => call = next,
            }
        }
    }

    fn join_all(threads: &Threads) {
        loop {
            let Some(next) = threads.lock().unwrap().pop() else { return };
            next.join().unwrap();
        }
    }

    fn check(model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound.get_or_insert(3);
        builder.check(model);
    }

    #[test]
    fn what_becomes_ready_while_the_runner_ends_is_called() {
        check(|| {
            let runners = Arc::new(CallbackRunners::new(Calls::default()));
            let threads = Arc::new(Mutex::new(Vec::new()));
            let other = thread::spawn({
                let (runners, threads) = (Arc::clone(&runners), Arc::clone(&threads));
                move || {
                    let ((), needs) = runners.change(|calls| calls.ready.push_back(1));
                    start(&runners, &threads, needs);
                }
            });
            let ((), needs) = runners.change(|calls| calls.ready.push_back(2));
            start(&runners, &threads, needs);
            other.join().unwrap();
            join_all(&threads);
            let ((), _) = runners.change(|calls| {
                calls.done.sort_unstable();
                assert_eq!((calls.running, &calls.done[..]), (0, &[1, 2][..]));
            });
        });
    }

    #[test]
    fn with_a_check_that_replaces_runners_every_call_is_made_once() {
        check(|| {
            let runners = Arc::new(CallbackRunners::new(Calls::default()));
            let threads = Arc::new(Mutex::new(Vec::new()));
            let ((), needs) = runners.change(|calls| calls.ready.extend([1, 2]));
            start(&runners, &threads, needs);
            // The check is on from the first call, while the second waits: two looks find it stuck, or done.
            for _ in 0..2 {
                let tick = runners.tick();
                start(&runners, &threads, Needs { runner: tick.runner, hang_check: false });
            }
            join_all(&threads);
            let ((), _) = runners.change(|calls| {
                calls.done.sort_unstable();
                assert_eq!((calls.running, &calls.done[..]), (0, &[1, 2][..]));
            });
        });
    }

    #[test]
    fn a_runner_that_is_never_run_is_replaced() {
        check(|| {
            let runners = Arc::new(CallbackRunners::new(Calls::default()));
            let threads = Arc::new(Mutex::new(Vec::new()));
            let ((), needs) = runners.change(|calls| calls.ready.push_back(1));
            let dropped = needs.runner.expect("there is work");
            let other = thread::spawn({
                let (runners, threads) = (Arc::clone(&runners), Arc::clone(&threads));
                move || {
                    let needs = runners.lost(dropped);
                    start(&runners, &threads, needs);
                }
            });
            let ((), needs) = runners.change(|calls| calls.ready.push_back(2));
            start(&runners, &threads, needs);
            other.join().unwrap();
            join_all(&threads);
            let ((), _) = runners.change(|calls| assert_eq!((calls.running, calls.done.len()), (0, 2)));
        });
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    impl Work for Vec<u32> {
        fn has_ready(&self) -> bool {
            !self.is_empty()
        }
    }

    fn take(runners: &CallbackRunners<Vec<u32>>, me: RunnerId) -> (Option<u32>, bool) {
        let (taken, needs) = runners.next(me, |_| (), Vec::pop);
        assert_eq!(needs.runner, None);
        (taken, needs.hang_check)
    }

    fn push(runners: &CallbackRunners<Vec<u32>>, call: u32) -> Needs {
        runners.change(|calls| calls.push(call)).1
    }

    #[test]
    fn one_runner_is_started_and_takes_all_there_is() {
        let runners = CallbackRunners::new(Vec::new());
        let me = push(&runners, 1).runner.expect("there is work");
        assert_eq!(push(&runners, 2).runner, None);
        assert_eq!(take(&runners, me), (Some(2), true));
        assert_eq!(take(&runners, me), (Some(1), false));
        assert_eq!(take(&runners, me), (None, false));
        assert!(push(&runners, 3).runner.is_some(), "it has ended");
    }

    #[test]
    fn a_runner_is_replaced_if_its_call_lasts_while_others_wait_and_not_otherwise() {
        let runners = CallbackRunners::new(Vec::new());
        let me = push(&runners, 1).runner.expect("there is work");
        let tick = runners.tick();
        assert!(tick.runner.is_none() && !tick.again, "it is still to be run");
        assert_eq!(take(&runners, me), (Some(1), false));
        let tick = runners.tick();
        assert!(tick.runner.is_none() && !tick.again, "nobody waits");

        let needs = push(&runners, 2);
        assert!(needs.runner.is_none() && needs.hang_check);
        let second = runners.tick().runner.expect("it was in the same call");
        assert_eq!(take(&runners, me), (None, false), "it has been replaced");
        assert_eq!(take(&runners, second), (Some(2), false));
        assert_eq!(take(&runners, second), (None, false));
        push(&runners, 3).runner.expect("all have ended");
    }

    #[test]
    fn a_runner_between_calls_is_not_replaced() {
        let runners = CallbackRunners::new(vec![1, 2, 3]);
        let me = push(&runners, 4).runner.expect("there is work");
        assert_eq!(take(&runners, me), (Some(4), true));
        assert_eq!(take(&runners, me), (Some(3), false), "the check for hangs is on");
        let tick = runners.tick();
        assert!(tick.runner.is_none() && tick.again, "another call than when it was switched on");
        assert!(runners.tick().runner.is_some());
    }

    #[test]
    fn a_replaced_runner_goes_on_if_the_other_has_ended() {
        let runners = CallbackRunners::new(Vec::new());
        let me = push(&runners, 1).runner.expect("there is work");
        assert_eq!(take(&runners, me).0, Some(1));
        assert!(push(&runners, 2).hang_check);
        let second = runners.tick().runner.expect("it was in the same call");
        assert_eq!(take(&runners, second).0, Some(2));
        assert_eq!(take(&runners, second).0, None);
        let (taken, needs) = runners.next(me, |calls| calls.push(3), Vec::pop);
        assert_eq!((taken, needs.runner), (Some(3), None));
    }

    #[test]
    fn what_could_not_be_started_is_tried_again_with_the_next_tick() {
        let runners = CallbackRunners::new(Vec::new());
        let first = push(&runners, 1).runner.expect("there is work");
        let second = runners.lost(first).runner.expect("there still is");
        assert!(runners.postpone(second).hang_check);
        assert!(runners.tick().runner.is_some());
    }
}
