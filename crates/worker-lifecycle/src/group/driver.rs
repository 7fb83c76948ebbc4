//! The driver of a group: feeds the core with what children, callers and clocks say, and carries out its effects.
//!
//! Invariants:
//! - One task does all of it, so that nothing here is shared but the roster, which others only read.
//! - Every request is answered, at the latest when the group has ended.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use workfleet_causes::{readable, with_sources};
use workfleet_panics::discard;

use super::{
    AddAllError, Child, ChildEvent, ChildId, ChildIncarnation, ChildReport, ChildSpec, Occurrence,
    RemoveError, Roster, StopHookFailure, StopReport,
    control::{Command, Commands},
    core::{Config, Effect, LifeTraits, Mode, SetId, Supervisor, Verdict},
    report::EndedBy,
    roster::Entry,
    stop_hook::{RunningHook, StopHook, StopShared, StoppingChild},
};
use crate::{
    clock::{self, STUCK_AFTER},
    context::WorkerContext,
    error::{StartError, StuckError, WorkerError},
    lifecycle::WorkerState,
    outcome::Outcome,
    reason::StoppedBy,
    reference::WorkerRef,
    shared::{Board, Parent, Shared},
};

/// How many events of children are handled before their effects are carried out.
const EVENT_BATCH: usize = 128;

/// A child as its driver knows it.
struct Slot {
    spec: ChildSpec,
    name: String,
    /// Its present or last incarnation.
    worker: Option<WorkerRef>,
    /// Why its last incarnation did not even begin.
    refused: Option<StartError>,
    /// When it was asked to stop.
    asked: Option<Instant>,
    /// Wait for its removal.
    removed: Vec<oneshot::Sender<Result<Outcome, RemoveError>>>,
    is_stuck: bool,
    /// It is to go, and not to be restarted.
    is_leaving: bool,
    /// As the stop hook knows it.
    stopping: Option<Arc<StopShared>>,
}

impl Slot {
    fn new(spec: ChildSpec) -> Self {
        let name = spec.name().to_owned();
        Self {
            spec,
            name,
            worker: None,
            refused: None,
            asked: None,
            removed: Vec::new(),
            is_stuck: false,
            is_leaving: false,
            stopping: None,
        }
    }

    fn outcome(&self) -> Outcome {
        self.worker.as_ref().and_then(WorkerRef::outcome).unwrap_or_else(Outcome::never_started)
    }

    /// Why it did not come up, or how it failed, in words, with the sources: nobody can ask a text for them.
    fn failure(&self) -> String {
        match &self.refused {
            Some(refused) => with_sources(refused),
            None => self.outcome().in_full(),
        }
    }

    fn stuck(&self) -> StuckError {
        StuckError { name: self.name.clone(), overdue: STUCK_AFTER }
    }
}

/// How a group failed: because of which child.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A child did not come up with the group.
    #[error("the child `{child}` did not start: {reason}")]
    DidNotStart {
        /// Its name.
        child: String,
        /// How it failed.
        reason: String,
    },
    /// A child failed that is not restarted.
    #[error("the child `{child}` failed: {reason}")]
    Failed {
        /// Its name.
        child: String,
        /// How it failed.
        reason: String,
    },
    /// A child ended that should be restarted, and the budget is spent.
    #[error(
        "the child `{child}` ended, and the budget of {limit} restarts within {window:?} is spent: {reason}"
    )]
    Exhausted {
        /// Its name.
        child: String,
        /// How it ended.
        reason: String,
        /// The budget's limit.
        limit: u32,
        /// The budget's window.
        window: Duration,
    },
    /// Its stop hook returned an error or panicked.
    #[error("{reason}")]
    StopHook {
        /// How it failed.
        reason: String,
    },
    /// A child was to be stopped for a restart and is stuck.
    #[error("the child `{child}` is stuck and cannot be restarted")]
    Stuck {
        /// Its name.
        child: String,
    },
}

readable!(GroupError {
    DidNotStart { child, reason },
    Failed { child, reason },
    Exhausted { child, reason, limit, window },
    StopHook { reason },
    Stuck { child },
});

/// Children that were added together, until that is settled.
struct Adding {
    children: Vec<ChildId>,
    answer: oneshot::Sender<Result<Vec<Child>, AddAllError>>,
    /// Why none of them is added.
    failed: Option<StartError>,
}

