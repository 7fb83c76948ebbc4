//! Messages that a running task sends to whoever reads its manager's inbox.
//!
//! Invariant: a message is named and encoded where it is sent and decoded where it is read, so one that its reader
//! does not know is an error of that one message.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use workfleet_wire::DecodeError;

use crate::{failure::TaskFailure, task::TaskId};

/// A type of message: a name and data. What of it travels is said at [`TaskSpec`](crate::TaskSpec).
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workfleet_task_manager::TaskMessage;
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Progress { bytes: u64 }
/// impl TaskMessage for Progress {
///     const NAME: &'static str = "progress";
/// }
/// ```
pub trait TaskMessage: Serialize + DeserializeOwned + Send + 'static {
    /// The name that stands for this type in every process of the fleet.
    const NAME: &'static str;
}

/// For a program that expects failures but no messages: `manager.messages::<NoMessage>()`. While such a reader is open, no
/// other reader gets the failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NoMessage {}

impl TaskMessage for NoMessage {
    const NAME: &'static str = "no-message";
}

/// A message as its reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<M> {
    /// What was sent.
    pub content: M,
    /// The task that sent it; none if it came from the manager's own side.
    pub task: Option<TaskId>,
    /// Which attempt at that task sent it, from 1; 0 without a task. The messages of an attempt that died stay.
    pub attempt: u32,
}

/// Why an item of the inbox is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// This process is a fork of the one that started the manager. The reader ends by this.
    #[error(
        "this process is a fork of the one that started the manager: start another manager after the fork, or exec"
    )]
    Forked,
    /// A task that was scheduled without a handle has failed.
    #[error(transparent)]
    Failed(#[from] TaskFailure),
    /// The inbox was to be read by blocking a thread on which an async runtime polls futures: use
    /// [`message_stream`](crate::Pool::message_stream) or
    /// [`message_stream_until_close`](crate::Pool::message_stream_until_close) there.
    #[error(
        "reading the inbox would block a thread on which an async runtime polls futures: use message_stream there"
    )]
    InsideRuntime,
    /// A message of another type than its reader expects, and of a type that no reader was ever opened for.
    #[error("a message {found:?} came where {expected:?} was expected")]
    #[non_exhaustive]
    Unexpected {
        /// The name it was sent under.
        found: String,
        /// [`TaskMessage::NAME`] of the type that was asked for.
        expected: &'static str,
        /// The task that sent it.
        task: Option<TaskId>,
    },
    /// A message of the expected name that does not decode as the expected type.
    #[error("a message {name:?} does not decode")]
    #[non_exhaustive]
    Malformed {
        /// The name it was sent under.
        name: String,
        /// The task that sent it.
        task: Option<TaskId>,
        /// What was wrong with it.
        source: DecodeError,
    },
}

/// A message as it travels.
#[derive(Clone)]
pub struct EncodedMessage {
    pub(crate) name: Box<str>,
    pub(crate) payload: Box<[u8]>,
}

impl EncodedMessage {
    /// Encodes `message`.
    ///
    /// # Errors
    /// The message does not travel: see [what does](workfleet_wire::message#what-travels-and-what-does-not).
    pub fn new<M: TaskMessage>(message: &M) -> Result<Self, workfleet_wire::EncodeError> {
        Ok(Self {
            name: M::NAME.into(),
            payload: workfleet_wire::message::encode_checked(message)?.into_boxed_slice(),
        })
    }

    /// How long it is, encoded.
    pub(crate) fn len_bytes(&self) -> u64 {
        (self.name.len() + self.payload.len()) as u64
    }

    /// [`TaskMessage::NAME`] of the message's type.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for EncodedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedMessage")
            .field("name", &self.name)
            .field("len_bytes", &self.payload.len())
            .finish()
    }
}
