//! Tasks that follow a script, attempt by attempt, up to a chosen end: returned, failed, panicked, or dead. From the
//! scripts follows what their manager must have heard; [`Run`] gathers what it did hear and compares the two.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::{self, Write as _},
    fs,
    path::{Path, PathBuf},
    process,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    CloseReport, DeathCertificate, EncodedTask, ExitStatus, FailureCause, MessageError, ProcessManager, Task,
    TaskContext, TaskError, TaskFailure, TaskId, TaskMessage, TaskSpec,
};

use super::{append_line, gate::wait_at, process::signal};

/// How often a scripted task is tried: the default of the managers that run them.
pub(crate) const ATTEMPTS: usize = 3;

/// What an attempt does next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Sends a message, numbered from 0.
    Say,
    /// Schedules the next of the task's children, if one is left.
    Schedule,
    /// Flushes, and writes down what that covered.
    Flush,
    /// Waits until the test lets it go on, or kills it.
    WaitAt(PathBuf),
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Return,
    Fail,
    Panic,
    /// Waits at its last step until the test kills it: see [`Step::WaitAt`].
    Killed,
    Kill,
    Abort,
    Exit,
    /// `_exit`: without the handlers that `exit` runs.
    ExitAtOnce,
}

impl End {
    /// How the worker dies of it; not at all, of some.
    fn death(self) -> Option<ExitStatus> {
        match self {
            Self::Return | Self::Fail | Self::Panic => None,
            Self::Killed | Self::Kill => Some(ExitStatus::Signaled(libc::SIGKILL)),
            Self::Abort => Some(ExitStatus::Signaled(libc::SIGABRT)),
            Self::Exit => Some(ExitStatus::Exited(11)),
            Self::ExitAtOnce => Some(ExitStatus::Exited(12)),
        }
    }

    /// Everything that was sent before arrives, flushed or not.
    fn sends_the_rest(self) -> bool {
        matches!(self, Self::Return | Self::Fail | Self::Panic | Self::Exit)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

/// A task that follows a script.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scripted {
    pub(crate) id: u32,
    /// In the order in which every attempt schedules them.
    pub(crate) children: Vec<Scripted>,
    /// The last holds for all attempts that follow.
    pub(crate) attempts: Vec<Attempt>,
    /// Where flushes are written down.
    pub(crate) flushes: PathBuf,
    /// Makes its size tell its number: a task whose worker dies has no other name.
    pub(crate) padding: Vec<u8>,
}

/// The size of a task, encoded, is its number beyond a multiple of this. Tasks of higher numbers are not told apart.
const SIZES_APART: usize = 512;

/// The number of a task that failed, by what stands for it in its failure.
fn number_of(failure: &TaskFailure) -> Option<u32> {
    let number = failure.debug.strip_prefix("Scripted(").and_then(|rest| rest.strip_suffix(')'));
    if let Some(number) = number {
        return number.parse().ok();
    }
    let size = failure.debug.strip_prefix("scripted (")?.strip_suffix(" bytes)")?.parse::<usize>().ok()?;
    u32::try_from(size % SIZES_APART).ok()
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scripted({})", self.id)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Heard {
    Said(u32),
    /// The last that an attempt says that returns.
    Returns,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    id: u32,
    heard: Heard,
}

impl TaskMessage for Line {
    const NAME: &'static str = "line";
}

impl TaskSpec for Scripted {
    const NAME: &'static str = "scripted";
    type Output = ();
}

impl Task for Scripted {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let id = self.id;
        let attempt = self.attempt(cx.attempt() as usize).clone();
        let (mut said, mut scheduled) = (0, 0);
        for step in &attempt.steps {
            match step {
                Step::Say => {
                    cx.send_message(&Line { id, heard: Heard::Said(said) })?;
                    said += 1;
                }
                Step::Schedule => {
                    if let Some(child) = self.children.get(scheduled) {
                        cx.schedule(child.clone())?;
                        scheduled += 1;
                    }
                }
                Step::Flush => {
                    cx.flush()?;
                    append_line(&self.flushes, &format!("{id} {} {said} {scheduled}", cx.attempt()))?;
                }
                Step::WaitAt(gate) => wait_at(gate)?,
            }
        }
        match attempt.end {
            End::Return => Ok(cx.send_message(&Line { id, heard: Heard::Returns })?),
            End::Fail => Err("as scripted".into()),
            End::Panic => panic!("as scripted"),
            End::Killed => Err("the test has not killed it".into()),
            End::Kill => {
                signal(process::id(), Signal::KILL);
                Err("it has survived SIGKILL".into())
            }
            End::Abort => process::abort(),
            End::Exit => process::exit(11),
            // SAFETY: it ends the process and runs nothing.
            End::ExitAtOnce => unsafe { libc::_exit(12) },
        }
    }
}

