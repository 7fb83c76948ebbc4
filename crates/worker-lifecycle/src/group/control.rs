//! Changing a group from outside, while it runs.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use workfleet_causes::readable;
use workfleet_fork::Home;
use workfleet_panics::discard;

use crate::{
    error::{StartError, StuckError},
    group::{ChildId, ChildSpec, IntoChild},
    outcome::Outcome,
    reference::WorkerRef,
};

/// What the group's task is asked. Each asker waits for the answer, so there are at most as many as askers.
pub(super) enum Command {
    Add(Vec<ChildSpec>, oneshot::Sender<Result<Vec<Child>, AddAllError>>),
    Remove(ChildId, oneshot::Sender<Result<Outcome, RemoveError>>),
}

/// Requests to a group. Every request is answered, and no child is lost.
pub(super) struct Commands(pub(super) mpsc::UnboundedReceiver<Command>);

impl Commands {
    /// Takes no more, and refuses what is there.
    pub(super) fn refuse(&mut self) {
        self.0.close();
        while let Ok(command) = self.0.try_recv() {
            // Who asked may have gone: a child is dropped then, as it would be with them.
            match command {
                Command::Add(specs, answer) => discard(answer.send(Err(AddAllError::Stopped(specs)))),
                Command::Remove(_, answer) => drop(answer.send(Err(RemoveError::Stopped))),
            }
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.refuse();
    }
}

/// Adds children to a group and removes them, from anywhere. Clone it freely; dropping it does nothing.
#[derive(Clone)]
pub struct WorkersControl {
    commands: mpsc::UnboundedSender<Command>,
    home: Home,
}

/// A child that was added while its group ran.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Child {
    /// Which child: what [`WorkersControl::remove`] takes.
    pub id: ChildId,
    /// Its present incarnation. If it is restarted, the next is another.
    pub worker: WorkerRef,
}

impl WorkersControl {
    pub(super) fn new(commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { commands, home: Home::here() }
    }

    /// Adds a child and waits until it is up. Before the group is started, that is waited for too.
    ///
    /// # Errors
    /// [`AddError::Stopped`] with the child in it: the group is stopping, has stopped or was dropped.
    /// [`AddError::Forked`] with the child: this process is a fork of the group's.
    /// [`AddError::Start`]: the child did not come up; it is no member then, and the group is as before.
    ///
    /// # Cancel safety
    /// The child is added by the first poll. Dropping the future afterwards changes nothing.
    #[doc(alias = "add_workers")]
    pub async fn add<Kind>(&self, child: impl IntoChild<Kind>) -> Result<Child, AddError> {
        // Before it is handed on: a child that this process must not touch comes back as it is.
        let child = child.into_child();
        if !self.home.is_here() {
            return Err(AddError::Forked(child));
        }
        match self.add_all([child]).await {
            Ok(mut added) => added.pop().ok_or(AddError::Stopped(None)),
            Err(AddAllError::Start(error)) => Err(AddError::Start(error)),
            Err(AddAllError::Stopped(mut children) | AddAllError::Forked(mut children)) => {
                Err(AddError::Stopped(children.pop()))
            }
        }
    }

