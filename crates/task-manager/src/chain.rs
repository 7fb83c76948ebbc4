//! Tasks one after the other, as one task.
//!
//! Invariants:
//! - A chain runs on one worker and is tried again as a whole; its first failure ends it and names the link.
//! - Chains within chains are bounded where they are made and where they are run: each takes its part of the stack.

use std::{any::Any, cell::Cell, fmt};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use workfleet_heartbeat::remote::Pins;
use workfleet_wire::{DecodeError, EncodeError, message};

use crate::{
    code::Task,
    context::TaskContext,
    error::TaskError,
    failure::{Failed, FailedLink, FailureCause},
    run::caught,
    task::TaskSpec,
};

/// Several tasks, of any types, that run one after the other on one worker. To the manager a chain is one task: it has
/// one priority, and is tried again as a whole if its worker dies.
///
/// A task in a chain is a *link*. If a link fails, the rest is skipped, and the chain's failure
/// [names](crate::FailureReport::links) the link. A chain is itself a task, so it can be a link. Its links must be
/// registered; the chain itself needs no registration. If a chain is cancelled, the running link is told, and no further
/// link is run.
///
/// A chain is one attempt, so it has one [heartbeat](crate::TaskContext::heartbeat): a link's heartbeat replaces that of
/// the link before. A retry begins with the first link. A chain may be silent: the
/// [timeouts](crate::TaskSpec::HEARTBEAT_TIMEOUT) of its links do not hold.
///
/// Chains nest up to [`CHAIN_NESTING_LIMIT`].
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use workfleet_task_manager::{Chain, Registry, Task, TaskContext, TaskError, TaskSpec, ThreadManager};
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Fetch(String);
/// impl TaskSpec for Fetch {
///     const NAME: &'static str = "fetch";
///     type Output = ();
/// }
/// # impl Task for Fetch {
/// #     fn run(self, _cx: &TaskContext) -> Result<(), TaskError> { Ok(()) }
/// # }
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Count(String);
/// impl TaskSpec for Count {
///     const NAME: &'static str = "count";
///     type Output = usize;
/// }
/// # impl Task for Count {
/// #     fn run(self, _cx: &TaskContext) -> Result<usize, TaskError> { Ok(self.0.len()) }
/// # }
///
/// let manager = ThreadManager::builder(Registry::new().task::<Fetch>().task::<Count>()).start()?;
/// let chain = Chain::new().then(&Fetch("page".into()))?.then(&Count("page".into()))?;
/// let outputs = manager.submit(chain)?.wait()?;
/// assert_eq!(outputs.get::<Count>(1)?, 4);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    links: Vec<Link>,
    /// How deep the deepest chain is within it.
    nesting: u32,
}

/// How deep chains may be within chains: 128. One that holds no other has the depth 0.
pub const CHAIN_NESTING_LIMIT: u32 = 128;

/// A task of a chain, encoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    name: String,
    payload: Box<[u8]>,
    /// Events and senders in the payload are there as long as this is.
    pins: Pins,
}

impl Chain {
    /// A chain without links, which does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A chain of tasks of one type, in the order in which they come: the same as [`then`](Self::then) for each. Of no tasks, it is
    /// a chain without links. Tasks of other types, or more sequences as chains of their own, go behind it by `then`.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use workfleet_task_manager::{Chain, Registry, Task, TaskContext, TaskError, TaskSpec, ThreadManager};
    /// # #[derive(Debug, Serialize, Deserialize)]
    /// # struct Count(String);
    /// # impl TaskSpec for Count {
    /// #     const NAME: &'static str = "count";
    /// #     type Output = usize;
    /// # }
    /// # impl Task for Count {
    /// #     fn run(self, _cx: &TaskContext) -> Result<usize, TaskError> { Ok(self.0.len()) }
    /// # }
    /// let manager = ThreadManager::builder(Registry::new().task::<Count>()).start()?;
    /// let pages = ["a", "page", "after", "another"];
    /// let chain = Chain::of(pages.into_iter().map(|page| Count(page.into())))?;
    /// let outputs = manager.submit(chain)?.wait()?;
    /// assert_eq!(outputs.all::<Count>()?, [1, 4, 5, 7]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A task does not travel, as for `then`: the first that does not ends this, and the rest is not looked at.
    pub fn of<T: TaskSpec>(tasks: impl IntoIterator<Item = T>) -> Result<Self, EncodeError> {
        tasks.into_iter().try_fold(Self::new(), |chain, task| chain.then(&task))
    }

    /// Adds a task to the end.
    ///
    /// # Errors
    /// The task does not travel: see [what does](workfleet_wire::message#what-travels-and-what-does-not). Or it is a chain in
    /// which others nest up to [`CHAIN_NESTING_LIMIT`] already.
    pub fn then<T: TaskSpec>(mut self, task: &T) -> Result<Self, EncodeError> {
        if let Some(chain) = (task as &dyn Any).downcast_ref::<Self>() {
            if chain.nesting >= CHAIN_NESTING_LIMIT {
                return Err(EncodeError::too_deep::<Self>(CHAIN_NESTING_LIMIT));
            }
            self.nesting = self.nesting.max(chain.nesting + 1);
        }
        let (payload, pins) = Pins::of(|| message::encode_checked(task));
        self.links.push(Link { name: T::NAME.to_owned(), payload: payload?.into_boxed_slice(), pins });
        Ok(self)
    }

