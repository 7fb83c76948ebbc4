//! The runners: who calls what is ready, without one that hangs keeping the rest waiting.
//!
//! Invariants, under the one lock:
//! - There is at most one *current* runner. It takes what is ready, and ends, in the same critical section, when there is
//!   nothing. So whatever becomes ready either finds it or starts another: no wake-up is lost.
//! - A runner that was replaced, because its call took too long, takes nothing more while there is a current one.
//! - While something is ready and the current runner is in a call, the watch is on: somebody calls [`Crew::tick`] again and
//!   again.

use crate::sync::{Mutex, MutexGuard};

/// What the runners work on.
pub(crate) trait Work {
    /// Whether there is something to call.
    fn has_ready(&self) -> bool;
}

/// The work and those who do it, behind one lock.
#[derive(Debug)]
pub(crate) struct Crew<W>(Mutex<Inner<W>>);

#[derive(Debug)]
struct Inner<W> {
    work: W,
    current: Option<Current>,
    /// How many runners were started: the last one's number.
    started: u64,
    /// How many calls have begun.
    calls: u64,
    watch: Watch,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    runner: RunnerId,
    /// It is in a call, or between two: it was run.
    runs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
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
#[must_use = "what is ready would wait for ever"]
pub(crate) struct Needs {
    /// Start this runner.
    pub(crate) runner: Option<RunnerId>,
    /// The watch was off and is on.
    pub(crate) watch: bool,
}

/// What the watch found.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Start this runner.
    pub(crate) runner: Option<RunnerId>,
    /// The watch goes on.
    pub(crate) again: bool,
}

impl<W: Work> Crew<W> {
    pub(crate) fn new(work: W) -> Self {
        Self(Mutex::new(Inner { work, current: None, started: 0, calls: 0, watch: Watch::Off }))
    }

