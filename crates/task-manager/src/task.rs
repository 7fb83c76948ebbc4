//! What a task is: a registered name, data that travels, and code that stays where it was compiled.
//!
//! Invariant: only a task's [`NAME`](TaskSpec::NAME) and its encoded fields ever leave the process, never code.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use workfleet_heartbeat::remote::Pins;
use workfleet_wire::message;

use crate::cut::floor_char_boundary;

/// What travels of a task: its name, its fields, and the type of its output.
///
/// Scheduling needs only this; the process that runs the task needs [`Task`](crate::Task) as well.
///
/// A task and its output travel as [messages](workfleet_wire::message#what-travels-and-what-does-not), field after field
/// and without names: a type must read what it writes. A type with `skip_serializing_if`, `untagged`, `tag`, `flatten`,
/// or another attribute that the table there refuses, is an error where it is scheduled, sent or returned. The error
/// names the type and what to change. Some of these errors show only when a value is read back. So the [first
/// values](workfleet_wire::message#what-is-checked-where-a-value-is-sent) of each type are read back where they are
/// sent; with debug assertions, all values are. See [`is_dry_run`](workfleet_wire::message::is_dry_run) for types whose
/// `Deserialize` does more than make a value. Values nest at most
/// [`NESTING_LIMIT`](workfleet_wire::message::NESTING_LIMIT) levels.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workfleet_task_manager::TaskSpec;
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Square(u64);
/// impl TaskSpec for Square {
///     const NAME: &'static str = "square";
///     type Output = u64;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "`TaskSpec` is not implemented for `{Self}`",
    note = "a task is a type of your own that derives `Debug`, `Serialize` and `Deserialize` and implements `TaskSpec`: its name, and the type of its output",
    note = "give the task itself: neither a reference to it, nor a closure"
)]
pub trait TaskSpec: Serialize + DeserializeOwned + fmt::Debug + Send + 'static {
    /// The name that stands for this type in every process of the fleet; unique within a [`Registry`](crate::Registry).
    const NAME: &'static str;
    /// The type of the task's output. It travels back to the task's handle.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The task fails with [`FailureCause::HeartbeatTimeout`](crate::FailureCause::HeartbeatTimeout) if no
    /// [heartbeat](crate::TaskContext::heartbeat) arrives for this long, counted from the start of the attempt. `None`
    /// by default: the task may be silent. With zero, `start` and `init` fail by
    /// [`RegistryError::ZeroHeartbeatTimeout`](crate::RegistryError::ZeroHeartbeatTimeout).
    ///
    /// Links of a [`Chain`](crate::Chain) are part of its attempt, which has no timeout. Asynchronous tasks share their
    /// worker's thread. If one blocks the thread, the others cannot beat, but their time runs on. Time also runs while a
    /// [`FinishedTask`](crate::FinishedTask) is not acknowledged.
    const HEARTBEAT_TIMEOUT: Option<Duration> = None;
}

/// What the manager knows of a type of task without having its code.
#[derive(Debug)]
pub struct SpecInfo {
    /// [`TaskSpec::NAME`].
    pub(crate) name: &'static str,
    /// The type's own name, for errors about it.
    pub(crate) type_name: fn() -> &'static str,
    /// [`TaskSpec::HEARTBEAT_TIMEOUT`].
    pub(crate) heartbeat_timeout: Option<Duration>,
    /// The `Debug` form of an encoded task; none if it does not decode.
    debug: fn(&[u8]) -> Option<String>,
}

impl SpecInfo {
    // Not inlined: so that it has one address for one type, by which it is found at once.
    #[inline(never)]
    pub(crate) fn of<T: TaskSpec>() -> &'static Self {
        const {
            &Self {
                name: T::NAME,
                type_name: std::any::type_name::<T>,
                heartbeat_timeout: T::HEARTBEAT_TIMEOUT,
                debug: debug_form::<T>,
            }
        }
    }

    /// The `Debug` form of an encoded task. It runs the task's code: call it on a thread that runs tasks.
    pub(crate) fn debug_form(&self, payload: &[u8]) -> String {
        match std::panic::catch_unwind(|| (self.debug)(payload)) {
            Ok(form) => form.unwrap_or_else(|| described(self.name, payload.len())),
            Err(panic) => {
                // Its destructor may panic too.
                std::mem::forget(panic);
                format!("{} ({}; its Debug form panics)", self.name, bytes(payload.len()))
            }
        }
    }
}

/// What stands for a task's `Debug` form where the task's code cannot be run.
pub(crate) fn described(name: &str, len_bytes: usize) -> String {
    format!("{name} ({})", bytes(len_bytes))
}

fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".into() } else { format!("{count} bytes") }
}

/// A task's `Debug` form is cut here: a failure should be readable, and a million of them fit the memory.
const DEBUG_FORM_BYTES: usize = 2048;

fn debug_form<T: TaskSpec>(payload: &[u8]) -> Option<String> {
    let task = message::decode::<T>(payload).ok()?;
    let mut form = Cut(String::new());
    if write!(form, "{task:?}").is_err() {
        form.0.push('…');
    }
    Some(form.0)
}

/// Takes text up to [`DEBUG_FORM_BYTES`], and refuses the rest.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = floor_char_boundary(text, DEBUG_FORM_BYTES - self.0.len());
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// A scratch buffer that has grown beyond this is given back.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A task as it travels: what [`Manager`](crate::Manager) is object-safe over.
#[derive(Clone, Debug)]
pub struct EncodedTask {
    pub(crate) spec: &'static SpecInfo,
    pub(crate) payload: Box<[u8]>,
    /// Events and senders in the payload, and in the payloads of the tasks that scheduled this one, are kept as long as
    /// this exists.
    pub(crate) pins: Pins,
}

impl EncodedTask {
    /// Encodes `task`.
    ///
    /// # Errors
    /// The task does not travel: see [what does](workfleet_wire::message#what-travels-and-what-does-not).
    pub fn new<T: TaskSpec>(task: &T) -> Result<Self, workfleet_wire::EncodeError> {
        // Encoded into a buffer that stays, then copied: one allocation of just the right size. It is taken out while in
        // use, because a task's `Serialize` may encode another task.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.clear();
        let (encoded, pins) = Pins::of(|| message::encode_checked_into(task, &mut scratch));
        let payload = encoded.map(|()| Box::from(&*scratch));
        if scratch.capacity() <= KEPT_BYTES {
            // An error means that this thread ends.
            let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        }
        Ok(Self { spec: SpecInfo::of::<T>(), payload: payload?, pins })
    }

    /// [`TaskSpec::NAME`] of the task's type.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// What stands for the task's `Debug` form where its code cannot be run.
    pub(crate) fn described(&self) -> String {
        described(self.spec.name, self.payload.len())
    }

    /// The task's fields, encoded.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}
