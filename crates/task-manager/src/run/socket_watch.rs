//! Which of the two threads of a worker process watches its socket: the one that runs the tasks, or the I/O thread.
//!
//! An idle task thread watches by itself: a task that comes to an idle worker then starts without passing from one
//! thread to another. While a task runs, nobody watches at first; the I/O thread looks after a [`TICK`], and takes
//! the watch if it finds the same task running still, or at once if somebody waits for an answer. An idle task thread
//! asks for the watch back. (A worker that is a thread has no socket: there the watch stays with an I/O thread that is
//! not there, and the task thread waits to be told.)
//!
//! This decides alone. The queue asks it under its own lock, and wakes the thread that it names.
//!
//! Invariants:
//! - Never do both threads watch.
//! - Somebody watches, or will look within a tick, or is being woken up to; but for an idle task thread, which is about to ask.
//! - While the task thread watches, the I/O thread neither watches nor ticks.
//!
//! [`TICK`]: crate::worker::outbox::TICK

use super::running::Running;

/// Who watches, and who wants to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(super) struct SocketWatch {
    watcher: Watcher,
    /// The task thread is idle and wants to watch.
    wanted: bool,
    /// Somebody waits for an answer while a task runs.
    answer_wanted: bool,
    /// The I/O thread will look again without being woken.
    armed: bool,
    /// What ran when the I/O thread last looked.
    seen_lease: u64,
}

/// Which thread watches the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
enum Watcher {
    /// From the start, while the sessions are made, and while a long task runs.
    #[default]
    Io,
    Task,
    /// A task has begun not long ago.
    Nobody,
}

/// What the I/O thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct IoTurn {
    /// Watch the socket.
    pub(crate) watch: bool,
    /// Look again after a tick.
    pub(crate) tick: bool,
}

impl SocketWatch {
    /// The task thread is back from its watch, or from what it ran.
    pub(super) fn come_back(&mut self) {
        if self.watcher == Watcher::Task {
            self.watcher = Watcher::Nobody;
        }
    }

    /// The task thread begins a task. True if the I/O thread has to be woken up: it will watch if this takes long.
    pub(super) fn begin_task(&mut self) -> bool {
        let wake = self.watcher == Watcher::Nobody && !self.armed;
        self.armed |= wake;
        self.wanted = false;
        wake
    }

    /// The idle task thread takes the watch, if nobody has it.
    pub(super) fn take(&mut self) -> bool {
        let takes = self.is_free();
        if takes {
            self.watcher = Watcher::Task;
        }
        takes
    }

    /// The idle task thread wants the watch. True if the I/O thread has to be woken up: it does not know yet.
    pub(super) fn ask(&mut self) -> bool {
        !std::mem::replace(&mut self.wanted, true)
    }

    /// The task thread goes elsewhere: the thread that has the watch keeps it.
    pub(super) fn stop_asking(&mut self) {
        self.wanted = false;
    }

    /// The task thread does not come back. True if the I/O thread has to be woken up: it has to see the end of the connection.
    pub(super) fn end(&mut self) -> bool {
        self.wanted = false;
        let wake = self.is_free();
        if wake {
            self.watcher = Watcher::Io;
        }
        wake
    }

    /// Somebody is about to wait for an answer. True if the I/O thread has to be woken up to watch for it.
    pub(super) fn want_answer(&mut self) -> bool {
        let wake = self.is_free();
        self.answer_wanted |= wake;
        wake
    }

    /// Nobody watches: the task thread may.
    pub(super) fn is_free(&self) -> bool {
        self.watcher == Watcher::Nobody
    }

