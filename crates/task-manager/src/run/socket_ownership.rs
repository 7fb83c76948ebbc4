//! Which of the two threads of a worker process owns its socket: the thread that runs the tasks, or the I/O thread. The owner
//! waits for the socket to become readable, and reads it.
//!
//! An idle task thread owns the socket. So a task that comes to an idle worker starts without a switch between threads.
//! While a task runs, no thread owns the socket at first. The I/O thread looks after one [`TICK`]: if the same task still
//! runs, the I/O thread takes the socket. It takes it at once if a task waits for an answer. An idle task thread asks for the
//! socket back. (A worker that is a thread has no socket: the owner stays `Io`, and the task thread waits to be woken.)
//!
//! This is a core: the queue calls it under its own lock, and wakes the thread that it names.
//!
//! Invariants:
//! - The two threads never own the socket at once.
//! - One thread owns the socket, or the I/O thread looks within a tick or is being woken, or the idle task thread is about to
//!   ask for it.
//! - While the task thread owns the socket, the I/O thread neither polls it nor ticks.
//!
//! [`TICK`]: crate::worker::outbox::TICK

use super::running::Running;

/// Which thread owns the socket, and which wants to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(super) struct SocketOwnership {
    owner: Owner,
    /// The task thread is idle and wants the socket.
    wanted: bool,
    /// Somebody waits for an answer while a task runs.
    answer_wanted: bool,
    /// The I/O thread will look again without being woken.
    armed: bool,
    /// What ran when the I/O thread last looked.
    seen_lease: u64,
}

/// Which thread owns the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
enum Owner {
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
pub(crate) struct IoStep {
    /// Wait for the socket to become readable.
    pub(crate) poll_socket: bool,
    /// Look again after a tick.
    pub(crate) tick: bool,
}

impl SocketOwnership {
    /// The task thread is back from the socket, or from what it ran.
    pub(super) fn come_back(&mut self) {
        if self.owner == Owner::Task {
            self.owner = Owner::Nobody;
        }
    }

    /// The task thread begins a task. True if the I/O thread has to be woken up: it will poll the socket if this takes long.
    pub(super) fn begin_task(&mut self) -> bool {
        let wake = self.owner == Owner::Nobody && !self.armed;
        self.armed |= wake;
        self.wanted = false;
        wake
    }

    /// The idle task thread takes the socket, if nobody owns it.
    pub(super) fn take(&mut self) -> bool {
        let takes = self.is_free();
        if takes {
            self.owner = Owner::Task;
        }
        takes
    }

    /// The idle task thread wants the socket. True if the I/O thread has to be woken up: it does not know yet.
    pub(super) fn ask(&mut self) -> bool {
        !std::mem::replace(&mut self.wanted, true)
    }

    /// The task thread goes elsewhere: the thread that owns the socket keeps it.
    pub(super) fn stop_asking(&mut self) {
        self.wanted = false;
    }

    /// The task thread does not come back. True if the I/O thread has to be woken up: it has to see the end of the connection.
    pub(super) fn end(&mut self) -> bool {
        self.wanted = false;
        let wake = self.is_free();
        if wake {
            self.owner = Owner::Io;
        }
        wake
    }

    /// Somebody is about to wait for an answer. True if the I/O thread has to be woken up to wait for it.
    pub(super) fn want_answer(&mut self) -> bool {
        let wake = self.is_free();
        self.answer_wanted |= wake;
        wake
    }

    /// Nobody owns the socket: the task thread may take it.
    pub(super) fn is_free(&self) -> bool {
        self.owner == Owner::Nobody
    }