impl Scripted {
    /// A task that returns.
    pub(crate) fn leaf(id: u32) -> Self {
        let attempts = vec![Attempt { steps: Vec::new(), end: End::Return }];
        Self { id, children: Vec::new(), attempts, flushes: PathBuf::new(), padding: Vec::new() }
    }

    /// Numbers the task and all below it, and tells them where flushes are written down.
    pub(crate) fn prepare(&mut self, next_id: &mut u32, flushes: &Path) {
        self.id = *next_id;
        *next_id += 1;
        self.flushes = flushes.to_owned();
        self.children.iter_mut().for_each(|child| child.prepare(next_id, flushes));
        let wanted = self.id as usize % SIZES_APART;
        loop {
            let size = EncodedTask::new(self).expect("it encodes").payload().len();
            match (wanted + SIZES_APART - size % SIZES_APART) % SIZES_APART {
                0 => break,
                missing => self.padding.resize(self.padding.len() + missing, 0),
            }
        }
    }

    /// The script of an attempt, from 1.
    fn attempt(&self, number: usize) -> &Attempt {
        &self.attempts[(number - 1).min(self.attempts.len() - 1)]
    }

    /// The attempts that are made of it, each with its number.
    fn made(&self) -> impl Iterator<Item = (u32, &Attempt)> {
        let last = (1..ATTEMPTS).find(|&number| self.attempt(number).end.death().is_none());
        (1..=last.unwrap_or(ATTEMPTS)).map(|number| (number as u32, self.attempt(number)))
    }
}

/// Counts the steps of one kind, up to the last that was certainly covered and in all. `rest`: what no flush covered
/// was sent all the same.
fn certain_and_possible(attempt: &Attempt, kind: &Step, at_most: usize, rest: bool) -> (usize, usize) {
    let count = |steps: &[Step]| steps.iter().filter(|step| *step == kind).count().min(at_most);
    let covered = match attempt.steps.iter().rposition(|step| *step == Step::Flush) {
        _ if rest => attempt.steps.len(),
        Some(last) => last,
        None => 0,
    };
    (count(&attempt.steps[..covered]), count(&attempt.steps))
}

/// What a manager was heard to say about scripted tasks.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// By task and attempt, in order.
    heard: BTreeMap<(u32, u32), Vec<Heard>>,
    /// The ids under which each task ran.
    ids: BTreeMap<u32, HashSet<TaskId>>,
    failures: HashMap<u32, Vec<TaskFailure>>,
}

impl Run {
    /// Schedules a task and reads until it and all below it have ended.
    pub(crate) fn of(manager: &ProcessManager, root: &Scripted) -> Self {
        manager.schedule(root.clone()).expect("it is taken");
        let mut run = Self::default();
        run.read_to_end(manager);
        run
    }

    pub(crate) fn read_to_end(&mut self, manager: &ProcessManager) {
        for item in manager.messages::<Line>() {
            self.add(item);
        }
    }

    /// Reads until this task has said something, or returned.
    pub(crate) fn read_until(&mut self, manager: &ProcessManager, id: u32) {
        let heard = |run: &Self| run.heard.keys().filter(|(task, _)| *task == id).count();
        while heard(self) == 0 {
            self.add(manager.messages().next().expect("a task is pending"));
        }
    }