    /// What comes next for the I/O thread, while this runs.
    pub(super) fn io_turn(&mut self, running: &Running) -> IoTurn {
        let turn = match self.watcher {
            Watcher::Task => IoTurn { watch: false, tick: false },
            Watcher::Io if self.wanted => {
                self.wanted = false;
                self.watcher = Watcher::Nobody;
                // Until the task thread has taken it.
                IoTurn { watch: false, tick: true }
            }
            Watcher::Io => IoTurn { watch: true, tick: false },
            Watcher::Nobody => {
                let long = running.single() != 0 && running.single() == self.seen_lease;
                let watch = long || self.answer_wanted || running.has_concurrent();
                if watch {
                    self.watcher = Watcher::Io;
                }
                IoTurn { watch, tick: !watch }
            }
        };
        self.seen_lease = running.single();
        self.answer_wanted = false;
        self.armed = turn.tick;
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Where the task thread is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum TaskThread {
        /// About to ask what is to be done.
        Idle,
        /// It has asked for the watch.
        Waits,
        Watches,
        /// With this task.
        Runs(u64),
        /// In the program, which calls the worker when it likes.
        Away,
        Gone,
    }

    /// A worker, as far as watching goes.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Worker {
        watch: SocketWatch,
        task: TaskThread,
        io: IoTurn,
        /// The I/O thread is being woken up.
        woken: bool,
    }

    impl Worker {
        fn after(&self, step: impl FnOnce(&mut Self)) -> Self {
            let mut after = self.clone();
            step(&mut after);
            after
        }

        /// What may come next, in any order of events.
        fn next(&self) -> Vec<Self> {
            let mut next = Vec::new();
            let mut step = |step: fn(&mut Self)| next.push(self.after(step));
            if self.woken || self.io.tick || self.io.watch {
                step(|worker| {
                    let mut running = Running::default();
                    if let TaskThread::Runs(lease) = worker.task {
                        running.set_single(Some(lease));
                    }
                    worker.woken = false;
                    worker.io = worker.watch.io_turn(&running);
                });
            }
            let comes_back = |worker: &mut Self| {
                worker.watch.come_back();
                worker.task = TaskThread::Idle;
            };
            match self.task {
                TaskThread::Idle => {
                    let begins = |worker: &mut Self, lease| {
                        worker.woken |= worker.watch.begin_task();
                        worker.task = TaskThread::Runs(lease);
                    };
                    next.extend([1, 2].map(|lease| self.after(|worker| begins(worker, lease))));
                    next.push(self.after(|worker| {
                        worker.woken |= worker.watch.end();
                        worker.task = TaskThread::Gone;
                    }));
                    next.push(self.after(|worker| {
                        worker.watch.stop_asking();
                        worker.woken |= worker.watch.want_answer();
                        worker.task = TaskThread::Away;
                    }));
                    next.push(self.after(|worker| {
                        if worker.watch.take() {
                            worker.task = TaskThread::Watches;
                        } else {
                            worker.woken |= worker.watch.ask();
                            worker.task = TaskThread::Waits;
                        }
                    }));
                }
                TaskThread::Waits => next.push(self.after(|worker| worker.task = TaskThread::Idle)),
                TaskThread::Watches | TaskThread::Away => next.push(self.after(comes_back)),
                TaskThread::Runs(_) => {
                    next.push(self.after(comes_back));
                    next.push(self.after(|worker| worker.woken |= worker.watch.want_answer()));
                }
                TaskThread::Gone => {}
            }
            next
        }

        fn check(&self) {
            let task_watches = self.task == TaskThread::Watches;
            assert!(!(task_watches && self.io.watch), "both watch: {self:?}");
            let io_sees_to_it = self.io.watch || self.io.tick || self.woken;
            assert!(
                task_watches || io_sees_to_it || self.task == TaskThread::Idle,
                "nobody watches: {self:?}"
            );
            let hears = self.watch.is_free() || self.woken || self.io.tick;
            assert!(self.task != TaskThread::Waits || hears, "it waits in vain: {self:?}");
        }
    }

    #[test]
    fn in_whatever_order_things_happen_somebody_watches_or_looks_soon() {
        let watch = SocketWatch::default();
        let first =
            Worker { watch, task: TaskThread::Idle, io: IoTurn { watch: false, tick: false }, woken: true };
        let (mut seen, mut open) = (HashSet::from([first.clone()]), vec![first]);
        while let Some(worker) = open.pop() {
            worker.check();
            open.extend(worker.next().into_iter().filter(|next| seen.insert(next.clone())));
        }
        let is_reached = |wanted: fn(&Worker) -> bool| seen.iter().any(wanted);
        assert!(is_reached(|worker| worker.task == TaskThread::Watches && !worker.io.tick && !worker.woken));
        assert!(is_reached(|worker| matches!(worker.task, TaskThread::Runs(_)) && worker.io.watch));
    }
}