    /// What comes next for the I/O thread, while this runs.
    pub(super) fn io_step(&mut self, running: &Running) -> IoStep {
        let step = match self.owner {
            Owner::Task => IoStep { poll_socket: false, tick: false },
            Owner::Io if self.wanted => {
                self.wanted = false;
                self.owner = Owner::Nobody;
                // Until the task thread has taken it.
                IoStep { poll_socket: false, tick: true }
            }
            Owner::Io => IoStep { poll_socket: true, tick: false },
            Owner::Nobody => {
                let long = running.single() != 0 && running.single() == self.seen_lease;
                let poll_socket = long || self.answer_wanted || running.has_concurrent();
                if poll_socket {
                    self.owner = Owner::Io;
                }
                IoStep { poll_socket, tick: !poll_socket }
            }
        };
        self.seen_lease = running.single();
        self.answer_wanted = false;
        self.armed = step.tick;
        step
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
        /// It has asked for the socket.
        Waits,
        OwnsSocket,
        /// With this task.
        Runs(u64),
        /// In the program, which calls the worker when it likes.
        Away,
        Gone,
    }

    /// A worker, as far as the socket is concerned.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Worker {
        ownership: SocketOwnership,
        task: TaskThread,
        io: IoStep,
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
            if self.woken || self.io.tick || self.io.poll_socket {
                step(|worker| {
                    let mut running = Running::default();
                    if let TaskThread::Runs(lease) = worker.task {
                        running.set_single(Some(lease));
                    }
                    worker.woken = false;
                    worker.io = worker.ownership.io_step(&running);
                });
            }
            let comes_back = |worker: &mut Self| {
                worker.ownership.come_back();
                worker.task = TaskThread::Idle;
            };
            match self.task {
                TaskThread::Idle => {
                    let begins = |worker: &mut Self, lease| {
                        worker.woken |= worker.ownership.begin_task();
                        worker.task = TaskThread::Runs(lease);
                    };
                    next.extend([1, 2].map(|lease| self.after(|worker| begins(worker, lease))));
                    next.push(self.after(|worker| {
                        worker.woken |= worker.ownership.end();
                        worker.task = TaskThread::Gone;
                    }));
                    next.push(self.after(|worker| {
                        worker.ownership.stop_asking();
                        worker.woken |= worker.ownership.want_answer();
                        worker.task = TaskThread::Away;
                    }));
                    next.push(self.after(|worker| {
                        if worker.ownership.take() {
                            worker.task = TaskThread::OwnsSocket;
                        } else {
                            worker.woken |= worker.ownership.ask();
                            worker.task = TaskThread::Waits;
                        }
                    }));
                }
                TaskThread::Waits => next.push(self.after(|worker| worker.task = TaskThread::Idle)),
                TaskThread::OwnsSocket | TaskThread::Away => next.push(self.after(comes_back)),
                TaskThread::Runs(_) => {
                    next.push(self.after(comes_back));
                    next.push(self.after(|worker| worker.woken |= worker.ownership.want_answer()));
                }
                TaskThread::Gone => {}
            }
            next
        }

        fn check(&self) {
            let task_owns = self.task == TaskThread::OwnsSocket;
            assert!(!(task_owns && self.io.poll_socket), "both own the socket: {self:?}");
            let io_sees_to_it = self.io.poll_socket || self.io.tick || self.woken;
            assert!(
                task_owns || io_sees_to_it || self.task == TaskThread::Idle,
                "nobody owns the socket: {self:?}"
            );
            let hears = self.ownership.is_free() || self.woken || self.io.tick;
            assert!(self.task != TaskThread::Waits || hears, "it waits in vain: {self:?}");
        }
    }

    #[test]
    fn in_whatever_order_things_happen_some_thread_owns_the_socket_or_looks_soon() {
        let ownership = SocketOwnership::default();
        let first = Worker {
            ownership,
            task: TaskThread::Idle,
            io: IoStep { poll_socket: false, tick: false },
            woken: true,
        };
        let (mut seen, mut open) = (HashSet::from([first.clone()]), vec![first]);
        while let Some(worker) = open.pop() {
            worker.check();
            open.extend(worker.next().into_iter().filter(|next| seen.insert(next.clone())));
        }
        let is_reached = |wanted: fn(&Worker) -> bool| seen.iter().any(wanted);
        assert!(is_reached(|worker| worker.task == TaskThread::OwnsSocket
            && !worker.io.tick
            && !worker.woken));
        assert!(is_reached(|worker| matches!(worker.task, TaskThread::Runs(_)) && worker.io.poll_socket));
    }
}