pub(super) struct Driver {
    core: Supervisor,
    config: Config,
    slots: HashMap<ChildId, Slot>,
    adding: HashMap<SetId, Adding>,
    events: mpsc::UnboundedReceiver<ChildEvent>,
    /// For the children's ends of `events`.
    to_events: mpsc::UnboundedSender<ChildEvent>,
    /// Closed when the group stops taking children.
    commands: Commands,
    roster: Arc<Roster>,
    cx: WorkerContext,
    board: watch::Receiver<Board>,
    stop_hook: Option<StopHook>,
    running_hook: Option<RunningHook>,
    hook_failure: Option<StopHookFailure>,
    /// When it began to stop, and who has stopped since.
    stopping_since: Option<Instant>,
    stopped: Vec<ChildReport>,
    /// Children that failed while they were being stopped.
    failed_stopping: Vec<GroupError>,
}

/// Random, as far as spreading delays needs it.
fn jitter() -> u8 {
    RandomState::new().build_hasher().finish() as u8
}

fn now() -> std::time::Instant {
    clock::now().into_std()
}

impl Driver {
    pub(super) fn new(
        config: Config,
        children: Vec<ChildSpec>,
        commands: Commands,
        roster: Arc<Roster>,
        cx: &WorkerContext,
    ) -> Self {
        let (to_events, events) = mpsc::unbounded_channel();
        let mut driver = Self {
            core: Supervisor::new(config),
            config,
            slots: HashMap::with_capacity(children.len()),
            adding: HashMap::new(),
            events,
            to_events,
            commands,
            roster,
            cx: cx.clone(),
            board: cx.shared().board.subscribe(),
            stop_hook: None,
            running_hook: None,
            hook_failure: None,
            stopping_since: None,
            stopped: Vec::new(),
            failed_stopping: Vec::new(),
        };
        for (number, child) in children.into_iter().enumerate() {
            let id = driver.core.add_initial(child.traits());
            debug_assert_eq!(id, ChildId(number as u64), "under this id, it is in the roster already");
            driver.slots.insert(id, Slot::new(child));
        }
        driver
    }

    pub(super) fn with_stop_hook(mut self, stop_hook: Option<StopHook>) -> Self {
        self.stop_hook = stop_hook;
        self
    }

    /// Starts all children. If one does not come up, stops the others and fails; if the group is asked to stop meanwhile,
    /// leaves the rest to [`stop`](Self::stop). What its children did once all were up is left to [`run`](Self::run).
    pub(super) async fn start(&mut self) -> Result<(), WorkerError> {
        self.core.start(now());
        self.drive(|core, cx| core.mode() != Mode::Starting || cx.is_stopping()).await;
        let verdict = self.core.verdict().filter(|_| !self.core.has_come_up());
        let Some(verdict) = verdict else { return Ok(()) };
        // `on_shutdown` does not follow a start-up that failed.
        self.cx.stop_for(StoppedBy::Child(self.culprit(verdict)));
        let stopped = self.stop().await;
        self.error(verdict).map_or(stopped, |error| Err(error.into()))
    }

    /// Watches over the children until the group is to stop.
    pub(super) async fn run(&mut self) -> Result<(), WorkerError> {
        self.drive(|core, cx| {
            core.mode() == Mode::Stopping || core.mode() == Mode::Ended || cx.is_stopping()
        })
        .await;
        let Some(verdict) = self.core.verdict() else { return Ok(()) };
        self.cx.stop_for(StoppedBy::Child(self.culprit(verdict)));
        self.error(verdict).map_or(Ok(()), |error| Err(error.into()))
    }

