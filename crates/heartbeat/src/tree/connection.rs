//! The connections between processes, as the code that owns them implements them.

use workfleet_wire::Kind;

/// The connection to the parent: the process that has started this one, or another that is nearer to where the events and
/// tokens of this process were made.
#[doc(alias = "Up")]
pub trait ParentConnection: Send + Sync + 'static {
    /// Sends a frame; `send` of no other thread comes in between. It must not wait for the other side. What is sent is
    /// bounded by this crate: one unanswered message for each event, and one beat for each token.
    fn send(&self, kind: Kind, payload: &[u8]);

    /// A frame was sent that the other side will answer. A thread may wait for the answer.
    fn expect_answer(&self);

    /// Beats wait: the thread that serves the connection has to call [`Parent::send_beats`] soon. This method must not wait.
    ///
    /// [`Parent::send_beats`]: crate::remote::Parent::send_beats
    fn wake(&self);

    /// Whether the calling thread is the one that reads from this connection. Such a thread must not wait for an answer: it would
    /// never read it.
    fn reads_here(&self) -> bool;
}

/// The connection to a child: a process that this one has started.
#[doc(alias = "Down")]
pub trait ChildConnection: Send + Sync + 'static {
    /// The name of the process in errors.
    fn name(&self) -> &str;

    /// Sends a frame, or drops it if the process is gone. It must not wait for the other side. What is sent is bounded here.
    fn send(&self, kind: Kind, payload: &[u8]);

    /// Calls `done` once everything that the process has sent up to now was given to [`Child::on_frame`], or the process
    /// is gone. It does not wait for the process.
    ///
    /// [`Child::on_frame`]: crate::remote::Child::on_frame
    fn catch_up(&self, done: Box<dyn FnOnce() + Send>);
}
