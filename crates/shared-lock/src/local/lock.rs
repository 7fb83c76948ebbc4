//! The future of a lock that may have to wait.
//!
//! Invariant: once it has asked, it has a place, and dropping it leaves that place, whether the grant has come meanwhile or
//! not. Only a future that is ready gives the place away.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::{
    guard::LocalGuard,
    owner::Owner,
    shards::{Asked, Place, Shards},
    waiter::WaitCell,
};
use crate::{LockFailed, Mode, events};

#[derive(Debug)]
#[must_use = "a lock is only asked for when it is awaited"]
pub(super) struct Lock<'s, 'k> {
    shards: &'s Arc<Shards>,
    owner: Option<&'s Owner>,
    key: &'k str,
    mode: Mode,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    New,
    Waits(Place, Arc<WaitCell>),
    Done,
}

impl<'s, 'k> Lock<'s, 'k> {
    pub(super) fn new(shards: &'s Arc<Shards>, owner: Option<&'s Owner>, key: &'k str, mode: Mode) -> Self {
        Self { shards, owner, key, mode, progress: Progress::New }
    }

    fn label(&self) -> Option<&'s str> {
        self.owner.map(|owner| &**owner.label())
    }

    #[cold]
    fn fail(&self, failed: LockFailed) -> LockFailed {
        events::failed(self.key, self.mode, self.label(), &failed);
        failed
    }

    /// The wait is over.
    fn finish(&mut self, outcome: Result<(), LockFailed>) -> Result<LocalGuard, LockFailed> {
        let Progress::Waits(place, _) = std::mem::replace(&mut self.progress, Progress::Done) else {
            unreachable!("who waits has a place");
        };
        match outcome {
            Ok(()) => Ok(LocalGuard::new(place, self.mode, self.label())),
            Err(failed) => Err(self.fail(failed)),
        }
    }
}

impl Future for Lock<'_, '_> {
    type Output = Result<LocalGuard, LockFailed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Progress::New = this.progress {
            this.progress = Progress::Done;
            events::acquiring(this.key, this.mode, this.label());
            return match this.shards.ask(this.owner, this.key, this.mode, true) {
                Ok(Asked::Granted(place)) => Poll::Ready(Ok(LocalGuard::new(place, this.mode, this.label()))),
                Ok(Asked::Waits(place, cell)) => {
                    let outcome = cell.poll_new(cx);
                    this.progress = Progress::Waits(place, cell);
                    let outcome = ready!(outcome);
                    Poll::Ready(this.finish(outcome))
                }
                Ok(Asked::Taken) => unreachable!("it was to wait"),
                Err(failed) => Poll::Ready(Err(this.fail(failed))),
            };
        }
        match &this.progress {
            // Nobody is left to grant it.
            Progress::Waits(place, _) if !place.is_here() => {
                Poll::Ready(this.finish(Err(LockFailed::Forked)))
            }
            Progress::Waits(_, cell) => {
                let outcome = ready!(cell.poll(cx));
                Poll::Ready(this.finish(outcome))
            }
            Progress::New | Progress::Done => panic!("a lock's future was polled after it was ready"),
        }
    }
}

impl Drop for Lock<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if let Progress::Waits(..) = self.progress {
            events::lost(self.key, self.mode, self.label());
        }
        // Then the place is left.
    }
}