    /// Stops all children, waits for them, and reports.
    pub(super) async fn stop(&mut self) -> Result<(), WorkerError> {
        let since = *self.stopping_since.get_or_insert_with(Instant::now);
        self.heed_deadline();
        self.core.stop(now());
        self.drive(|core, _| core.mode() == Mode::Ended).await;
        self.refuse_commands();
        let mut children = std::mem::take(&mut self.stopped);
        children.sort_by_key(|child| child.outcome.is_err());
        let ended_by = self.core.verdict().and_then(|verdict| self.ended_by(verdict));
        self.roster.set_report(StopReport {
            took: since.elapsed(),
            ended_by,
            stop_hook: self.hook_failure.clone(),
            children,
        });
        let of_hook = match &self.hook_failure {
            None | Some(StopHookFailure::CutOff) => None,
            Some(failure) => Some(GroupError::StopHook { reason: failure.to_string() }),
        };
        match self.failed_stopping.first().cloned().or(of_hook) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    async fn drive(&mut self, mut is_done: impl FnMut(&Supervisor, &WorkerContext) -> bool) {
        loop {
            self.carry_out();
            if is_done(&self.core, &self.cx) {
                return;
            }
            let due = self.core.poll_timeout();
            let timer = async {
                match due {
                    Some(due) => clock::sleep_until(due.into(), tokio::time::sleep_until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The board lives as long as the group's context.
                _ = self.board.changed() => self.heed_deadline(),
                Some(event) = self.events.recv() => {
                    self.handle(event);
                    for _ in 1..EVENT_BATCH {
                        let Ok(event) = self.events.try_recv() else { break };
                        self.handle(event);
                    }
                }
                ended = RunningHook::end(&mut self.running_hook) => {
                    self.running_hook = None;
                    self.hook_failure = ended.err();
                    self.core.handle_hook_ended(now());
                }
                Some(command) = self.commands.0.recv() => self.obey(command),
                () = timer => self.core.handle_timeout(now()),
            }
        }
    }

    /// The group's own deadline is every child's.
    fn heed_deadline(&mut self) {
        let deadline = self.board.borrow_and_update().deadline;
        if let Some(deadline) = deadline {
            self.core.set_deadline(now(), deadline.into_std());
        }
    }

    // What comes in.

    fn handle(&mut self, ChildEvent { child, incarnation, what }: ChildEvent) {
        match what {
            Occurrence::Up => self.core.handle_up(now(), child, incarnation),
            Occurrence::AskedByHook => self.core.stop_by_hook(now(), child),
            Occurrence::Refused => self.core.handle_ended(now(), child, incarnation, true, jitter()),
            Occurrence::Ended(outcome) => {
                let failed = outcome.state() != WorkerState::Stopped;
                self.note_end(child, incarnation, &outcome);
                self.core.handle_ended(now(), child, incarnation, failed, jitter());
                if self.core.ended_early() == Some(child) {
                    let name = self.slots.get(&child).map_or("", |slot| &slot.name);
                    tracing::warn!(group = self.cx.shared().name(), "{}", EndedBy(name));
                }
            }
        }
    }

    /// Keeps what the report needs.
    fn note_end(&mut self, child: ChildId, incarnation: ChildIncarnation, outcome: &Outcome) {
        let Some(slot) = self.slots.get_mut(&child) else { return };
        let is_removed = !slot.removed.is_empty();
        // One that was not asked has ended by itself, before its turn came.
        let asked = slot.asked.take();
        tracing::trace!(child = slot.name, incarnation = incarnation.0, "child stopped");
        if self.core.mode() != Mode::Stopping || slot.is_stuck {
            return;
        }
        let report = ChildReport {
            id: child,
            name: slot.name.clone(),
            took: asked.map_or(Duration::ZERO, |asked| asked.elapsed()),
            outcome: Ok(outcome.clone()),
        };
        self.stopped.push(report);
        if outcome.state() == WorkerState::Failed && !is_removed {
            let reason = outcome.in_full();
            self.failed_stopping.push(GroupError::Failed { child: slot.name.clone(), reason });
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(specs, answer) => {
                let traits: Vec<_> = specs.iter().map(ChildSpec::traits).collect();
                match self.core.add(now(), &traits) {
                    Some((set, children)) => {
                        for (id, spec) in children.iter().zip(specs) {
                            self.take_in(*id, Slot::new(spec));
                        }
                        self.adding.insert(set, Adding { children, answer, failed: None });
                    }
                    // Who asked may have gone: the children are dropped, as they would be with them.
                    None => discard(answer.send(Err(AddAllError::Stopped(specs)))),
                }
            }
            Command::Remove(id, answer) => {
                let Some(slot) = self.slots.get_mut(&id) else {
                    // Who asked may have gone.
                    let _ = answer.send(Err(RemoveError::Unknown(id)));
                    return;
                };
                slot.removed.push(answer);
                let is_removed = self.core.remove(now(), id);
                slot.is_leaving |= is_removed;
                if !is_removed && let Some(answer) = slot.removed.pop() {
                    // Who asked may have gone.
                    let _ = answer.send(Err(RemoveError::Stopped));
                }
            }
        }
    }

    /// Callers that still wait for a child's first start are told that it will not come.
    fn refuse_commands(&mut self) {
        self.commands.refuse();
        for adding in std::mem::take(&mut self.adding).into_values() {
            let name = adding.children.iter().find_map(|id| Some(self.slots.get(id)?.name.clone()));
            let stopped = || StartError::Stopped { name: name.unwrap_or_default() };
            // Who asked may have gone.
            let _ = adding.answer.send(Err(AddAllError::Start(adding.failed.unwrap_or_else(stopped))));
        }
    }

    fn take_in(&mut self, id: ChildId, slot: Slot) {
        self.roster.insert(Entry::new(id, slot.spec.traits(), slot.spec.first()));
        self.slots.insert(id, slot);
    }

    // What goes out.

    fn carry_out(&mut self) {
        if self.core.mode() == Mode::Stopping {
            self.stopping_since.get_or_insert_with(Instant::now);
        }
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Start(id, incarnation) => self.launch(id, incarnation),
                Effect::Stop(id, deadline) => {
                    let is_group_stopping = self.core.mode() == Mode::Stopping;
                    if let Some(slot) = self.slots.get_mut(&id) {
                        slot.asked.get_or_insert_with(Instant::now);
                        if let Some(worker) = &slot.worker {
                            let by = if slot.is_leaving {
                                StoppedBy::Removed
                            } else if is_group_stopping {
                                StoppedBy::Group(self.cx.name().to_owned())
                            } else {
                                StoppedBy::RestartWithAnother
                            };
                            worker.shared().request_stop(Some(deadline.into()), by);
                        }
                    }
                }
                Effect::Waits(id, due) => {
                    if let Some(slot) = self.slots.get(&id) {
                        self.roster.update(slot.spec.traits().phase, id, |entry| entry.is_waiting = true);
                        let delay = due.saturating_duration_since(now());
                        say_restart(slot, delay);
                    }
                }
                Effect::GaveUp(id) => self.note_stuck(id),
                Effect::Gone(id) => self.let_go(id),
                Effect::NotUp(set, id) => {
                    if let (Some(adding), Some(slot)) = (self.adding.get_mut(&set), self.slots.get(&id)) {
                        adding.failed = Some(why_not_up(slot));
                        for id in &adding.children {
                            if let Some(slot) = self.slots.get_mut(id) {
                                slot.is_leaving = true;
                            }
                        }
                    }
                }
                Effect::Settled(set) => self.settle(set),
                Effect::BeginStopHook => self.begin_stop_hook(),
                Effect::CutStopHook => {
                    self.hook_failure = self.running_hook.take().map(RunningHook::cut);
                }
            }
        }
    }

    fn begin_stop_hook(&mut self) {
        let mut children = Vec::new();
        for id in self.core.living() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some(worker) = slot.worker.clone() else { continue };
            let (child, shared) = StoppingChild::new(id, worker, self.to_events.clone());
            slot.stopping = Some(shared);
            children.push(child);
        }
        if let Some(hook) = self.stop_hook.take() {
            self.running_hook = Some(RunningHook::new(hook, children));
        }
    }

