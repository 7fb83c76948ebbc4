//! Messages that a running task sends to the readers of its manager's inbox.
//!
//! Invariants:
//! - A message is named and encoded where it is sent and decoded where it is read, so one that its reader does not know is
//!   an error of that one message.
//! - An error that is about a message hands it back: who reads loses nothing that was sent.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use workfleet_wire::DecodeError;

use workfleet_causes::readable;

use crate::{failure::TaskFailure, ids::TaskId, refusal::MessageSendError};

/// The longest [name](TaskMessage::NAME) of a type of message: 1 KiB.
pub const NAME_LIMIT_BYTES: usize = 1024;

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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of message",
    label = "`TaskMessage` is not implemented for `{Self}`",
    note = "a message is a type of your own that derives `Serialize` and `Deserialize` and implements `TaskMessage`: its name; put a plain value into such a type"
)]
pub trait TaskMessage: Serialize + DeserializeOwned + Send + 'static {
    /// The name that stands for this type in every process of the fleet; at most [`NAME_LIMIT_BYTES`] long, or the program
    /// does not compile.
    const NAME: &'static str;
}

/// For a program that expects failures but no messages: `manager.messages::<NoMessage>()`. While such a reader is open, no
/// other reader gets the failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NoMessage {}

impl TaskMessage for NoMessage {
    const NAME: &'static str = "no-message";
}

/// What a reader of the inbox can be opened for: each type of [`TaskMessage`]; and [`EncodedMessage`], for messages of any
/// type that no other reader claims, decoded [as asked](Message::decode).
///
/// It is implemented for these, and by nobody else.
pub trait ReadMessage: Sized {
    /// The name of the messages that the reader is for; none if it is for any.
    #[doc(hidden)]
    const READS: Option<&'static str>;

    /// What the reader yields of a message.
    #[doc(hidden)]
    fn read(message: Message<EncodedMessage>) -> Result<Message<Self>, MessageError>;
}

impl<M: TaskMessage> ReadMessage for M {
    const READS: Option<&'static str> = Some(M::NAME);

    fn read(message: Message<EncodedMessage>) -> Result<Message<M>, MessageError> {
        message.decode()
    }
}

impl ReadMessage for EncodedMessage {
    const READS: Option<&'static str> = None;

    fn read(message: Message<Self>) -> Result<Message<Self>, MessageError> {
        Ok(message)
    }
}

/// Which messages a reader was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Those of one type.
    One(&'static str),
    /// Those of every type that no reader claims.
    Any,
}

/// What a reader of `M` is opened for.
pub(crate) fn kinds<M: ReadMessage>() -> Kinds {
    M::READS.map_or(Kinds::Any, Kinds::One)
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

impl Message<EncodedMessage> {
    /// The message as one of type `M`.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use workfleet_task_manager::{EncodedMessage, MessageError, Registry, TaskMessage, ThreadManager};
    ///
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Progress(u32);
    /// impl TaskMessage for Progress {
    ///     const NAME: &'static str = "progress";
    /// }
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Found(String);
    /// impl TaskMessage for Found {
    ///     const NAME: &'static str = "found";
    /// }
    ///
    /// let manager = ThreadManager::builder(Registry::new()).workers(1).start()?;
    /// manager.send_message(&Progress(50))?;
    /// manager.send_message(&Found("a needle".into()))?;
    /// let mut found = Vec::new();
    /// for message in manager.messages::<EncodedMessage>() {
    ///     match message?.decode::<Progress>() {
    ///         Ok(progress) => println!("{} %", progress.content.0),
    ///         Err(MessageError::Unexpected { message, .. }) => found.push(message.decode::<Found>()?.content.0),
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// assert_eq!(found, ["a needle"]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`MessageError::Unexpected`] if it was sent under another name, [`MessageError::Malformed`] if it does not decode.
    /// Both hand it back.
    pub fn decode<M: TaskMessage>(self) -> Result<Message<M>, MessageError> {
        if *self.content.name != *M::NAME {
            return Err(MessageError::Unexpected { message: Box::new(self), expected: M::NAME });
        }
        match workfleet_wire::message::decode(&self.content.payload) {
            Ok(content) => Ok(Message { content, task: self.task, attempt: self.attempt }),
            Err(source) => Err(MessageError::Malformed { message: Box::new(self), source }),
        }
    }
}

/// Why an item of the inbox is no message.
#[derive(thiserror::Error)]
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
    /// Messages are missing here: the inbox was full, running tasks went on sending, and it dropped the oldest, as
    /// [`InboxOverflow::DropOldest`](crate::InboxOverflow::DropOldest) asks for. The reader goes on with what came after them.
    /// If no reader had been opened for their types, a reader of messages of such types gets this.
    #[error("{count} messages were dropped, because the inbox was full and running tasks went on sending")]
    #[non_exhaustive]
    Dropped {
        /// [`TaskMessage::NAME`] of their type; none if they were of types that no reader had been opened for.
        name: Option<&'static str>,
        /// How many.
        count: u64,
    },
    /// A message of another type than its reader expects. A reader yields it if no reader was ever opened for that type, nor
    /// one of [`EncodedMessage`].
    #[error("a message {:?} came where {expected:?} was expected", message.content.name)]
    #[non_exhaustive]
    Unexpected {
        /// The message, to be [decoded](Message::decode) as another type.
        message: Box<Message<EncodedMessage>>,
        /// [`TaskMessage::NAME`] of the type that was asked for.
        expected: &'static str,
    },
    /// A message of the expected name that does not decode as the expected type.
    #[error("a message {:?} of {} bytes does not decode", message.content.name, message.content.payload.len())]
    #[non_exhaustive]
    Malformed {
        /// The message.
        message: Box<Message<EncodedMessage>>,
        /// What was wrong with it.
        source: DecodeError,
    },
}

readable!(MessageError {
    Forked,
    Failed(failure),
    InsideRuntime,
    Dropped { name, count },
    Unexpected { message, expected },
    Malformed { message, source },
});

impl MessageError {
    /// The message that this is about, if it is about one.
    pub fn into_message(self) -> Option<Message<EncodedMessage>> {
        match self {
            Self::Unexpected { message, .. } | Self::Malformed { message, .. } => Some(*message),
            Self::Forked | Self::Failed(_) | Self::InsideRuntime | Self::Dropped { .. } => None,
        }
    }
}

/// A message as it travels: its name and its bytes.
///
/// A reader of this type gets messages of any type that no reader of a type claims: see
/// [`Pool::messages`](crate::Pool::messages), and [`Message::decode`].
#[derive(Clone, PartialEq, Eq)]
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
        const {
            assert!(
                M::NAME.len() <= NAME_LIMIT_BYTES,
                "the name of a message is longer than NAME_LIMIT_BYTES"
            )
        };
        Ok(Self {
            name: M::NAME.into(),
            payload: workfleet_wire::message::encode_checked(message)?.into_boxed_slice(),
        })
    }

    /// Whether it is within the limit of its manager.
    pub(crate) fn check_len(&self, limit_bytes: u64) -> Result<(), MessageSendError> {
        let len_bytes = self.payload.len() as u64;
        if len_bytes > limit_bytes {
            Err(MessageSendError::TooLarge { len_bytes, limit_bytes })
        } else {
            Ok(())
        }
    }

    /// [`TaskMessage::NAME`] of the message's type.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value, in [postcard's format](https://postcard.jamesmunns.com/wire-format).
    pub fn as_bytes(&self) -> &[u8] {
        &self.payload
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