    /// Does something with the work.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut W) -> T) -> (T, Needs) {
        let mut inner = self.lock();
        let changed = change(&mut inner.work);
        let runner = inner.start_if_needed();
        let watch = inner.watch_if_needed();
        (changed, Needs { runner, watch })
    }

    /// A runner has done a call, which it tells with `finish`, and asks for the next. With none, it has to end.
    pub(crate) fn turn<T>(
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
        let watch = inner.watch_if_needed();
        (taken, Needs { runner: None, watch })
    }

    /// A runner will not be run, or not any more. If it was the current one and something is ready, somebody else has to be
    /// started.
    pub(crate) fn lost(&self, runner: RunnerId) -> Needs {
        let mut inner = self.lock();
        if inner.current.is_some_and(|current| current.runner == runner) {
            inner.current = None;
        }
        let runner = inner.start_if_needed();
        Needs { runner, watch: false }
    }

    /// Nobody could be started: the next tick tries again.
    pub(crate) fn postpone(&self, runner: RunnerId) -> Needs {
        let mut inner = self.lock();
        if inner.current.is_some_and(|current| current.runner == runner) {
            inner.current = None;
        }
        let watch = inner.watch == Watch::Off;
        inner.watch = Watch::On { calls: inner.calls };
        Needs { runner: None, watch }
    }

    /// Looks whether the current runner is still in the call that it was in at the last look. If so, and something is ready,
    /// it is replaced.
    pub(crate) fn tick(&self) -> Tick {
        let mut inner = self.lock();
        let same_call = inner.watch == Watch::On { calls: inner.calls };
        if same_call && inner.work.has_ready() && inner.current.is_some_and(|current| current.runs) {
            inner.current = None;
        }
        inner.watch = Watch::Off;
        let runner = inner.start_if_needed();
        let again = inner.watch_if_needed();
        Tick { runner, again }
    }

    /// Whether somebody has to [`tick`](Self::tick) again and again.
    pub(crate) fn is_watched(&self) -> bool {
        self.lock().watch != Watch::Off
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

    fn watch_if_needed(&mut self) -> bool {
        let in_call = self.current.is_some_and(|current| current.runs);
        if self.watch != Watch::Off || !in_call || !self.work.has_ready() {
            return false;
        }
        self.watch = Watch::On { calls: self.calls };
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

    fn start(crew: &Arc<Crew<Calls>>, threads: &Arc<Threads>, needs: Needs) {
        if let Some(me) = needs.runner {
            let (crew, mine) = (Arc::clone(crew), Arc::clone(threads));
            let runner = thread::spawn(move || run(&crew, &mine, me));
            threads.lock().unwrap().push(runner);
        }
    }

    fn run(crew: &Arc<Crew<Calls>>, threads: &Arc<Threads>, me: RunnerId) {
        let mut call = None;
        loop {
            let finish = |calls: &mut Calls| {
                if let Some(call) = call {
                    calls.running -= 1;
                    calls.done.push(call);
                }
            };
            let (next, needs) = crew.turn(me, finish, |calls| {
                let call = calls.ready.pop_front()?;
                calls.running += 1;
                Some(call)
            });
            start(crew, threads, needs);
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
            let crew = Arc::new(Crew::new(Calls::default()));
            let threads = Arc::new(Mutex::new(Vec::new()));
            let other = thread::spawn({
                let (crew, threads) = (Arc::clone(&crew), Arc::clone(&threads));
                move || {
                    let ((), needs) = crew.change(|calls| calls.ready.push_back(1));
                    start(&crew, &threads, needs);
                }
            });
            let ((), needs) = crew.change(|calls| calls.ready.push_back(2));
            start(&crew, &threads, needs);
            other.join().unwrap();
            join_all(&threads);
            let ((), _) = crew.change(|calls| {
                calls.done.sort_unstable();
                assert_eq!((calls.running, &calls.done[..]), (0, &[1, 2][..]));
            });
        });
    }

    #[test]
    fn with_a_watch_that_replaces_runners_every_call_is_made_once() {
        check(|| {
            let crew = Arc::new(Crew::new(Calls::default()));
            let threads = Arc::new(Mutex::new(Vec::new()));
            let ((), needs) = crew.change(|calls| calls.ready.extend([1, 2]));
            start(&crew, &threads, needs);
            // The watch is on from the first call, while the second waits: two looks find it stuck, or done.
            for _ in 0..2 {
                let tick = crew.tick();
                start(&crew, &threads, Needs { runner: tick.runner, watch: false });
            }
            join_all(&threads);
            let ((), _) = crew.change(|calls| {
                calls.done.sort_unstable();
                assert_eq!((calls.running, &calls.done[..]), (0, &[1, 2][..]));
            });
        });
    }

    #[test]
    fn a_runner_that_is_never_run_is_replaced() {
        check(|| {
            let crew = Arc::new(Crew::new(Calls::default()));
            let threads = Arc::new(Mutex::new(Vec::new()));
            let ((), needs) = crew.change(|calls| calls.ready.push_back(1));
            let dropped = needs.runner.expect("there is work");
            let other = thread::spawn({
                let (crew, threads) = (Arc::clone(&crew), Arc::clone(&threads));
                move || {
                    let needs = crew.lost(dropped);
                    start(&crew, &threads, needs);
                }
            });
            let ((), needs) = crew.change(|calls| calls.ready.push_back(2));
            start(&crew, &threads, needs);
            other.join().unwrap();
            join_all(&threads);
            let ((), _) = crew.change(|calls| assert_eq!((calls.running, calls.done.len()), (0, 2)));
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

    fn take(crew: &Crew<Vec<u32>>, me: RunnerId) -> (Option<u32>, bool) {
        let (taken, needs) = crew.turn(me, |_| (), Vec::pop);
        assert_eq!(needs.runner, None);
        (taken, needs.watch)
    }

    fn push(crew: &Crew<Vec<u32>>, call: u32) -> Needs {
        crew.change(|calls| calls.push(call)).1
    }

    #[test]
    fn one_runner_is_started_and_takes_all_there_is() {
        let crew = Crew::new(Vec::new());
        let me = push(&crew, 1).runner.expect("there is work");
        assert_eq!(push(&crew, 2).runner, None);
        assert_eq!(take(&crew, me), (Some(2), true));
        assert_eq!(take(&crew, me), (Some(1), false));
        assert_eq!(take(&crew, me), (None, false));
        assert!(push(&crew, 3).runner.is_some(), "it has ended");
    }

    #[test]
    fn a_runner_is_replaced_if_its_call_lasts_while_others_wait_and_not_otherwise() {
        let crew = Crew::new(Vec::new());
        let me = push(&crew, 1).runner.expect("there is work");
        let tick = crew.tick();
        assert!(tick.runner.is_none() && !tick.again, "it is still to be run");
        assert_eq!(take(&crew, me), (Some(1), false));
        let tick = crew.tick();
        assert!(tick.runner.is_none() && !tick.again, "nobody waits");

        let needs = push(&crew, 2);
        assert!(needs.runner.is_none() && needs.watch);
        let second = crew.tick().runner.expect("it was in the same call");
        assert_eq!(take(&crew, me), (None, false), "it has been replaced");
        assert_eq!(take(&crew, second), (Some(2), false));
        assert_eq!(take(&crew, second), (None, false));
        push(&crew, 3).runner.expect("all have ended");
    }

    #[test]
    fn a_runner_between_calls_is_not_replaced() {
        let crew = Crew::new(vec![1, 2, 3]);
        let me = push(&crew, 4).runner.expect("there is work");
        assert_eq!(take(&crew, me), (Some(4), true));
        assert_eq!(take(&crew, me), (Some(3), false), "the watch is on");
        let tick = crew.tick();
        assert!(tick.runner.is_none() && tick.again, "another call than when it was switched on");
        assert!(crew.tick().runner.is_some());
    }

    #[test]
    fn a_replaced_runner_goes_on_if_the_other_has_ended() {
        let crew = Crew::new(Vec::new());
        let me = push(&crew, 1).runner.expect("there is work");
        assert_eq!(take(&crew, me).0, Some(1));
        assert!(push(&crew, 2).watch);
        let second = crew.tick().runner.expect("it was in the same call");
        assert_eq!(take(&crew, second).0, Some(2));
        assert_eq!(take(&crew, second).0, None);
        let (taken, needs) = crew.turn(me, |calls| calls.push(3), Vec::pop);
        assert_eq!((taken, needs.runner), (Some(3), None));
    }

    #[test]
    fn what_could_not_be_started_is_tried_again_with_the_next_tick() {
        let crew = Crew::new(Vec::new());
        let first = push(&crew, 1).runner.expect("there is work");
        let second = crew.lost(first).runner.expect("there still is");
        assert!(crew.postpone(second).watch);
        assert!(crew.tick().runner.is_some());
    }
}