    /// The caller that added children is told how that went.
    fn settle(&mut self, set: SetId) {
        let Some(Adding { children, answer, failed }) = self.adding.remove(&set) else { return };
        let worker = |id: &ChildId| self.slots.get(id).and_then(|slot| slot.worker.clone());
        let added = children.iter().filter_map(|id| Some(Child { id: *id, worker: worker(id)? }));
        // Who asked may have gone: the children stay.
        let _ = answer.send(match failed {
            None => Ok(added.collect()),
            Some(error) => Err(AddAllError::Start(error)),
        });
    }

    fn launch(&mut self, id: ChildId, incarnation: ChildIncarnation) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let group = Arc::downgrade(self.cx.shared());
        let parent = Parent { group, events: self.to_events.clone(), child: id, incarnation };
        slot.asked = None;
        match slot.spec.launch(parent) {
            Ok(shared) => {
                slot.refused = None;
                slot.name = shared.name().to_owned();
                let worker = WorkerRef::new(Arc::clone(&shared));
                slot.worker = Some(worker.clone());
                let past = self.roster.update(slot.spec.traits().phase, id, |entry| {
                    entry.restarts = incarnation.0 - 1;
                    entry.is_waiting = false;
                    std::mem::replace(&mut entry.worker, worker)
                });
                // The last of it may run anything when it is dropped: not under the lock, and not as this group's failure.
                discard(past);
                self.core.launched(id, life_traits(&shared));
            }
            Err(refused) => {
                slot.refused = Some(refused);
                // In turn with all other events, so that one which is refused again and again keeps nobody waiting. The
                // other end is here.
                let _ = self.to_events.send(ChildEvent::new(id, incarnation, Occurrence::Refused));
            }
        }
    }

    fn note_stuck(&mut self, id: ChildId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.is_stuck = true;
        if let Some(stopping) = &slot.stopping {
            stopping.stuck.cancel();
        }
        workfleet_notice::error!(
            child = &*slot.name,
            "a child is stuck: it blocks its thread and cannot be aborted"
        );
        let took = slot.asked.map_or(Duration::ZERO, |asked| asked.elapsed());
        let stuck = slot.stuck();
        slot.removed.drain(..).for_each(|removed| drop(removed.send(Err(RemoveError::Stuck(stuck.clone())))));
        self.stopped.push(ChildReport { id, name: slot.name.clone(), took, outcome: Err(stuck) });
    }

    fn let_go(&mut self, id: ChildId) {
        self.roster.remove(id);
        let Some(mut slot) = self.slots.remove(&id) else { return };
        let outcome = slot.outcome();
        slot.removed.drain(..).for_each(|removed| drop(removed.send(Ok(outcome.clone()))));
        // What makes the child is somebody else's, and its end is none of the group's.
        discard(slot);
    }

    /// The name of the child because of which the group stops.
    fn culprit(&self, verdict: Verdict) -> String {
        let (Verdict::DidNotStart(child)
        | Verdict::Ended { child, .. }
        | Verdict::Exhausted(child)
        | Verdict::Stuck(child)) = verdict;
        self.slots.get(&child).map_or_else(|| child.to_string(), |slot| slot.name.clone())
    }

    /// The child whose end, which was no failure, ended the group.
    fn ended_by(&self, verdict: Verdict) -> Option<String> {
        let Verdict::Ended { child, failed: false } = verdict else { return None };
        let name = self.slots.get(&child).map_or_else(|| child.to_string(), |slot| slot.name.clone());
        tracing::warn!(group = self.cx.shared().name(), "{}", EndedBy(&name));
        Some(name)
    }

    /// What the group fails with, if it does.
    fn error(&self, verdict: Verdict) -> Option<GroupError> {
        let of = |id: &ChildId| match self.slots.get(id) {
            Some(slot) => (slot.name.clone(), slot.failure()),
            None => (id.to_string(), String::new()),
        };
        Some(match verdict {
            Verdict::Ended { failed: false, .. } => return None,
            Verdict::Ended { child, failed: true } => {
                let (child, reason) = of(&child);
                GroupError::Failed { child, reason }
            }
            Verdict::DidNotStart(child) => {
                let (child, reason) = of(&child);
                GroupError::DidNotStart { child, reason }
            }
            Verdict::Exhausted(child) => {
                let (child, reason) = of(&child);
                let budget = self.config.budget;
                GroupError::Exhausted { child, reason, limit: budget.limit(), window: budget.window() }
            }
            Verdict::Stuck(child) => GroupError::Stuck { child: of(&child).0 },
        })
    }
}