    /// Adds children, all of them or none, and waits until each is up. They start in one order: phase by phase, in each as
    /// they are given, each once the one before is up. The answer has them in the order in which they are given.
    ///
    /// If one does not come up, those that are up already are stopped and removed again before the error is returned.
    /// Children may share a name, as those of a group may: the [`id`](Child::id) tells them apart.
    ///
    /// ```
    /// use workfleet_worker_lifecycle::{ChildSpec, WorkerContext, Workers, start};
    ///
    /// async fn serve(cx: WorkerContext) {
    ///     cx.stopping().await;
    /// }
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let service = Workers::default();
    /// let control = service.control();
    /// let service = start(service).await?;
    /// let shards = control.add_all((0..4).map(|_| ChildSpec::new(|| serve))).await?;
    /// assert_eq!(shards.len(), 4);
    /// service.shutdown().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`AddAllError::Stopped`] with the children in it: the group is stopping, has stopped or was dropped.
    /// [`AddAllError::Forked`] with the children: this process is a fork of the group's. [`AddAllError::Start`]: one did not
    /// come up, or the group was stopped meanwhile; none is a member then.
    ///
    /// # Cancel safety
    /// The children are added by the first poll. Dropping the future afterwards changes nothing.
    pub async fn add_all<Kind, C: IntoChild<Kind>>(
        &self,
        children: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Child>, AddAllError> {
        let children = children.into_iter().map(IntoChild::into_child).collect();
        if !self.home.is_here() {
            return Err(AddAllError::Forked(children));
        }
        let (answer, answered) = oneshot::channel();
        if let Err(mpsc::error::SendError(command)) = self.commands.send(Command::Add(children, answer)) {
            return Err(match command {
                Command::Add(children, _) => AddAllError::Stopped(children),
                Command::Remove(..) => AddAllError::Stopped(Vec::new()),
            });
        }
        // Unanswered only if its runtime dropped the group's task.
        answered.await.unwrap_or(Err(AddAllError::Stopped(Vec::new())))
    }

    /// Removes a child: stops it within its grace period and waits for its end. One that waits to be restarted is removed
    /// at once, with the outcome of its last incarnation.
    ///
    /// # Errors
    /// [`RemoveError::Unknown`]: there is no such child, or no more. [`RemoveError::Stopped`]: the group is stopping or
    /// has stopped, and its children with it. [`RemoveError::Forked`]: this process is a fork of the group's. [`RemoveError::Stuck`]: it was removed, and blocks its thread.
    ///
    /// # Cancel safety
    /// The child is removed by the first poll. Dropping the future afterwards changes nothing.
    pub async fn remove(&self, child: ChildId) -> Result<Outcome, RemoveError> {
        if !self.home.is_here() {
            return Err(RemoveError::Forked);
        }
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Remove(child, answer)).is_err() {
            return Err(RemoveError::Stopped);
        }
        answered.await.unwrap_or(Err(RemoveError::Stopped))
    }
}

impl fmt::Debug for WorkersControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkersControl").finish_non_exhaustive()
    }
}

/// Why a child was not added.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The group is stopping or has stopped. Here is the child; it is gone if the group's runtime was shut down with it.
    #[error("the group takes no more children: it is stopping or has stopped")]
    Stopped(Option<ChildSpec>),
    /// It did not come up.
    #[error(transparent)]
    Start(StartError),
    /// This process is a fork of the one that the group was made in. Here is the child.
    #[error("the group belongs to the process that this one is a fork of: start another after the fork")]
    Forked(ChildSpec),
}

readable!(AddError { Stopped(child), Start(error), Forked(child) });

/// Why none of several children was added.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AddAllError {
    /// The group is stopping or has stopped. Here are the children; they are gone if the group's runtime was shut down with
    /// them.
    #[error("the group takes no more children: it is stopping or has stopped")]
    Stopped(Vec<ChildSpec>),
    /// This one did not come up, so none of them is a member.
    #[error(transparent)]
    Start(StartError),
    /// This process is a fork of the one that the group was made in. Here are the children.
    #[error("the group belongs to the process that this one is a fork of: start another after the fork")]
    Forked(Vec<ChildSpec>),
}

readable!(AddAllError { Stopped(children), Start(error), Forked(children) });

/// Why a child was not removed, or not properly.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// There is no such child.
    #[error("the group has no child {0}")]
    Unknown(ChildId),
    /// The group is stopping or has stopped.
    #[error("the group is stopping or has stopped")]
    Stopped,
    /// This process is a fork of the one that the group was made in.
    #[error("the group belongs to the process that this one is a fork of: start another after the fork")]
    Forked,
    /// It is no child any more, but it blocks its thread.
    #[error(transparent)]
    Stuck(StuckError),
}

readable!(RemoveError { Unknown(child), Stopped, Forked, Stuck(stuck) });
