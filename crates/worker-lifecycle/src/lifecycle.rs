//! The life of one worker as a table of transitions. A core: no clock, no task, no channel.
//!
//! Invariants:
//! - `on_shutdown` follows if `on_startup` completed, however `run` ended; `after_shutdown` always follows.
//! - An end is an end: no event leads out of [`Step::Ended`].
//! - What went wrong is never forgotten: once `failed` is set, the end is [`WorkerState::Failed`].

use std::{error, fmt, str::FromStr};

/// Where a worker is in its life, as everybody sees it.
///
/// ```text
/// Init → Running → Stopping → Stopped | ForceStopped | Failed
///        Running ───────────→ Stopped | Failed                 (run ended by itself)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum WorkerState {
    /// It was made and not started.
    #[default]
    Init,
    /// It was started, just before `on_startup`, and was not asked to stop.
    Running,
    /// It was asked to stop and has not ended.
    Stopping,
    /// It ended by itself or because it was asked to.
    Stopped,
    /// It was aborted: at its deadline, or because its runtime was shut down.
    ForceStopped,
    /// A hook of it returned an error or panicked.
    Failed,
}

impl WorkerState {
    /// All of them, in the order in which a worker may pass through them.
    pub const ALL: [Self; 6] =
        [Self::Init, Self::Running, Self::Stopping, Self::Stopped, Self::ForceStopped, Self::Failed];