/// Reached with living children only if the runtime drops the group's task: then they go too, whoever runs them.
impl Drop for Driver {
    fn drop(&mut self) {
        // The hook is somebody else's code, and its end is none of the group's.
        discard(self.running_hook.take());
        discard(self.stop_hook.take());
        if self.core.mode() == Mode::Ended {
            return;
        }
        for worker in self.slots.values().filter_map(|slot| slot.worker.as_ref()) {
            worker.abort_for(StoppedBy::Group(self.cx.name().to_owned()));
        }
    }
}

/// The next incarnation of a child replaces the last. If the last has failed, only this log says how.
fn say_restart(slot: &Slot, delay: Duration) {
    let (child, ended) = (&*slot.name, slot.worker.as_ref().and_then(WorkerRef::outcome));
    let failed =
        matches!(ended.as_ref().map(Outcome::state), Some(WorkerState::Failed | WorkerState::ForceStopped));
    if slot.refused.is_some() || failed {
        workfleet_notice::warn!(child, ?delay, "a child is restarted, because it failed: {}", slot.failure());
    } else if let Some(outcome) = ended {
        tracing::warn!(child, ?delay, "a child is restarted, because it ended: {outcome}");
    } else {
        tracing::debug!(child, ?delay, "a child is restarted with another");
    }
}

fn life_traits(shared: &Shared) -> LifeTraits {
    LifeTraits { grace: shared.grace().unwrap_or_default(), is_group: shared.is_group() }
}

/// Why a child that was added did not come up.
fn why_not_up(slot: &Slot) -> StartError {
    let name = slot.name.clone();
    if let Some(refused) = &slot.refused {
        return refused.clone();
    }
    match slot.outcome().failures().first() {
        Some(failure) => StartError::Failed { name, failure: failure.clone() },
        None => StartError::Stopped { name },
    }
}
