//! What can go wrong in a measurement, as text that says what to do about it.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;

/// Why a figure could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The contender is not there; reported as not measured, which is no failure.
    #[error("{0}")]
    NotInstalled(String),
    /// The contender does not do what is measured; reported with the reason, which is no failure either.
    #[error("{0}")]
    Unable(String),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A program that should run could not be started.
    #[error("could not start {}", program.display())]
    Start { program: OsString, source: io::Error },
    /// A program ended with something else than success.
    #[error("{} ended with {status}: {stderr}", program.display())]
    Ended { program: OsString, status: ExitStatus, stderr: String },
    /// A program printed something else than one figure in the expected unit.
    #[error("{} printed {printed:?} instead of `name value {unit}`", program.display())]
    NoFigure { program: OsString, printed: String, unit: &'static str },
    /// A contender's result is wrong, so that its speed means nothing.
    #[error("wrong result: {0}")]
    Wrong(String),
    /// A system call of our own failed.
    #[error("could not {doing}")]
    Io { doing: String, source: io::Error },
    /// The measured library reported an error.
    #[error("{0}")]
    Contender(#[source] Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// For `map_err`: the error of an attempt to do something, described as a verb phrase.
    pub(crate) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Error {
        let doing = doing.into();
        move |source| Error::Io { doing, source: source.into() }
    }

    /// For `map_err`: an error that came from the library under measurement.
    pub(crate) fn contender<E: StdError + Send + Sync + 'static>(error: E) -> Error {
        Error::Contender(Box::new(error))
    }
}

/// The error and its sources on one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // An error may be its own source.
    for _ in 0..64 {
        let Some(error) = source else { break };
        let cause = error.to_string();
        // Some libraries print their source themselves.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}
