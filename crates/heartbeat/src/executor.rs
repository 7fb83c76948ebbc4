//! Where callbacks run.

use tokio::runtime::Handle;

/// Where callbacks run. A job calls one callback after the other until nothing is left to report. If a callback blocks, the job
/// blocks its thread.
///
/// By default, and if an executor drops a job or panics, jobs run on a blocking pool of the heartbeaters' own.
///
/// ```
/// use workfleet_heartbeat::{Executor, Heartbeaters};
///
/// struct Threads;
///
/// impl Executor for Threads {
///     fn execute(&self, job: Box<dyn FnOnce() + Send>) {
///         std::thread::spawn(job);
///     }
/// }
///
/// let heartbeaters = Heartbeaters::builder().executor(Threads).build()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Executor: Send + Sync + 'static {
    /// Has the job run soon on another thread, and returns without waiting for it. Do not run the job in this call: the thread that
    /// sends a beat would wait for the callbacks.
    ///
    /// There is one job at a time, and one more for each callback that has run for several milliseconds.
    fn execute(&self, job: Box<dyn FnOnce() + Send>);
}

/// Jobs run on the runtime's blocking pool.
impl Executor for Handle {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        drop(self.spawn_blocking(job));
    }
}
