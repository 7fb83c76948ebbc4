//! What lies in the inbox.

use crate::{
    failure::TaskFailure,
    ids::TaskId,
    message::{EncodedMessage, Message, MessageError, ReadMessage},
};

/// What lies in the inbox.
#[derive(Debug)]
pub(crate) enum Item {
    Message { task: Option<TaskId>, attempt: u32, message: EncodedMessage },
    Failure(TaskFailure),
}

impl Item {
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            Self::Message { message, .. } => size_of::<Self>() + message.name.len() + message.payload.len(),
            Self::Failure(failure) => size_of::<Self>() + failure.len_bytes(),
        }
    }

    /// The item as a reader of `M` gets it.
    pub(crate) fn decode<M: ReadMessage>(self) -> Result<Message<M>, MessageError> {
        match self {
            Self::Failure(failure) => Err(MessageError::Failed(failure)),
            Self::Message { task, attempt, message: content } => M::read(Message { content, task, attempt }),
        }
    }
}