    /// Its name, as `Display` writes it and `FromStr` reads it.
    fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ForceStopped => "force_stopped",
            Self::Failed => "failed",
        }
    }

    /// Whether it is any other than [`Init`](Self::Init).
    pub fn has_started(self) -> bool {
        self != Self::Init
    }

    /// Whether it is [`Running`](Self::Running).
    pub fn is_running(self) -> bool {
        self == Self::Running
    }

    /// Whether it is [`Stopping`](Self::Stopping).
    pub fn is_stopping(self) -> bool {
        self == Self::Stopping
    }

    /// Whether the worker has ended: [`Stopped`](Self::Stopped), [`ForceStopped`](Self::ForceStopped) or
    /// [`Failed`](Self::Failed).
    pub fn is_stopped(self) -> bool {
        matches!(self, Self::Stopped | Self::ForceStopped | Self::Failed)
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads what `Display` writes, letter for letter. With the feature `serde`, the serialised form is the same.
///
/// ```
/// use workfleet_worker_lifecycle::WorkerState;
///
/// let state: WorkerState = "force_stopped".parse()?;
/// assert_eq!(state, WorkerState::ForceStopped);
/// assert_eq!(state.to_string().parse::<WorkerState>()?, state);
/// let error = "killed".parse::<WorkerState>().unwrap_err();
/// assert!(error.to_string().starts_with("\"killed\" is no state of a worker"));
/// # Ok::<(), workfleet_worker_lifecycle::WorkerStateError>(())
/// ```
impl FromStr for WorkerState {
    type Err = WorkerStateError;

    fn from_str(text: &str) -> Result<Self, WorkerStateError> {
        let state = Self::ALL.into_iter().find(|state| state.name() == text);
        state.ok_or_else(|| WorkerStateError { text: text.into() })
    }
}

/// A text that names no [`WorkerState`].
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerStateError {
    text: String,
}

workfleet_causes::readable!(struct WorkerStateError { text });

impl WorkerStateError {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for WorkerStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no state of a worker: it must be one of", self.text)?;
        for (number, state) in WorkerState::ALL.into_iter().enumerate() {
            write!(f, "{} {state}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl error::Error for WorkerStateError {}

/// Which hook of a worker is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Step {
    /// None: it was not started.
    #[default]
    Init,
    /// `on_startup`.
    OnStartup,
    /// `run`.
    Run,
    /// `on_shutdown`.
    OnShutdown,
    /// `after_shutdown`.
    AfterShutdown,
    /// None any more.
    Ended,
}

/// What happens to a worker.
#[doc(alias = "Event")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LifecycleEvent {
    /// It is started.
    Start,
    /// It is asked to stop. Asking again changes nothing.
    Stop,
    /// Its present hook completed.
    Completed,
    /// Its present hook returned an error or panicked.
    Failed,
    /// Its present hook was aborted.
    Aborted,
}

/// One worker's life so far.
///
/// ```
/// use workfleet_worker_lifecycle::{LifecycleEvent, Lifecycle, WorkerState};
///
/// let mut life = Lifecycle::default();
/// assert_eq!(life.handle(LifecycleEvent::Start), Ok(WorkerState::Running));
/// assert_eq!(life.handle(LifecycleEvent::Completed), Ok(WorkerState::Running)); // on_startup: now run
/// assert_eq!(life.handle(LifecycleEvent::Stop), Ok(WorkerState::Stopping));
/// let refused = life.handle(LifecycleEvent::Start).unwrap_err();
/// assert_eq!(refused.to_string(), "a worker that is stopping cannot be started");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lifecycle {
    step: Step,
    /// It was asked to stop, or its runtime was shut down.
    is_stopping: bool,
    /// A hook was aborted.
    is_aborted: bool,
    /// A hook failed.
    has_failed: bool,
}

impl Lifecycle {
    /// What everybody sees.
    pub fn state(self) -> WorkerState {
        match self.step {
            Step::Init => WorkerState::Init,
            Step::Ended if self.has_failed => WorkerState::Failed,
            Step::Ended if self.is_aborted => WorkerState::ForceStopped,
            Step::Ended => WorkerState::Stopped,
            _ if self.is_stopping => WorkerState::Stopping,
            _ => WorkerState::Running,
        }
    }

    /// Which hook is on.
    pub fn step(self) -> Step {
        self.step
    }

    /// Whether it was ever asked to stop.
    pub fn is_stop_requested(self) -> bool {
        self.is_stopping
    }

    /// Whether a hook was aborted.
    pub fn is_aborted(self) -> bool {
        self.is_aborted
    }

    /// Whether a hook failed.
    pub fn has_failed(self) -> bool {
        self.has_failed
    }

    /// Takes one event and returns the state after it.
    ///
    /// # Errors
    /// The event cannot happen now. Nothing has changed.
    pub fn handle(&mut self, event: LifecycleEvent) -> Result<WorkerState, TransitionError> {
        *self = self.after(event).ok_or(TransitionError { life: *self, event })?;
        Ok(self.state())
    }

    fn after(self, event: LifecycleEvent) -> Option<Self> {
        let next = match (self.step, event) {
            (Step::Init, LifecycleEvent::Start) => return Some(Self { step: Step::OnStartup, ..self }),
            (Step::OnStartup | Step::Run | Step::OnShutdown, LifecycleEvent::Stop) => {
                return Some(Self { is_stopping: true, ..self });
            }
            // Whoever was asked to stop while starting up does not begin to run.
            (Step::OnStartup, LifecycleEvent::Completed) if self.is_stopping => Step::OnShutdown,
            (Step::OnStartup, LifecycleEvent::Completed) => Step::Run,
            (Step::OnStartup, LifecycleEvent::Failed | LifecycleEvent::Aborted) => Step::AfterShutdown,
            (Step::Run, LifecycleEvent::Completed | LifecycleEvent::Failed | LifecycleEvent::Aborted) => {
                Step::OnShutdown
            }
            (
                Step::OnShutdown,
                LifecycleEvent::Completed | LifecycleEvent::Failed | LifecycleEvent::Aborted,
            ) => Step::AfterShutdown,
            // It is not asynchronous: nobody can abort it.
            (Step::AfterShutdown, LifecycleEvent::Completed | LifecycleEvent::Failed) => Step::Ended,
            _ => return None,
        };
        let is_aborted = event == LifecycleEvent::Aborted;
        Some(Self {
            step: next,
            is_stopping: self.is_stopping || is_aborted,
            is_aborted: self.is_aborted || is_aborted,
            has_failed: self.has_failed || event == LifecycleEvent::Failed,
        })
    }
}

/// An event that cannot happen to a worker in its present state.
#[doc(alias = "IllegalTransition")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TransitionError {
    life: Lifecycle,
    event: LifecycleEvent,
}

workfleet_causes::readable!(struct TransitionError { life, event });

impl TransitionError {
    /// The worker's state, which has not changed.
    pub fn state(&self) -> WorkerState {
        self.life.state()
    }

