//! The thread of a worker process that runs its tasks: by [`init`](crate::init) a thread of its own, by
//! [`WorkerLoop`] whichever the program likes.
//!
//! Invariants:
//! - The status page names a task before the first line of its code runs.
//! - Before the thread waits for work, everything it has to say is on its way.
//! - A task that panics, or cannot be decoded, ends as a failure of that task; the thread goes on.
//! - In a process that a task has forked, nothing comes after that task.
//! - A task that was received ends: dropping it is a failure. (One that a program forgets, by `mem::forget`, it keeps.)

use std::{
    fmt, process,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use workfleet_wire::{Kind, message};

use super::{
    entry,
    error::{GreetError, WorkerLoopError},
    fork, io,
    places::SINGLE,
    shared::Worker,
    start::EndWithThread,
};
use crate::{
    context::TaskContext,
    failure::{Failed, FailureCause},
    guardian::become_guardian,
    ids::TaskId,
    kinds, markers,
    protocol::{EXIT_CODE, FailureFrame, ResultFrame, StartFailed},
    registry::{Registry, entry::AsyncRunFn},
    run::{
        self, STACK_BYTES, caught, panics,
        queue::Step,
        queued::Queued,
        runtime::{self, TURN, on_own_runtime},
        together::{self, Desk},
    },
    session_values::SessionFailed,
    sys::own,
};

/// A task that took less has not closed the worker's socket.
const CLOSING_TAKES: Duration = Duration::from_micros(1);
/// Results are gathered for at most this long while tasks wait.
const GATHER: Duration = Duration::from_micros(200);
/// A longer reason for not starting is cut.
const REASON_CHARS: usize = 8 * 1024;
/// An output that has grown beyond this does not keep its memory.
const KEPT_BYTES: usize = 1024 * 1024;

/// A worker process whose program decides where and when tasks run: on the main thread, between the events of a
/// graphical interface, or inside an interpreter.
///
/// Use [`init`](crate::init) if you can: it is simpler. This type is the lower level: the worker's side of its
/// connection. In both cases an I/O thread runs in the background, which cancels tasks, sends results, and notices the
/// manager's death. Here, asynchronous tasks run one at a time.
///
/// Between two calls of [`next_task`](Self::next_task), the program may do other work for any time. Meanwhile the worker
/// answers its manager, and its tasks can be cancelled. At most one task waits in the worker then; the manager gives the
/// tasks behind it to other workers.
///
/// ```no_run
/// use std::time::Duration;
/// use workfleet_task_manager::{NextTask, Registry, WorkerLoop};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let registry = Registry::new(); // .task::<…>()
///     if let Some(mut worker) = WorkerLoop::setup(&registry)? {
///         let mut next = worker.next_task(Duration::from_millis(100));
///         loop {
///             next = match next {
///                 NextTask::Task(task) => {
///                     println!("{} for the {}. time", task.name(), task.attempt());
///                     task.run().acknowledge_and_next_task(Duration::from_millis(100))
///                 }
///                 NextTask::None(worker) => worker.next_task(Duration::from_millis(100)), // time for other things
///                 NextTask::Close(request) => request.exit(),
///             }
///         }
///     }
///     // From here on, this is the program itself.
///     Ok(())
/// }
/// ```
///
/// Dropping it ends the process, because the manager would wait for a worker that runs no tasks. The sessions are
/// dropped first. The exit code is 0, or 101 if the loop is dropped because the program panics.
pub struct WorkerLoop {
    worker: Arc<Worker>,
    output: Vec<u8>,
    /// When results were sent last.
    sent_at: Instant,
    /// When something last ended.
    now: Instant,
    /// When what is in the background last had its turn.
    turned_at: Instant,
}

/// What a worker is to do next.
#[derive(Debug)]
pub enum NextTask<'a> {
    /// Nothing has come in time.
    None(&'a mut WorkerLoop),
    /// A task.
    Task(ReceivedTask<'a>),
    /// Nothing comes any more.
    Close(CloseRequest<'a>),
}

/// The manager wants its worker to exit: every task has ended.
#[derive(Debug)]
pub struct CloseRequest<'a> {
    worker: &'a Worker,
}

impl CloseRequest<'_> {
    /// Sends everything that waits to be sent, drops the [sessions](crate::Registry::session), and exits with code 0.
    pub fn exit(self) -> ! {
        self.worker.leave()
    }
}

/// A task that a worker was given. Dropping it fails the task.
#[must_use = "dropping a task fails it"]
pub struct ReceivedTask<'a> {
    /// None once it was taken out.
    inner: Option<(&'a mut WorkerLoop, Queued)>,
}

/// A task that has been run. Its end is reported by
/// [`acknowledge_and_next_task`](Self::acknowledge_and_next_task), or when this is dropped.
#[must_use = "the manager waits for the report"]
pub struct FinishedTask<'a> {
    /// None once it was taken out.
    inner: Option<(&'a mut WorkerLoop, Report)>,
}

/// How an attempt ended; its output is in the loop's buffer.
struct Report {
    task: Queued,
    ended: Result<(), Box<Failed>>,
    took: Duration,
}

impl Worker {
    /// Starts the task thread and leaves the calling one to sleep: the process ends through the others.
    pub(super) fn work(self: Arc<Self>) -> WorkerLoopError {
        let task_thread = thread::Builder::new().name("workfleet-task".into()).stack_size(STACK_BYTES);
        let started = task_thread.spawn(move || {
            let _end = EndWithThread;
            match WorkerLoop::ready(self) {
                Ok(worker) => worker.run(),
                // The manager was told why.
                Err(_) => process::exit(EXIT_CODE),
            }
        });
        match started {
            Ok(_) => loop {
                thread::park();
            },
            Err(error) => GreetError::Thread(error).into(),
        }
    }
}

impl WorkerLoop {
    /// Makes this process a worker if a manager has started it as one. Its sessions are made on this thread, and its
    /// tasks run on this thread. `None` in every other process.
    ///
    /// # Errors
    /// [`WorkerLoopError`]: the handshake with the manager fails, or a session cannot be made. The process should exit. The
    /// manager is told the reason, and reports a [`StartFailure`](crate::StartFailure).
    #[doc(alias = "Proxy")]
    pub fn setup(registry: &Registry) -> Result<Option<Self>, WorkerLoopError> {
        entry::is_main();
        become_guardian();
        if !markers::has_connection() {
            return Ok(None);
        }
        let worker = Worker::start(registry, false)?;
        Self::ready(worker).map(Some)
    }

    /// Makes the sessions and tells the manager that tasks are welcome.
    fn ready(worker: Arc<Worker>) -> Result<Self, WorkerLoopError> {
        panics::keep(worker.backtraces);
        let values =
            std::mem::take(&mut *worker.session_values.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(failed) = worker.sessions.make(&worker.registry, &values) {
            let of_value = matches!(failed, SessionFailed::Value(_));
            let reason: String = failed.into_reason().chars().take(REASON_CHARS).collect();
            let failed = StartFailed { reason: reason.clone(), of_value };
            push_greeting(&worker, kinds::START_FAILED, |out| message::encode_into(&failed, out));
            worker.outbox.flush_fully();
            worker.sessions.end();
            return Err(WorkerLoopError::session(reason));
        }
        push_greeting(&worker, kinds::IDLE, |_| Ok(()));
        let now = Instant::now();
        Ok(Self { worker, output: Vec::new(), sent_at: now, now, turned_at: now })
    }

    /// Waits for the next task, at most this long: `Duration::ZERO` only looks, `Duration::MAX` waits forever.
    pub fn next_task(&mut self, patience: Duration) -> NextTask<'_> {
        match self.worker.queue.try_next() {
            Some(task) => NextTask::Task(ReceivedTask { inner: Some((self, task)) }),
            None => self.wait(patience),
        }
    }

    fn wait(&mut self, patience: Duration) -> NextTask<'_> {
        let worker = &*self.worker;
        let deadline = Instant::now().checked_add(patience);
        loop {
            let next = runtime::wait_with_background(deadline, |cx| {
                if worker.queue.give_up_socket() {
                    worker.outbox.wake();
                }
                worker.queue.poll_next(cx)
            });
            if let Some(Some(task)) = next {
                self.now = Instant::now();
                return NextTask::Task(ReceivedTask { inner: Some((self, task)) });
            }
            match worker.queue.next(deadline, || worker.outbox.wake()) {
                Step::Run(task, wake_io) => {
                    if wake_io {
                        worker.outbox.wake();
                    }
                    self.now = Instant::now();
                    return NextTask::Task(ReceivedTask { inner: Some((self, task)) });
                }
                Step::PollSocket => {
                    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                    io::poll_socket(worker, left);
                }
                Step::Nothing => {
                    // This thread goes elsewhere: the other has to watch.
                    worker.poll_for_answer();
                    return NextTask::None(self);
                }
                Step::End => return NextTask::Close(CloseRequest { worker: &self.worker }),
            }
        }
    }

    /// Runs tasks until there are none any more, then exits.
    fn run(mut self) -> ! {
        let mut next = self.next_task(Duration::MAX);
        loop {
            next = match next {
                NextTask::Task(task) if task.is_concurrent() => task.run_together().next_task(Duration::MAX),
                NextTask::Task(task) => task.run().acknowledge_and_next_task(Duration::MAX),
                NextTask::None(worker) => worker.next_task(Duration::MAX),
                NextTask::Close(request) => request.exit(),
            };
        }
    }

    /// Sends how an attempt ended, or leaves that for later.
    fn report(&mut self, report: Report, send: bool) {
        self.worker.report(report.task.lease(), report.ended.map(|()| &*self.output), report.took, send);
        if send {
            self.sent_at = self.now;
        }
        if self.output.capacity() > KEPT_BYTES {
            self.output = Vec::new();
        }
    }
}

