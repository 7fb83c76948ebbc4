//! What functions that are hooks, tasks or handlers may return.

use crate::error::WorkerError;

/// What a function may return as the end of its work: `()`, or a `Result<(), E>` of any error.
pub trait HookOutput {
    /// As a hook's result.
    ///
    /// # Errors
    /// The function's error.
    fn into_result(self) -> Result<(), WorkerError>;
}

impl HookOutput for () {
    fn into_result(self) -> Result<(), WorkerError> {
        Ok(())
    }
}

impl<E: Into<WorkerError>> HookOutput for Result<(), E> {
    fn into_result(self) -> Result<(), WorkerError> {
        self.map_err(Into::into)
    }
}
