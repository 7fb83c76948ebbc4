//! Where tasks come in from any thread, and who has to see to them.
//!
//! A lock that is held for a few instructions. Whoever pushes learns whether a worker *hungers* for what was pushed,
//! and only then has to turn the core; otherwise some event will.
//!
//! Invariants:
//! - No command is stranded: what lies here is either such that nobody hungers for it, and some event will turn the
//!   core, or whoever pushed it is about to turn the core. The hunger is only changed by a turn that looks, under
//!   the same lock, for what came meanwhile.
//! - Sequence numbers are given out here, in the order in which commands are taken.

use std::sync::PoisonError;

use crate::sync::{Mutex, MutexGuard};

/// Something for the core to see to.
pub(super) trait Command {
    /// What a core can want at once.
    type Hunger: Copy + Default + std::fmt::Debug;

    /// Whether a core with this hunger has to see to it at once.
    fn is_urgent(&self, hunger: Self::Hunger) -> bool;
}

#[derive(Debug)]
pub(super) struct Intake<C: Command> {
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C: Command> {
    commands: Vec<C>,
    next_sequence: u64,
    hunger: C::Hunger,
    closed: bool,
}

/// What became of a command.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) sequence: u64,
    /// The core has to be turned for it, by whoever pushed it.
    pub(super) turn: bool,
}

/// The intake's memory is kept up to this many commands.
const KEPT_COMMANDS: usize = 4096;

impl<C: Command> Intake<C> {
    pub(super) fn new() -> Self {
        let hunger = C::Hunger::default();
        Self { state: Mutex::new(State { commands: Vec::new(), next_sequence: 0, hunger, closed: false }) }
    }

    /// Takes in a new task and gives it a number, with which `command` makes the command of it before anybody else sees it.
    /// If newcomers are refused, the task comes back.
    pub(super) fn push_new<T>(&self, task: T, command: impl FnOnce(u64, T) -> C) -> Result<Pushed, T> {
        let mut state = self.lock();
        if state.closed {
            return Err(task);
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        let command = command(sequence, task);
        let turn = command.is_urgent(state.hunger);
        state.commands.push(command);
        Ok(Pushed { sequence, turn })
    }

    /// Takes in what is no new task; whoever pushes it turns the core.
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

    /// How many such commands nobody has taken yet.
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

    /// For the core, which has carried out what it took: notes its hunger, unless something came that it hungers for;
    /// that is moved into `commands`, and has to be seen to first. True if so.
    pub(super) fn settle(&self, hunger: C::Hunger, commands: &mut Vec<C>) -> bool {
        let mut state = self.lock();
        let more = state.commands.iter().any(|command| command.is_urgent(hunger));
        if more {
            Self::take_locked(&mut state, commands);
        } else {
            state.hunger = hunger;
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

    use super::{Command, Intake};

    struct Task;

    impl Command for Task {
        type Hunger = Option<u8>;

        fn is_urgent(&self, hunger: Option<u8>) -> bool {
            hunger.is_some()
        }
    }

    /// A core with one worker, which takes one task at a time.
    #[derive(Default)]
    struct Core {
        queued: usize,
        busy: bool,
        dispatched: usize,
    }

    fn turn(intake: &Intake<Task>, core: &Mutex<Core>, change: impl FnOnce(&mut Core)) {
        let mut core = core.lock().unwrap();
        let mut commands = Vec::new();
        intake.take(&mut commands);
        change(&mut core);
        loop {
            core.queued += commands.drain(..).count();
            if core.queued > 0 && !core.busy {
                core.queued -= 1;
                core.busy = true;
                core.dispatched += 1;
            }
            if !intake.settle((!core.busy).then_some(0), &mut commands) {
                return;
            }
        }
    }

    #[test]
    fn no_task_is_stranded_while_a_worker_is_free() {
        loom::model(|| {
            let shared = Arc::new((Intake::new(), Mutex::new(Core { busy: true, ..Core::default() })));
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        let (intake, core) = &*shared;
                        if intake.push_new(Task, |_, task| task).is_ok_and(|pushed| pushed.turn) {
                            turn(intake, core, |_| ());
                        }
                    })
                })
                .collect();
            // What the worker had in hand ends: the event that the callers may rely on.
            let (intake, core) = &*shared;
            turn(intake, core, |core| core.busy = false);
            for caller in callers {
                caller.join().unwrap();
            }
            assert_eq!(core.lock().unwrap().dispatched, 1, "the free worker got one of the two");
            turn(intake, core, |core| core.busy = false);
            assert_eq!(core.lock().unwrap().dispatched, 2, "and then the other");
        });
    }
}