impl Drop for WorkerLoop {
    fn drop(&mut self) {
        fork::end_copy();
        self.worker.leave()
    }
}

/// What is taken out of a task is taken by a method that consumes it.
fn used_up() -> ! {
    unreachable!("a task that was consumed is used")
}

impl<'a> ReceivedTask<'a> {
    fn task(&self) -> &Queued {
        &self.inner.as_ref().unwrap_or_else(|| used_up()).1
    }

    fn into_inner(mut self) -> (&'a mut WorkerLoop, Queued) {
        self.inner.take().unwrap_or_else(|| used_up())
    }

    fn worker(&self) -> &Arc<Worker> {
        &self.inner.as_ref().unwrap_or_else(|| used_up()).0.worker
    }

    /// The name of the task's type.
    pub fn name(&self) -> &'static str {
        let entry = self.worker().entries.get(self.task().task_type as usize);
        entry.map_or("unknown", |entry| (entry.spec)().name)
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        TaskId::new(self.worker().manager, self.task().attempt.sequence)
    }

    /// Which attempt at it this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.task().attempt.number
    }

    fn is_concurrent(&self) -> bool {
        self.task().concurrent
    }

    /// Runs it on this thread. Its panic is its failure.
    pub fn run(self) -> FinishedTask<'a> {
        let (own, task) = self.into_inner();
        let ended = own.worker.run_one(&task, &mut own.output);
        let began = std::mem::replace(&mut own.now, Instant::now());
        let took = own.now - began;
        if took >= CLOSING_TAKES {
            if !own.worker.outbox.is_intact() {
                // The status page still names the task that did this: it is charged, not the next.
                own::end_group();
            }
            // Looking takes longer than a short task, which would be looked after for that.
            own.now = Instant::now();
        }
        FinishedTask { inner: Some((own, Report { task, ended, took })) }
    }

    /// Runs it, and whatever comes meanwhile, beside one another.
    fn run_together(self) -> &'a mut WorkerLoop {
        let (own, task) = self.into_inner();
        let lease = task.lease();
        // Nobody watches the socket but the I/O thread, until all of them have ended.
        own.worker.poll_for_answer();
        if let Err(error) = on_own_runtime(|runtime| together::run(&own.worker, runtime, task)) {
            // Without a runtime there is nothing to run it on.
            let ended = Err(FailureCause::Rejected { reason: format!("no runtime: {error}") }.into());
            own.worker.outbox.open(lease, Duration::ZERO, false);
            own.worker.queue.end_concurrent(lease);
            own.worker.report(lease, ended, Duration::ZERO, true);
        }
        own.now = Instant::now();
        own.sent_at = own.now;
        own
    }
}