    /// The event that was refused.
    pub fn event(&self) -> LifecycleEvent {
        self.event
    }
}

impl fmt::Display for TransitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state() {
            WorkerState::Init => "was not started",
            WorkerState::Running => "is running",
            WorkerState::Stopping => "is stopping",
            WorkerState::Stopped | WorkerState::ForceStopped => "has stopped",
            WorkerState::Failed => "has failed",
        };
        let event = match self.event {
            LifecycleEvent::Start => "cannot be started",
            LifecycleEvent::Stop => "cannot be asked to stop",
            LifecycleEvent::Completed => "has no hook that could complete",
            LifecycleEvent::Failed => "has no hook that could fail",
            LifecycleEvent::Aborted => "has no hook that could be aborted",
        };
        write!(f, "a worker that {state} {event}")
    }
}

impl error::Error for TransitionError {}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [LifecycleEvent; 5] = [
        LifecycleEvent::Start,
        LifecycleEvent::Stop,
        LifecycleEvent::Completed,
        LifecycleEvent::Failed,
        LifecycleEvent::Aborted,
    ];

    /// Every life that can come about, in the order in which it is found from the beginning.
    fn reachable() -> Vec<Lifecycle> {
        let mut found = vec![Lifecycle::default()];
        let mut next = 0;
        while let Some(life) = found.get(next).copied() {
            for after in EVENTS.into_iter().filter_map(|event| life.after(event)) {
                if !found.contains(&after) {
                    found.push(after);
                }
            }
            next += 1;
        }
        found
    }

    fn shown(life: Lifecycle) -> String {
        let marks = [(life.is_stopping, '?'), (life.is_aborted, '!'), (life.has_failed, 'x')];
        let marks: String = marks.into_iter().filter_map(|(is_set, mark)| is_set.then_some(mark)).collect();
        format!("{:?}{marks}", life.step)
    }

    /// The reviewed table. If you change a transition, change `lifecycle.txt` too, and review the difference.
    #[test]
    fn every_state_and_every_event_is_as_reviewed() {
        let mut table = String::from(
            "Each line: a life as hook and marks (? asked to stop, ! aborted, x failed), its visible state, and where each\n\
             event leads; a dot is refused.\n\n",
        );
        let row = |life: &str, state: &str, cells: [String; 5]| {
            let line = format!(
                "{life:<17} {state:<13} {:<17} {:<12} {:<17} {:<17} {}",
                cells[0], cells[1], cells[2], cells[3], cells[4]
            );
            format!("{}\n", line.trim_end())
        };
        table += &row("life", "state", EVENTS.map(|event| format!("{event:?}")));
        for life in reachable() {
            let cells = EVENTS.map(|event| life.after(event).map_or(".".into(), shown));
            table += &row(&shown(life), &life.state().to_string(), cells);
        }
        assert_eq!(table, include_str!("lifecycle.txt"), "\n{table}");
    }

    #[test]
    fn what_a_state_writes_it_reads_and_nothing_else() {
        for state in reachable().into_iter().map(Lifecycle::state) {
            assert!(WorkerState::ALL.contains(&state), "{state}");
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        for text in ["", "Init", " running", "force-stopped", "ForceStopped", "stopped\n"] {
            let error = text.parse::<WorkerState>().expect_err("no state");
            assert_eq!(error.text(), text);
            assert!(error.to_string().starts_with(&format!("{text:?} is no state")), "{error}");
            assert!(
                error.to_string().ends_with("one of init, running, stopping, stopped, force_stopped, failed")
            );
        }
    }

    #[test]
    fn a_refused_event_changes_nothing() {
        for life in reachable() {
            for event in EVENTS {
                let mut after = life;
                if let Err(refused) = after.handle(event) {
                    assert_eq!(after, life);
                    assert_eq!((refused.state(), refused.event()), (life.state(), event));
                }
            }
        }
    }

    #[test]
    fn states_have_one_predicate_each() {
        for life in reachable() {
            let state = life.state();
            let predicates =
                [state == WorkerState::Init, state.is_running(), state.is_stopping(), state.is_stopped()];
            assert_eq!(predicates.into_iter().filter(|holds| *holds).count(), 1, "{state}");
            assert_eq!(state.has_started(), life.step != Step::Init);
        }
    }
}
