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

/// A worker that calls a function, waits for its interval, and calls it again, until it is asked to stop.
///
/// A stop interrupts the wait, not the function. If the function returns an error or panics, the worker has failed.
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
/// let ticker = start(ticker.with_name("ticker").with_interval(Duration::from_secs(60))).await?;
/// ticker.shutdown().await?; // at once
/// # Ok(()) }
/// ```
pub struct WorkerFunction<F> {
    function: F,
    interval: Duration,
    given: Given,
}

impl<F, Fut> WorkerFunction<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send,
{
    /// A worker that calls `function`.
    pub fn new(function: F) -> Self {
        Self { function, interval: Duration::ZERO, given: Given::default() }
    }

    /// Sets how long it waits between the end of a call and the next call. The default is 0: it only lets other tasks run.
    #[must_use]
    #[doc(alias = "heartbeat")]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
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
            if self.interval.is_zero() {
                let_others_run().await;
            } else {
                // The loop looks why it has ended.
                let _ = cx.until_stopping(tokio::time::sleep(self.interval)).await;
            }
        }
        Ok(())
    }
}

impl<F> fmt::Debug for WorkerFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerFunction")
            .field("name", &self.given.name)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
