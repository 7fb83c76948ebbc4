//! The submission queue: any thread pushes commands, and the thread that holds the core takes them.
//!
//! Its lock is held for a few instructions. The caller that pushes a command learns whether a worker has *demand* for it: whether
//! some worker should get it now rather than with its next batch. If so, the caller runs the core itself; if not, a later event
//! runs it.
//!
//! Invariants:
//! - No command is stranded. Either no worker has demand for a command in the queue, and a later event runs the core; or the
//!   caller that pushed it is about to run the core. The demand changes only in a run of the core, which looks under the same
//!   lock for commands that came meanwhile.
//! - Sequence numbers are given out here, in the order in which commands are taken.

use std::sync::PoisonError;

use crate::sync::{Mutex, MutexGuard};

/// A command for the core.
pub(super) trait Submission {
    /// What the core's workers should get at once.
    type Demand: Copy + Default + std::fmt::Debug;

    /// Whether the core has to run at once for this command, if this is its demand.
    fn is_urgent(&self, demand: Self::Demand) -> bool;
}

#[derive(Debug)]
pub(super) struct SubmissionQueue<C: Submission> {
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C: Submission> {
    commands: Vec<C>,
    next_sequence: u64,
    demand: C::Demand,
    closed: bool,
}

/// What became of a command.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) sequence: u64,
    /// The caller that pushed it has to run the core now.
    pub(super) is_urgent: bool,
}

/// The submission queue's memory is kept up to this many commands.
const KEPT_COMMANDS: usize = 4096;

impl<C: Submission> SubmissionQueue<C> {
    pub(super) fn new() -> Self {
        let demand = C::Demand::default();
        Self { state: Mutex::new(State { commands: Vec::new(), next_sequence: 0, demand, closed: false }) }
    }

    /// Takes in a new task and gives it a number. `command` makes the command from both, under the lock. If the queue is
    /// closed, the task comes back.
    pub(super) fn push_new<T>(&self, task: T, command: impl FnOnce(u64, T) -> C) -> Result<Pushed, T> {
        let mut state = self.lock();
        if state.closed {
            return Err(task);
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        let command = command(sequence, task);
        let is_urgent = command.is_urgent(state.demand);
        state.commands.push(command);
        Ok(Pushed { sequence, is_urgent })
    }

    /// Takes in a command that is no new task. The caller runs the core afterwards.
    pub(super) fn push(&self, command: C) {
        self.lock().commands.push(command);
    }

    /// Refuses newcomers from now on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many such commands the core has not taken yet.
    pub(super) fn count(&self, which: impl Fn(&C) -> bool) -> usize {
        self.lock().commands.iter().filter(|command| which(command)).count()
    }

    /// For the core: moves everything into `commands`, which is empty.
    pub(super) fn take(&self, commands: &mut Vec<C>) {
        Self::take_locked(&mut self.lock(), commands);
    }

    /// For the core: like [`take`](Self::take), and then, before anything else can come in, `add` takes something from
    /// elsewhere, which has the number that it is given; if it takes nothing, it says so.
    pub(super) fn take_and_add(&self, commands: &mut Vec<C>, add: impl FnOnce(&mut Vec<C>, u64) -> bool) {
        let mut state = self.lock();
        Self::take_locked(&mut state, commands);
        if add(commands, state.next_sequence) {
            state.next_sequence += 1;
        }
    }

    /// For the core, after it has carried out what it took: notes its demand. If commands have come meanwhile for which
    /// it has demand, they are moved into `commands` instead, to be carried out first. Returns whether that is so.
    pub(super) fn note_demand(&self, demand: C::Demand, commands: &mut Vec<C>) -> bool {
        let mut state = self.lock();
        let more = state.commands.iter().any(|command| command.is_urgent(demand));
        if more {
            Self::take_locked(&mut state, commands);
        } else {
            state.demand = demand;
        }
        more
    }

    fn take_locked(state: &mut State<C>, commands: &mut Vec<C>) {
        debug_assert!(commands.is_empty(), "what was taken is carried out first");
        commands.shrink_to(KEPT_COMMANDS);
        std::mem::swap(&mut state.commands, commands);
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, workfleet_loom))]
mod models {
    //! Two callers and the manager's thread, in every order that their locks allow.

    use loom::{
        sync::{Arc, Mutex},
        thread,
    };

    use super::{Submission, SubmissionQueue};

    struct Task;

    impl Submission for Task {
        type Demand = Option<u8>;

        fn is_urgent(&self, demand: Option<u8>) -> bool {
            demand.is_some()
        }
    }

    /// A core with one worker, which takes one task at a time.
    #[derive(Default)]
    struct Core {
        queued: usize,
        busy: bool,
        dispatched: usize,
    }

    fn run_core(submissions: &SubmissionQueue<Task>, core: &Mutex<Core>, change: impl FnOnce(&mut Core)) {
        let mut core = core.lock().unwrap();
        let mut commands = Vec::new();
        submissions.take(&mut commands);
        change(&mut core);
        loop {
            core.queued += commands.drain(..).count();
            if core.queued > 0 && !core.busy {
                core.queued -= 1;
                core.busy = true;
                core.dispatched += 1;
            }
            if !submissions.note_demand((!core.busy).then_some(0), &mut commands) {
                return;
            }
        }
    }

    #[test]
    fn no_task_is_stranded_while_a_worker_is_free() {
        loom::model(|| {
            let shared =
                Arc::new((SubmissionQueue::new(), Mutex::new(Core { busy: true, ..Core::default() })));
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        let (submissions, core) = &*shared;
                        if submissions.push_new(Task, |_, task| task).is_ok_and(|pushed| pushed.is_urgent) {
                            run_core(submissions, core, |_| ());
                        }
                    })
                })
                .collect();
            // What the worker had in hand ends: the event that the callers may rely on.
            let (submissions, core) = &*shared;
            run_core(submissions, core, |core| core.busy = false);
            for caller in callers {
                caller.join().unwrap();
            }
            assert_eq!(core.lock().unwrap().dispatched, 1, "the free worker got one of the two");
            run_core(submissions, core, |core| core.busy = false);
            assert_eq!(core.lock().unwrap().dispatched, 2, "and then the other");
        });
    }
}
