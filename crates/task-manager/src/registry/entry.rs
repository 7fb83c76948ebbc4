//! The code of one type of task: how a task of that type is run from its encoded form to its encoded output.
//!
//! Invariants:
//! - What was received and cannot be decoded, and an output that cannot be encoded, are failures of that task. Neither is a
//!   panic.
//! - `run::traces` knows the functions that call a task's code by their names: a backtrace is cut there.

use std::{any::TypeId, fmt, future::Future, pin::Pin};

use workfleet_wire::{EncodeError, message};

use workfleet_causes::with_sources;

use crate::{
    code::{AsyncTask, Task},
    context::TaskContext,
    error::TaskError,
    failure::{Failed, FailureCause},
    run::runtime::on_own_runtime,
    task::{SpecInfo, TaskSpec},
};

/// Decodes a task, runs it, and appends its encoded output if that is wanted.
type RunFn = fn(&[u8], &TaskContext, Option<&mut Vec<u8>>) -> Result<(), Box<Failed>>;

/// The same for a task that runs beside others; the flag says whether the output is wanted.
pub(crate) type AsyncRunFn = for<'a> fn(&'a [u8], &'a TaskContext, bool) -> AsyncRun<'a>;

type AsyncRun<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Box<Failed>>> + 'a>>;

/// A type of task and its code.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    type_id: fn() -> TypeId,
    pub(crate) spec: fn() -> &'static SpecInfo,
    /// Runs it on this thread, to its end.
    pub(crate) run: RunFn,
    /// Of an asynchronous task.
    pub(crate) run_async: Option<AsyncRunFn>,
}

impl Entry {
    pub(super) fn of<T: Task>() -> Self {
        Self::new::<T>(run_encoded::<T>, None)
    }

    pub(super) fn of_async<T: AsyncTask>() -> Self {
        Self::new::<T>(block_on_encoded::<T>, Some(run_encoded_async::<T>))
    }

    fn new<T: TaskSpec>(run: RunFn, run_async: Option<AsyncRunFn>) -> Self {
        Self { type_id: TypeId::of::<T>, spec: spec_of::<T>, run, run_async }
    }

    /// Whether both are of one type of task.
    pub(super) fn is_same_type(&self, other: &Self) -> bool {
        (self.type_id)() == (other.type_id)()
    }

    pub(crate) fn is_async(&self) -> bool {
        self.run_async.is_some()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&(self.spec)().name).finish()
    }
}

fn spec_of<T: TaskSpec>() -> &'static SpecInfo {
    SpecInfo::of::<T>()
}

fn run_encoded<T: Task>(
    payload: &[u8],
    cx: &TaskContext,
    output: Option<&mut Vec<u8>>,
) -> Result<(), Box<Failed>> {
    let value = decode::<T>(payload)?.run(cx).map_err(TaskError::into_failed)?;
    output.map_or(Ok(()), |output| encode_output::<T>(&value, output))
}

fn run_encoded_async<'a, T: AsyncTask>(
    payload: &'a [u8],
    cx: &'a TaskContext,
    wants_output: bool,
) -> AsyncRun<'a> {
    Box::pin(async move {
        let value = decode::<T>(payload)?.run(cx).await.map_err(TaskError::into_failed)?;
        let mut output = Vec::new();
        if wants_output {
            encode_output::<T>(&value, &mut output)?;
        }
        Ok(output)
    })
}

fn block_on_encoded<T: AsyncTask>(
    payload: &[u8],
    cx: &TaskContext,
    output: Option<&mut Vec<u8>>,
) -> Result<(), Box<Failed>> {
    let task = decode::<T>(payload)?;
    let ended = on_own_runtime(|runtime| runtime.block_on(task.run(cx)));
    let ended = ended.map_err(|error| TaskError::from(error).into_failed())?;
    let value = ended.map_err(TaskError::into_failed)?;
    output.map_or(Ok(()), |output| encode_output::<T>(&value, output))
}

fn decode<T: TaskSpec>(payload: &[u8]) -> Result<T, Box<Failed>> {
    message::decode(payload).map_err(|error| FailureCause::Rejected { reason: with_sources(&error) }.into())
}

fn encode_output<T: TaskSpec>(value: &T::Output, output: &mut Vec<u8>) -> Result<(), Box<Failed>> {
    message::encode_checked_into(value, output)
        .map_err(|error: EncodeError| FailureCause::Output { reason: with_sources(&error) }.into())
}
