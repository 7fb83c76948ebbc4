//! The worker's task thread: makes the sessions, then runs one task after the other.
//!
//! Invariants:
//! - The page names a task before the first line of its code runs.
//! - Before the thread waits for work, everything it has to say is on its way.
//! - A task that panics, or cannot be decoded, ends as a failure of that task; the thread goes on.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use workfleet_wire::{kinds, message};

use super::{
    Worker, io,
    queue::{Queued, Turn},
};
use crate::{
    context::TaskContext,
    failure::FailureCause,
    protocol::{FailureFrame, ResultFrame, StartFailed},
    registry::Entry,
};

/// As much as a main thread has by default.
pub(super) const STACK_BYTES: usize = 8 * 1024 * 1024;
/// A task that took less has not closed the worker's socket.
const CLOSING_TAKES: Duration = Duration::from_micros(1);
/// Results are gathered for at most this long while tasks wait.
const GATHER: Duration = Duration::from_micros(200);

/// A longer reason for not starting is cut.
const REASON_CHARS: usize = 8 * 1024;
/// An output that has grown beyond this does not keep its memory.
const KEPT_BYTES: usize = 1024 * 1024;

thread_local! {
    /// What the panic hook saw on this thread.
    static LAST_PANIC: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

struct PanicReport {
    location: Option<String>,
    backtrace: Option<String>,
}

/// Keeps what a panic's payload does not tell: where it was.
pub(super) fn report_panics() {
    let earlier = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let backtrace = Backtrace::capture();
        let report = PanicReport {
            location: info.location().map(ToString::to_string),
            backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
        };
        LAST_PANIC.with(|last| *last.borrow_mut() = Some(report));
        earlier(info);
    }));
}

/// Runs tasks until the queue ends; then ends the process.
pub(super) fn run(worker: &Arc<Worker>) {
    if let Err(reason) = make_sessions(worker) {
        let failed = StartFailed { reason: reason.chars().take(REASON_CHARS).collect() };
        push_greeting(worker, kinds::START_FAILED, |out| message::encode_into(&failed, out));
        worker.outbox.flush_fully();
        process::exit(70);
    }
    push_greeting(worker, kinds::IDLE, |_| Ok(()));

    let entries = worker.registry.entries();
    let mut output = Vec::new();
    let mut sent_at = Instant::now();
    let mut now = sent_at;
    let mut next = wait(worker);
    while let Some(task) = next {
        let ended = run_one(worker, &entries, &task, &mut output);
        let began = std::mem::replace(&mut now, Instant::now());
        if now - began >= CLOSING_TAKES && !worker.outbox.is_open() {
            // The page still names the task that closed the socket: it is charged, not the next.
            io::end_group();
        }
        next = worker.queue.try_next();
        let send = next.is_none() || now - sent_at >= GATHER;
        report(worker, &task, ended, &output, now - began, send);
        if send {
            sent_at = now;
        }
        if output.capacity() > KEPT_BYTES {
            output = Vec::new();
        }
        if next.is_none() {
            next = wait(worker);
            now = Instant::now();
        }
    }
    worker.outbox.flush_fully();
    process::exit(0);
}

/// Waits for the next task; `None` once nothing comes any more.
fn wait(worker: &Worker) -> Option<Queued> {
    loop {
        match worker.queue.next(|| worker.outbox.wake()) {
            Turn::Run(task, wake_io) => {
                if wake_io {
                    worker.outbox.wake();
                }
                return Some(task);
            }
            Turn::Watch => io::watch(worker),
            Turn::End => return None,
        }
    }
}

fn make_sessions(worker: &Worker) -> Result<(), String> {
    let made = panic::catch_unwind(AssertUnwindSafe(|| worker.registry.make_sessions()))
        .unwrap_or_else(|payload| Err(format!("a session panicked: {}", panic_message(payload))))?;
    let first = worker.sessions.set(made).is_ok();
    debug_assert!(first, "sessions are made once");
    Ok(())
}

/// Runs a task up to its encoded output.
fn run_one(
    worker: &Arc<Worker>,
    entries: &[Entry],
    task: &Queued,
    output: &mut Vec<u8>,
) -> Result<(), FailureCause> {
    worker.page.publish(task.lease);
    worker.outbox.open(task.lease);
    output.clear();
    // A panic that an earlier task caught, or that was resumed, is none of this one's.
    LAST_PANIC.with(|last| *last.borrow_mut() = None);
    let Some(entry) = entries.get(task.task_type as usize) else {
        let reason = format!("task type {} of {} that are registered", task.task_type, entries.len());
        return Err(FailureCause::Rejected { reason });
    };
    let cx = TaskContext::new(Arc::clone(worker), task.lease, task.sequence, task.attempt);
    let wanted = task.wants_output.then_some(&mut *output);
    let ended = panic::catch_unwind(AssertUnwindSafe(|| (entry.run)(&task.payload, &cx, wanted)))
        .unwrap_or_else(|payload| {
            let report = LAST_PANIC.with(|last| last.borrow_mut().take());
            let (location, backtrace) =
                report.map_or((None, None), |report| (report.location, report.backtrace));
            Err(FailureCause::Panicked { message: panic_message(payload), location, backtrace })
        });
    let limit_bytes = worker.frame_limit_bytes;
    match ended {
        Ok(()) if output.len() as u64 + ResultFrame::HEAD_BYTES > limit_bytes => {
            let reason = format!("it has {} bytes, of {limit_bytes} that fit a frame", output.len());
            Err(FailureCause::Output { reason })
        }
        Err(FailureCause::Error { .. }) if worker.is_cancelled(task.lease) => Err(FailureCause::Cancelled),
        ended => ended,
    }
}

/// Sends how an attempt ended.
fn report(
    worker: &Worker,
    task: &Queued,
    ended: Result<(), FailureCause>,
    output: &[u8],
    took: Duration,
    send: bool,
) {
    let lease = task.lease;
    let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let pushed = match ended {
        Ok(()) => worker.outbox.close(lease, send, kinds::RESULT, |out| {
            message::encode_into(&ResultFrame { lease, took_ns, output }, out)
        }),
        Err(cause) => {
            let cause = cause.shortened(worker.frame_limit_bytes);
            worker.outbox.close(lease, send, kinds::FAILURE, |out| {
                message::encode_into(&FailureFrame { lease, took_ns, cause }, out)
            })
        }
    };
    if let Err(error) = pushed {
        // Numbers, texts and bytes always encode.
        tracing::error!(%error, "the end of a task was lost");
    }
}

fn push_greeting(
    worker: &Worker,
    kind: workfleet_wire::Kind,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), workfleet_wire::EncodeError>,
) {
    if let Err(error) = worker.outbox.push(kind, fill) {
        tracing::error!(%error, %kind, "a frame was lost");
    }
}

/// The text that a panic carries, as the standard hook prints it.
fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is no text".to_owned()
    };
    // Its destructor is a task's code too, and so is that of what it may panic with, which is not worth a third try.
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(payload);
    }
    message
}
