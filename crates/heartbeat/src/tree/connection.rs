//! The connections between processes, as whoever owns them plugs them in.

use workfleet_wire::Kind;

/// The connection to a process that is nearer to the homes of what this one uses: the process that has started this one.
pub trait Up: Send + Sync + 'static {
    /// Sends a frame; `send` of no other thread comes in between. It must not wait for the other side. What is sent is
    /// bounded here: by one unanswered message for each event, and one beat for each token.
    fn send(&self, kind: Kind, payload: &[u8]);

    /// A frame was sent that will be answered, maybe to somebody who waits for it.
    fn expect_answer(&self);

    /// Beats wait: [`Upwards::send_beats`] is to be called soon, by the thread that sees to the connection. It must not wait.
    ///
    /// [`Upwards::send_beats`]: crate::remote::Upwards::send_beats
    fn wake(&self);

    /// Whether the calling thread is the one that reads from this connection, and would wait in vain for an answer.
    fn reads_here(&self) -> bool;
}

/// The connection to a process that this one has started.
pub trait Down: Send + Sync + 'static {
    /// How the process is called in errors.
    fn name(&self) -> &str;

    /// Sends a frame, or drops it if the process is gone. It must not wait for the other side. What is sent is bounded here.
    fn send(&self, kind: Kind, payload: &[u8]);

    /// Calls `done` once everything that the process has sent up to now was given to [`Downwards::on_frame`], or the process
    /// is gone. It does not wait for the process.
    ///
    /// [`Downwards::on_frame`]: crate::remote::Downwards::on_frame
    fn catch_up(&self, done: Box<dyn FnOnce() + Send>);
}
