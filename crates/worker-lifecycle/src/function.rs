//! A worker that calls a function again and again.

use std::{fmt, future::Future, time::Duration};

use crate::{
    context::WorkerContext,
    error::WorkerError,
    given::{Given, answers_of_every_worker, settings_of_every_worker},
    output::HookOutput,
    runner::let_others_run,
    worker::Worker,
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
    given: Given,
}

impl<F, Fut> WorkerFunction<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send,
{
    /// A worker that calls `function`.
    pub fn new(function: F) -> Self {
        Self { function, heartbeat: Duration::ZERO, given: Given::default() }
    }

    /// Sets how long it sleeps between two calls. The default is 0: it only lets other tasks run.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    settings_of_every_worker!();
}

impl<F, Fut> Worker for WorkerFunction<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send,
{
    answers_of_every_worker!(Self);

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
            .field("name", &self.given.name)
            .field("heartbeat", &self.heartbeat)
            .finish_non_exhaustive()
    }
}