impl Drop for ReceivedTask<'_> {
    fn drop(&mut self) {
        if let Some((own, task)) = self.inner.take() {
            own.worker.outbox.open(task.lease(), Duration::ZERO, false);
            let reason = "the worker's loop dropped it".to_owned();
            let ended = Err(FailureCause::Rejected { reason }.into());
            own.report(Report { task, ended, took: Duration::ZERO }, true);
        }
    }
}

impl<'a> FinishedTask<'a> {
    /// Whether it ended with its output.
    pub fn is_done(&self) -> bool {
        self.inner.as_ref().is_some_and(|(_, report)| report.ended.is_ok())
    }

    /// Reports how the task ended, and [waits](WorkerLoop::next_task) for the next.
    pub fn acknowledge_and_next_task(mut self, patience: Duration) -> NextTask<'a> {
        let (own, report) = self.inner.take().unwrap_or_else(|| used_up());
        if own.now - own.turned_at >= TURN {
            own.turned_at = own.now;
            runtime::turn_background();
        }
        let next = own.worker.queue.try_next();
        let send = next.is_none() || own.now - own.sent_at >= GATHER;
        own.report(report, send);
        match next {
            Some(task) => NextTask::Task(ReceivedTask { inner: Some((own, task)) }),
            None => own.wait(patience),
        }
    }
}

