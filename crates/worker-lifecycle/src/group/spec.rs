//! A child of a group, before it is started.

use std::{fmt, sync::Arc};

use tokio::runtime::Handle;
use workfleet_panics::catch;

use crate::{
    error::{Hook, StartError, WorkerFailure, WorkerFailureCause},
    group::core::{Restart, Traits},
    name,
    reference::WorkerRef,
    runner::Runner,
    shared::{Made, Parent, Shared, Unstarted},
    worker::{IntoWorker, Worker},
};

/// A worker, or a function that makes workers, with its type erased: it can be started as the child of a group.
trait Launch: Send {
    /// Starts an incarnation of it, and returns at once. `first` is its first incarnation.
    fn launch(&mut self, first: Option<Unstarted>, parent: Parent) -> Result<Arc<Shared>, StartError>;
}

fn spawn<W: Worker>(worker: W, first: Option<Unstarted>, parent: Parent) -> Result<Arc<Shared>, StartError> {
    // What was made before a fork is out of reach behind it.
    let first = first.filter(|first| first.shared().is_here());
    let shared =
        first.as_ref().map_or_else(|| Shared::new(Made::of(&worker)), |first| Arc::clone(first.shared()));
    shared.make(|| Made::of(&worker));
    shared.set_parent(parent);
    let runtime: Handle = shared.begin()?;
    runtime.spawn(Runner::new(worker, Arc::clone(&shared)).live());
    Ok(shared)
}

/// A worker that exists already, for its only incarnation.
struct Once<W>(Option<W>);

impl<W: Worker> Launch for Once<W> {
    fn launch(&mut self, first: Option<Unstarted>, parent: Parent) -> Result<Arc<Shared>, StartError> {
        match self.0.take() {
            Some(worker) => spawn(worker, first, parent),
            // The core restarts nothing that cannot be made anew.
            None => Err(StartError::Stopped { name: name::of_type::<W>() }),
        }
    }
}

/// A function that makes a worker for each incarnation.
struct Factory<F>(F);

impl<W: Worker, F: FnMut() -> W + Send> Launch for Factory<F> {
    fn launch(&mut self, first: Option<Unstarted>, parent: Parent) -> Result<Arc<Shared>, StartError> {
        spawn((self.0)(), first, parent)
    }
}

/// A child of a group: a worker, or a function that makes one, and what is to be done when it ends.
///
/// ```
/// use workfleet_worker_lifecycle::{ChildSpec, Restart, WorkerContext, Workers};
///
/// let crawler = ChildSpec::new(|| |cx: WorkerContext| async move { cx.stopping().await });
/// let group = Workers::new("site").with_child(crawler.with_restart(Restart::OnFailure).with_phase(1));
/// ```
pub struct ChildSpec {
    launch: Box<dyn Launch>,
    traits: Traits,
    /// What its name will be, as far as that is known before it is started.
    name: String,
    /// Its first incarnation, until that is started.
    first: Option<Unstarted>,
}

impl ChildSpec {
    /// A child that can be restarted: `make` makes a new worker for each start. By default, the group restarts it whenever it
    /// fails or is aborted. `make` is called on the group's task.
    pub fn new<Kind, W: IntoWorker<Kind>>(mut make: impl FnMut() -> W + Send + 'static) -> Self {
        let launch = Box::new(Factory(move || make().into_worker()));
        let traits = Traits { phase: 0, restart: Restart::OnFailure, may_end: false, is_renewable: true };
        Self::of(launch, traits, &Shared::of_unmade(name::of_type::<W::Worker>().into()))
    }

    /// A child that cannot be restarted. Its end stops the group, unless it [may end](Self::may_end).
    pub fn once<Kind, W: IntoWorker<Kind>>(worker: W) -> Self {
        let worker = worker.into_worker();
        let first = Shared::of_unmade(name::of_type::<W::Worker>().into());
        // A worker that panics here does so again when it is launched, and that is told.
        let _ = catch(|| first.make(|| Made::of(&worker)));
        let launch = Box::new(Once(Some(worker)));
        let traits = Traits { phase: 0, restart: Restart::Never, may_end: false, is_renewable: false };
        Self::of(launch, traits, &first)
    }

    fn of(launch: Box<dyn Launch>, traits: Traits, first: &Arc<Shared>) -> Self {
        Self { launch, traits, name: first.name().to_owned(), first: Some(Unstarted::new(first)) }
    }

    /// Sets when it is restarted. One that was given [`once`](Self::once) never is.
    #[must_use]
    pub fn with_restart(mut self, restart: Restart) -> Self {
        self.traits.restart = restart;
        self
    }

    /// Sets its phase. Children start phase by phase, in each in the order in which they were added, and each waits until
    /// the one before is up. The default is 0.
    #[must_use]
    pub fn with_phase(mut self, phase: u32) -> Self {
        self.traits.phase = phase;
        self
    }

    /// Lets it end without stopping the group, if it is not restarted: it is a job rather than a service. If it fails,
    /// its status and the log tell.
    #[must_use]
    #[doc(alias = "significant")]
    pub fn may_end(mut self) -> Self {
        self.traits.may_end = true;
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its first incarnation. It is asked for before that is started.
    pub(super) fn first(&self) -> WorkerRef {
        let first = self.first.as_ref().map(|first| Arc::clone(first.shared()));
        WorkerRef::new(first.unwrap_or_else(|| Shared::of_unmade(self.name.clone().into())))
    }

    pub(super) fn traits(&self) -> Traits {
        self.traits
    }

    pub(super) fn launch(&mut self, parent: Parent) -> Result<Arc<Shared>, StartError> {
        // The factory, and what a worker says about itself before it has a task of its own, run on the group's.
        let first = self.first.take();
        catch(|| self.launch.launch(first, parent)).unwrap_or_else(|panic| {
            let failure = WorkerFailure::new(Hook::Factory, WorkerFailureCause::Panic(panic));
            Err(StartError::Failed { name: self.name.clone(), failure })
        })
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec").field("name", &self.name).field("traits", &self.traits).finish()
    }
}

/// What can be a child: a [`ChildSpec`], or anything that can be started, which then lives once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a child of a group",
    label = "neither a `ChildSpec`, nor a `Worker`, nor a function from a `WorkerContext` to a future",
    note = "a function that is a worker takes its context and says so: `|cx: WorkerContext| async move {{ … }}`; its output is `()` or a `Result<(), E>`",
    note = "what is to be restarted is given by a function that makes it: `ChildSpec::new(|| worker)`"
)]
pub trait IntoChild<Kind> {
    /// Becomes a child.
    fn into_child(self) -> ChildSpec;
}

/// The kind of [`IntoChild`] that is a [`ChildSpec`] already.
#[derive(Debug)]
pub enum BySpec {}

impl IntoChild<BySpec> for ChildSpec {
    fn into_child(self) -> ChildSpec {
        self
    }
}

impl<Kind, W: IntoWorker<Kind>> IntoChild<(Kind,)> for W {
    fn into_child(self) -> ChildSpec {
        ChildSpec::once(self)
    }
}
