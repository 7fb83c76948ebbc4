//! What functions that are hooks, tasks or handlers may return.

use crate::error::WorkerError;

/// What a function may return as the end of its work: `()`, or a `Result<(), E>` of any error.
#[diagnostic::on_unimplemented(
    message = "a function that ends in `{Self}` is no hook, task or handler of a worker",
    label = "it has to end in `()` or a `Result<(), E>`",
    note = "end the function in `()`, or in `Ok(())`, with an error `E` that `WorkerError` is made from"
)]
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