    /// How many links it has; a chain within counts as one.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether it has no links.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }
}

/// The names of its links.
impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.links.iter().map(|link| &*link.name).collect();
        write!(f, "Chain[{}]", names.join(", "))
    }
}

impl TaskSpec for Chain {
    const NAME: &'static str = "workfleet.chain";
    type Output = ChainOutputs;
}

impl Task for Chain {
    fn run(self, cx: &TaskContext) -> Result<ChainOutputs, TaskError> {
        let Some(_within) = Within::enter() else {
            let reason = format!("chains are nested more than {CHAIN_NESTING_LIMIT} levels deep");
            return Err(TaskError::caused_by(FailureCause::Rejected { reason }.into()));
        };
        let mut entries = Vec::with_capacity(self.links.len());
        // Before any of them is run: half a chain is worse than none.
        for (index, link) in self.links.iter().enumerate() {
            let entry = cx.entry(&link.name).ok_or_else(|| {
                let reason = format!("no task {:?} is registered", link.name);
                link.failed(index, link.name.clone(), FailureCause::Rejected { reason }.into())
            })?;
            entries.push(entry);
        }
        let mut outputs = Vec::with_capacity(self.links.len());
        for (index, (link, entry)) in self.links.iter().zip(entries).enumerate() {
            let mut output = Vec::new();
            let ended = if cx.is_cancelled() {
                Err(FailureCause::Cancelled.into())
            } else {
                caught(|| (entry.run)(&link.payload, cx, Some(&mut output)))
            };
            match ended {
                Ok(()) => outputs.push(output.into_boxed_slice()),
                Err(failed) => {
                    return Err(link.failed(index, (entry.spec)().debug_form(&link.payload), failed));
                }
            }
        }
        Ok(ChainOutputs { outputs })
    }
}

thread_local! {
    /// How many chains this thread runs, one within the other.
    static RUNNING: Cell<u32> = const { Cell::new(0) };
}

/// A chain that runs on this thread.
struct Within;

impl Within {
    /// None if it is too deep within others. A chain that was made by [`then`](Chain::then) is not.
    fn enter() -> Option<Self> {
        let running = RUNNING.get();
        (running <= CHAIN_NESTING_LIMIT).then(|| {
            RUNNING.set(running + 1);
            Self
        })
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

impl Link {
    fn failed(&self, index: usize, debug: String, mut failed: Box<Failed>) -> TaskError {
        failed.links.insert(0, FailedLink { index: index as u32, name: self.name.clone(), debug });
        TaskError::caused_by(failed)
    }
}

/// What the links of a [`Chain`] yielded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainOutputs {
    /// Encoded, in the order of the links.
    outputs: Vec<Box<[u8]>>,
}

/// There is no such output.
#[doc(alias = "NoOutput")]
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ChainOutputError {
    /// The chain has no such link.
    #[error("the chain has no link {index}, but {len}")]
    #[non_exhaustive]
    NoLink {
        /// The link that was asked for, from 0.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The link's output is of another type.
    #[error("the output of link {index} does not decode")]
    #[non_exhaustive]
    Decode {
        /// The link, from 0.
        index: usize,
        /// What was wrong.
        source: DecodeError,
    },
}

workfleet_causes::readable!(ChainOutputError { NoLink { index, len }, Decode { index, source } });

impl ChainOutputs {
    /// What link `index`, counted from 0, yielded.
    ///
    /// # Errors
    /// [`ChainOutputError`]: there is no such link, or its output does not decode as that of a `T`.
    pub fn get<T: TaskSpec>(&self, index: usize) -> Result<T::Output, ChainOutputError>
    where
        T::Output: DeserializeOwned,
    {
        let len = self.outputs.len();
        let output = self.outputs.get(index).ok_or(ChainOutputError::NoLink { index, len })?;
        message::decode(output).map_err(|source| ChainOutputError::Decode { index, source })
    }

    /// What all links yielded, in their order: for a chain of one type, such as [`Chain::of`] makes. Nothing if there were no links.
    ///
    /// # Errors
    /// [`ChainOutputError::Decode`]: an output does not decode as that of a `T`.
    pub fn all<T: TaskSpec>(&self) -> Result<Vec<T::Output>, ChainOutputError>
    where
        T::Output: DeserializeOwned,
    {
        (0..self.outputs.len()).map(|index| self.get::<T>(index)).collect()
    }

    /// How many links there were.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Whether there were no links.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }
}

impl fmt::Debug for ChainOutputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainOutputs").field("len", &self.outputs.len()).finish()
    }
}
