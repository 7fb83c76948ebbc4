//! The one error of this program: a text for the person who ran it.

use std::fmt;

/// What a step returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Error>;

/// Says what failed, with the name of the file or the command that it failed on.
#[derive(Debug)]
pub(crate) struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