    fn add(&mut self, item: Result<workfleet_task_manager::Message<Line>, MessageError>) {
        match item {
            Ok(message) => {
                let Line { id, heard } = message.content;
                assert!(!self.failures.contains_key(&id), "task {id} says something after its end");
                self.heard.entry((id, message.attempt)).or_default().push(heard);
                self.ids.entry(id).or_default().insert(message.task.expect("a task sent it"));
            }
            Err(MessageError::Failed(failure)) => {
                let id = number_of(&failure).expect("a scripted task");
                self.ids.entry(id).or_default().insert(failure.task);
                self.failures.entry(id).or_default().push(failure);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// How many of an attempt's messages came.
    pub(crate) fn said(&self, id: u32, attempt: u32) -> usize {
        self.heard.get(&(id, attempt)).map_or(0, Vec::len)
    }

    /// Which tasks ran to their end, or failed.
    pub(crate) fn ended(&self) -> BTreeSet<u32> {
        let returned = self.heard.iter().filter(|(_, heard)| heard.contains(&Heard::Returns));
        returned.map(|((id, _), _)| *id).chain(self.failures.keys().copied()).collect()
    }

    /// Compares with what the scripts say: nothing that was flushed is lost, nothing is doubled or made up.
    pub(crate) fn check(&self, root: &Scripted, report: &CloseReport) {
        let mut possible = BTreeMap::new();
        self.check_task(root, true, &mut possible);
        let ended = self.ended();
        for (id, of) in &self.ids {
            assert!(possible.contains_key(id), "nobody scheduled task {id}");
            assert_eq!(of.len(), 1, "task {id} was doubled");
        }
        assert!(self.ids.keys().eq(ended.iter()), "{:?} spoke, {ended:?} ended", self.ids.keys());
        let returned = ended.len() - self.failures.len();
        assert_eq!(report.tasks.scheduled, ended.len() as u64, "{report}");
        assert_eq!(report.tasks.done, returned as u64, "{report}");
        assert_eq!(report.tasks.failed, self.failures.len() as u64, "{report}");
        self.check_flushes(root);
    }

    /// Compares what was said under this id with the script of the task alone.
    pub(crate) fn check_attempts(&self, task: &Scripted, id: TaskId) {
        assert_eq!(self.ids.get(&task.id), Some(&HashSet::from([id])));
        task.made().for_each(|(number, attempt)| self.check_attempt(task.id, number, attempt));
    }

    /// `certain`: it must have been scheduled, not only may have been.
    fn check_task(&self, task: &Scripted, certain: bool, possible: &mut BTreeMap<u32, bool>) {
        let id = task.id;
        possible.insert(id, certain);
        let ran = self.ids.contains_key(&id);
        assert!(ran || !certain, "task {id} was lost");
        let (mut children_certain, mut children_possible) = (0, 0);
        for (number, attempt) in task.made() {
            let children = certain_and_possible(
                attempt,
                &Step::Schedule,
                task.children.len(),
                attempt.end.sends_the_rest(),
            );
            children_certain = children_certain.max(children.0);
            children_possible = children_possible.max(children.1);
            if ran {
                self.check_attempt(id, number, attempt);
            }
        }
        let (last_number, last) = task.made().last().expect("one attempt is made at least");
        let beyond = self.heard.range((id, last_number + 1)..=(id, u32::MAX)).next();
        assert!(beyond.is_none(), "task {id} was tried again after its end: {beyond:?}");
        let failures = self.failures.get(&id).map_or(&[][..], Vec::as_slice);
        match failures {
            [] => assert!(!ran || last.end == End::Return, "task {id} has not failed"),
            [failure] => check_failure(task, failure),
            more => panic!("task {id} has failed {} times", more.len()),
        }
        for (index, child) in task.children.iter().enumerate() {
            if index < children_possible {
                self.check_task(child, ran && index < children_certain, possible);
            }
        }
    }

    /// An attempt that ended without killing its worker may be made again under the same number: another task may
    /// have killed that worker before the end was reported.
    fn check_attempt(&self, id: u32, number: u32, attempt: &Attempt) {
        let heard = self.heard.get(&(id, number)).map_or(&[][..], Vec::as_slice);
        let mut runs: Vec<_> =
            heard.chunk_by(|_, next| *next != Heard::Said(0)).flat_map(split_returns).collect();
        let last = runs.pop().unwrap_or_default();
        assert!(runs.is_empty() || attempt.end.death().is_none(), "task {id}, attempt {number}: {heard:?}");
        for run in runs {
            check_run(id, number, attempt, run, true);
        }
        check_run(id, number, attempt, last, false);
    }

    /// What was written down when a flush returned.
    fn check_flushes(&self, root: &Scripted) {
        let lines = fs::read_to_string(&root.flushes).unwrap_or_default();
        for line in lines.lines() {
            let numbers: Vec<usize> = line.split(' ').map(|word| word.parse().expect("a number")).collect();
            let [id, attempt, said, _scheduled] = numbers[..] else { panic!("{line:?}") };
            let came = self.said(id as u32, attempt as u32);
            assert!(came >= said, "task {id}, attempt {attempt}: {said} were flushed, {came} came");
        }
    }
}

/// The runs in what was heard of an attempt between two beginnings: each ends with its return.
fn split_returns(heard: &[Heard]) -> impl Iterator<Item = &[Heard]> {
    heard.split_inclusive(|heard| *heard == Heard::Returns)
}

/// What was heard of one run: a beginning of what it said, as far as that was covered at least. `lost`: its worker
/// died before its end was reported.
fn check_run(id: u32, number: u32, attempt: &Attempt, heard: &[Heard], lost: bool) {
    let (said, returned) = match heard.split_last() {
        Some((Heard::Returns, said)) => (said, true),
        _ => (heard, false),
    };
    // The return is said last.
    let rest = returned || (!lost && attempt.end.sends_the_rest());
    let (certain, possible) = certain_and_possible(attempt, &Step::Say, usize::MAX, rest);
    let context = || format!("task {id}, attempt {number}, {attempt:?}: {heard:?}");
    assert!(said.iter().copied().eq((0..said.len() as u32).map(Heard::Said)), "{}", context());
    assert!((certain..=possible).contains(&said.len()), "{}", context());
    let returns = attempt.end == End::Return;
    assert!(returned == returns || (returns && lost), "{}", context());
}

fn check_failure(task: &Scripted, failure: &TaskFailure) {
    let (last_number, last) = task.made().last().expect("one attempt is made at least");
    assert_eq!(failure.attempt, last_number, "{failure}");
    match (&failure.cause, last.end) {
        (FailureCause::Error { chain, .. }, End::Fail) => assert_eq!(chain, &["as scripted"]),
        (FailureCause::Panicked { message, .. }, End::Panic) => assert_eq!(message, "as scripted"),
        (FailureCause::WorkerDied, end) => assert!(end.death().is_some(), "{failure}"),
        _ => panic!("it should have ended by {:?}: {failure}", last.end),
    }
    let expected: Vec<_> = task.made().filter_map(|(_, attempt)| attempt.end.death()).collect();
    let statuses: Vec<_> = failure.deaths.iter().map(|death| death.status).collect();
    assert_eq!(statuses, expected, "{failure}");
    for DeathCertificate { charged, killed_because, .. } in &failure.deaths {
        assert_eq!((*charged, *killed_because), (Some(failure.task), None), "{failure}");
    }
}

/// The scripts, to be read where a check fails.
pub(crate) fn describe(task: &Scripted) -> String {
    let mut text = String::new();
    write_task(&mut text, task, 0);
    text
}

fn write_task(text: &mut String, task: &Scripted, depth: usize) {
    for Attempt { steps, end } in &task.attempts {
        let indent = 2 * depth;
        writeln!(text, "{:indent$}{}: {steps:?} {end:?}", "", task.id).expect("a text takes everything");
    }
    task.children.iter().for_each(|child| write_task(text, child, depth + 1));
}
