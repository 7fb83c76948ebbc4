//! The error of a task, in the process that ran it.
//!
//! Invariant: an error's chain of sources is kept as text, because the types of the errors cannot be sent. The chain is
//! as long as [`workfleet_causes::chain`] walks it.

use std::{error::Error, fmt};

use crate::{
    failure::{Failed, FailureCause},
    run::traces::Trace,
};

/// The error of a task: made by `?` from any error, or from a text.
///
/// It does not itself implement [`Error`]: that is what lets `?` convert everything that does.
///
/// ```
/// use workfleet_task_manager::TaskError;
///
/// fn port(text: &str) -> Result<u16, TaskError> {
///     let port = text.parse()?;
///     if port < 1024 {
///         return Err(format!("port {port} is reserved").into());
///     }
///     Ok(port)
/// }
/// assert_eq!(port("80").unwrap_err().to_string(), "port 80 is reserved");
/// assert_eq!(port("http").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub struct TaskError {
    /// The error's text first, then those of its sources.
    chain: Vec<String>,
    trace: Trace,
    /// Where a task fails with what another failed with.
    failed: Option<Box<Failed>>,
}

impl TaskError {
    /// An error that says `message` and has no source.
    pub fn message(message: impl Into<String>) -> Self {
        Self { chain: vec![message.into()], trace: Trace::capture(), failed: None }
    }

    pub(crate) fn caused_by(failed: Box<Failed>) -> Self {
        let chain = vec![failed.cause.to_string()];
        Self { chain, trace: Trace::None, failed: Some(failed) }
    }

    /// The error's text first, then those of its sources, outermost first.
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// How a task that returned this has failed.
    pub(crate) fn into_failed(self) -> Box<Failed> {
        match self.failed {
            Some(failed) => failed,
            None => FailureCause::Error { chain: self.chain, backtrace: self.trace.into_text() }.into(),
        }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for TaskError {
    fn from(error: E) -> Self {
        let error: Box<dyn Error + Send + Sync> = error.into();
        Self { chain: workfleet_causes::chain(&*error), trace: Trace::capture(), failed: None }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.chain.first().map_or("", String::as_str))
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&workfleet_causes::joined(&self.chain))
    }
}
