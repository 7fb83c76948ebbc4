//! Where the system has no pidfd, programs have no guardian: this stands in its place, and does nothing. There, a worker that
//! is stopped while its manager is killed is left, and so is what tasks started whose worker is killed together with it.

use std::{io, sync::Arc};

use crate::process::Program;

pub(crate) fn become_guardian() {}

#[derive(Debug)]
pub(crate) struct Guardian;

#[derive(Debug)]
pub(crate) struct Hold;

#[derive(Debug)]
pub(crate) struct Ward;

#[expect(clippy::unnecessary_wraps, reason = "it fails where there is a guardian")]
pub(crate) fn hold(_program: &Program) -> io::Result<Hold> {
    Ok(Hold)
}

impl Hold {
    #[expect(clippy::unused_self, reason = "it is used where there is a guardian")]
    pub(crate) fn guardian(&self) -> Arc<Guardian> {
        Arc::new(Guardian)
    }
}

impl Guardian {
    #[expect(clippy::unnecessary_wraps, reason = "it fails where there is a guardian")]
    pub(crate) fn announce(self: &Arc<Self>, _mark: &str) -> io::Result<Ward> {
        Ok(Ward)
    }
}