impl Drop for FinishedTask<'_> {
    fn drop(&mut self) {
        if let Some((own, report)) = self.inner.take() {
            own.report(report, true);
        }
    }
}

impl fmt::Debug for WorkerLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLoop").field("worker", &self.worker.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for ReceivedTask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedTask").field("name", &self.name()).field("id", &self.id()).finish()
    }
}

impl fmt::Debug for FinishedTask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinishedTask").field("is_done", &self.is_done()).finish_non_exhaustive()
    }
}

impl Worker {
    /// Runs a task up to its encoded output.
    fn run_one(self: &Arc<Self>, task: &Queued, output: &mut Vec<u8>) -> Result<(), Box<Failed>> {
        self.status_page.publish(SINGLE, task.lease());
        self.open(task);
        output.clear();
        let Some(entry) = self.entries.get(task.task_type as usize) else {
            return Err(task.unknown().into());
        };
        let cx = task.context(self.clone());
        let wanted = task.wants_output.then_some(&mut *output);
        let ended = caught(|| (entry.run)(&task.payload, &cx, wanted));
        fork::end_copy();
        self.classify(task, ended, output.len())
    }

    /// From now on, the attempt may say something.
    fn open(&self, task: &Queued) {
        let interval = self.throttle.interval(task.heartbeat_timeout);
        self.outbox.open(task.lease(), interval, task.heartbeat_timeout.is_some());
    }

    /// What the manager is told of how an attempt ended.
    fn classify(
        &self,
        task: &Queued,
        ended: Result<(), Box<Failed>>,
        output_bytes: usize,
    ) -> Result<(), Box<Failed>> {
        let is_cancelled = || self.queue.is_cancelled(task.lease());
        let debug = || task.debug_form(&self.entries);
        run::classify(ended, output_bytes, self.frame_limit_bytes, is_cancelled, debug)
    }

    /// Sends how an attempt ended.
    fn report(&self, lease: u64, ended: Result<&[u8], Box<Failed>>, took: Duration, send: bool) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let pushed = match ended {
            Ok(output) => self.outbox.close(lease, send, kinds::RESULT, |out, _| {
                message::encode_into(&ResultFrame { lease, took_ns, output }, out)
            }),
            Err(mut failed) => {
                failed.shorten(self.frame_limit_bytes);
                self.outbox.close(lease, send, kinds::FAILURE, |out, last_heartbeat| {
                    message::encode_into(&FailureFrame { lease, took_ns, failed, last_heartbeat }, out)
                })
            }
        };
        if let Err(error) = pushed {
            // Numbers, texts and bytes always encode.
            workfleet_notice::error!(%error, "the end of a task was lost");
        }
    }
}

impl Desk for Worker {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Queued>> {
        self.queue.poll_next(cx)
    }

    fn run_single(self: &Arc<Self>, task: Queued) {
        let began = Instant::now();
        let mut output = Vec::new();
        let ended = self.run_one(&task, &mut output);
        self.report(task.lease(), ended.map(|()| &*output), began.elapsed(), true);
    }

    fn begin(self: &Arc<Self>, task: &Queued) -> (TaskContext, Option<AsyncRunFn>) {
        let lease = task.lease();
        self.status_page.publish(self.places.take(lease), lease);
        self.open(task);
        let entry = self.entries.get(task.task_type as usize);
        (task.context(self.clone()), entry.and_then(|entry| entry.run_async))
    }

    fn end(&self, task: Queued, ended: Result<Vec<u8>, Box<Failed>>, took: Duration) {
        fork::end_copy();
        let lease = task.lease();
        let (ended, output) = match ended {
            Ok(output) => (Ok(()), output),
            Err(failed) => (Err(failed), Vec::new()),
        };
        let ended = self.classify(&task, ended, output.len());
        self.report(lease, ended.map(|()| &*output), took, true);
        self.queue.end_concurrent(lease);
        self.places.give_back(lease);
    }
}

fn push_greeting(
    worker: &Worker,
    kind: Kind,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), workfleet_wire::EncodeError>,
) {
    if let Err(error) = worker.outbox.push(kind, fill) {
        workfleet_notice::error!(%error, kind = %kinds::TABLE.named(kind), "a frame was lost");
    }
}
