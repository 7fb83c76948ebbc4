//! A worker that calls a function again and again.

use std::{borrow::Cow, fmt, future::Future, time::Duration};

use crate::{
    context::WorkerContext,
    error::WorkerError,
    name,
    runner::let_others_run,
    worker::{HookOutput, Worker},
};

/// A worker that calls a function, sleeps for its heartbeat, and begins anew, until it is asked to stop.
///
/// A stop interrupts the sleep, not the function. An error or a panic of the function ends the worker as failed.
///
/// ```
/// use std::time::Duration;
/// use workfleet_worker_lifecycle::{WorkerFunction, start};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut count = 0;
/// let ticker = WorkerFunction::new(move || {
///     count += 1;
///     async move { println!("tick {count}") }
/// });
/// let ticker = start(ticker.with_name("ticker").with_heartbeat(Duration::from_secs(60))).await?;
/// ticker.shutdown().await?; // at once
/// # Ok(()) }
/// ```
pub struct WorkerFunction<F> {
    function: F,
    heartbeat: Duration,
    name: Option<Cow<'static, str>>,
    grace: Option<Duration>,
}

impl<F, Fut> WorkerFunction<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send,
{
    /// A worker that calls `function`.
    pub fn new(function: F) -> Self {
        Self { function, heartbeat: Duration::ZERO, name: None, grace: None }
    }

    /// Sets how long it sleeps between two calls. The default is 0: it only lets other tasks run.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Sets its name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets its grace period.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }
}

impl<F, Fut> Worker for WorkerFunction<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send,
{
    fn name(&self) -> Cow<'static, str> {
        self.name.clone().unwrap_or_else(|| name::of_type::<Self>().into())
    }

    fn grace(&self) -> Option<Duration> {
        self.grace
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        while !cx.is_stopping() {
            (self.function)().await.into_result()?;
            if self.heartbeat.is_zero() {
                let_others_run().await;
            } else {
                // The loop looks why it has ended.
                let _ = cx.until_stopping(tokio::time::sleep(self.heartbeat)).await;
            }
        }
        Ok(())
    }
}

impl<F> fmt::Debug for WorkerFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerFunction")
            .field("name", &self.name)
            .field("heartbeat", &self.heartbeat)
            .finish_non_exhaustive()
    }
}
