//! The attempts that a worker runs, and which of them should stop.

use tokio_util::sync::CancellationToken;

use crate::guards::woken;

/// What runs: at most one task that has the thread to itself, and any number of those that share it.
#[derive(Debug, Default)]
pub(super) struct Running {
    single: Option<Run>,
    concurrent: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    lease: u64,
    cancelled: bool,
    /// Made when a task asks for it.
    token: Option<CancellationToken>,
}

/// What has to be cancelled, outside every lock: cancelling a token wakes whoever waits for it.
#[derive(Debug, Default)]
#[must_use = "who waits is woken by these"]
pub(super) struct Tokens(Vec<CancellationToken>);

impl Tokens {
    pub(super) fn cancel(self) {
        self.0.iter().for_each(|token| woken(|| token.cancel()));
    }
}

impl Running {
    /// The task that had the thread has ended, and maybe another has it now.
    pub(super) fn set_single(&mut self, lease: Option<u64>) {
        self.single = lease.map(Run::new);
    }

    pub(super) fn add_concurrent(&mut self, lease: u64) {
        self.concurrent.push(Run::new(lease));
    }

    pub(super) fn end_concurrent(&mut self, lease: u64) {
        self.concurrent.retain(|run| run.lease != lease);
    }

    /// The lease of the task that has the thread to itself, 0 if there is none.
    pub(super) fn single(&self) -> u64 {
        self.single.as_ref().map_or(0, |run| run.lease)
    }

    pub(super) fn has_concurrent(&self) -> bool {
        !self.concurrent.is_empty()
    }

    /// Every lease that runs.
    pub(super) fn leases(&self) -> Vec<u64> {
        self.single.iter().chain(&self.concurrent).map(|run| run.lease).collect()
    }

    /// How many of them should stop.
    pub(super) fn cancelled(&self) -> usize {
        self.single.iter().chain(&self.concurrent).filter(|run| run.cancelled).count()
    }

    pub(super) fn is_cancelled(&self, lease: u64) -> bool {
        self.find(lease).is_some_and(|run| run.cancelled)
    }

    /// The attempt under `lease` should stop, or all of them.
    pub(super) fn cancel(&mut self, lease: Option<u64>) -> Tokens {
        let all = self.single.iter_mut().chain(&mut self.concurrent);
        let meant = all.filter(|run| lease.is_none_or(|lease| run.lease == lease));
        Tokens(
            meant
                .filter_map(|run| {
                    run.cancelled = true;
                    run.token.take()
                })
                .collect(),
        )
    }

    /// The token that is cancelled when the attempt under `lease` is; one that is cancelled if it has ended.
    pub(super) fn token(&mut self, lease: u64) -> CancellationToken {
        let mut all = self.single.iter_mut().chain(&mut self.concurrent);
        match all.find(|run| run.lease == lease && !run.cancelled) {
            Some(run) => run.token.get_or_insert_default().clone(),
            None => {
                let token = CancellationToken::new();
                token.cancel();
                token
            }
        }
    }

    fn find(&self, lease: u64) -> Option<&Run> {
        self.single.iter().chain(&self.concurrent).find(|run| run.lease == lease)
    }
}

impl Run {
    fn new(lease: u64) -> Self {
        Self { lease, cancelled: false, token: None }
    }
}
