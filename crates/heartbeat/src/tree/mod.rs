//! What another process knows of events and tokens: the connections between processes, and what passes over them.

mod below;
mod channel;
mod flush;
mod frames;
mod node;
mod pins;
mod place;
mod sent;
#[cfg(all(test, not(workfleet_loom)))]
mod tests;
mod waiting;

use std::{fmt, sync::Arc};

use workfleet_wire::Kind;

use below::Below;
pub(crate) use channel::{Channel, Inlet};
pub(crate) use flush::{catch_up, flush};
pub(crate) use frames::Address;
use frames::{DONE, FLUSH, FLUSHED, GONE, STATE, TAKEN, decode};
pub use frames::{KINDS, NAME_LIMIT_BYTES, Violation};
use node::Attached;
pub(crate) use node::{NoChannel, Node};
pub use pins::Pins;
pub(crate) use place::{Place, Reach};

use crate::{Event, cores::event::EventCore};

/// The connection to the process that has started this one.
pub trait Up: Send + Sync + 'static {
    /// Sends a frame; `send` of no other thread comes in between. It must not wait for the other side. What is sent is
    /// bounded here: by one unanswered message for each event, and one beat for each token.
    fn send(&self, kind: Kind, payload: &[u8]);

    /// A frame was sent that will be answered, maybe to somebody who waits for it.
    fn expect_answer(&self);

    /// Beats wait: [`Upwards::send_beats`] is to be called soon, by the thread that sees to the connection. It must not wait.
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
    fn catch_up(&self, done: Box<dyn FnOnce() + Send>);
}

/// This process's end of its way up.
pub struct Upwards {
    node: Arc<Node>,
}

/// This process's end of the connection to one below. When it is dropped, that process is gone.
pub struct Downwards {
    node: Arc<Node>,
    below: Arc<Below>,
}

/// The named events of one pool, at home in this process as long as this is there.
pub struct Scope {
    node: Arc<Node>,
    id: u128,
}

/// Gives this process its way up; `None` if it has one.
pub fn connect(up: Arc<dyn Up>) -> Option<Upwards> {
    Upwards::new(Node::own(), up)
}

/// Takes a process below this one.
pub fn attach_below(connection: Arc<dyn Down>) -> Downwards {
    Downwards::new(Node::own(), connection)
}

/// Makes this process the home of the events that are named in this scope, until what is returned is dropped. Elsewhere,
/// [`named_event`] finds them upwards.
pub fn open_scope(id: u128) -> Scope {
    Scope::new(Node::own(), id)
}

/// The event of this name in this scope. The names of a scope that is open here are made as they are asked for; a name is
/// forgotten when nobody holds the event and it is clear.
///
/// # Errors
/// [`NameTooLong`].
pub fn named_event(scope: u128, name: &str) -> Result<Event, NameTooLong> {
    Node::own().named_event(scope, name)
}

/// How many beats have come to this process of tokens that were gone when their sender came here: those of a token that was
/// still there are counted by its [`Heartbeaters`](crate::Heartbeaters::stats).
pub fn beats_ignored() -> u64 {
    Node::own().beats_ignored()
}

/// An event's name exceeds [`NAME_LIMIT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event's name has {len_bytes} bytes, of {NAME_LIMIT_BYTES} that it may have")]
#[non_exhaustive]
pub struct NameTooLong {
    /// The name's length.
    pub len_bytes: usize,
}

impl Node {
    pub(crate) fn named_event(self: &Arc<Self>, scope: u128, name: &str) -> Result<Event, NameTooLong> {
        if name.len() > NAME_LIMIT_BYTES {
            return Err(NameTooLong { len_bytes: name.len() });
        }
        let address = frames::Address::Named { scope, name: name.to_owned() };
        Ok(Event { shared: self.event(address) })
    }
}

impl Upwards {
    fn new(node: &Arc<Node>, up: Arc<dyn Up>) -> Option<Self> {
        node.connect(up).then(|| Self { node: Arc::clone(node) })
    }

    /// A frame came from above; not to be called by two threads at once.
    ///
    /// # Errors
    /// [`Violation`]: the frame does not decode, or does not go this way.
    pub fn on_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), Violation> {
        let node = &self.node;
        let Some(up) = node.up() else { return Ok(()) };
        match kind {
            STATE | DONE => {
                let frames::About { number, news } = decode(kind, payload)?;
                if let Some(Attached::Event(event)) = node.attached(number)
                    && let Some(event) = event.upgrade()
                {
                    event.step(|core| if kind == STATE { core.on_state(news) } else { core.on_done(news) });
                }
                if kind == STATE {
                    up.send(TAKEN, &frames::encode(&number));
                }
            }
            GONE => {
                if let Some(Attached::Event(event)) = node.attached(decode(kind, payload)?)
                    && let Some(event) = event.upgrade()
                {
                    event.step(EventCore::lose);
                }
            }
            FLUSH => {
                let frames::Flush { number, request } = decode(kind, payload)?;
                let (own, up) = (Arc::clone(node), Arc::clone(up));
                let answer = Box::new(move || {
                    own.flush_beats();
                    up.send(FLUSHED, &frames::encode(&request));
                });
                let attached = match node.attached(number) {
                    Some(Attached::Channel(channel)) => channel.upgrade(),
                    _ => None,
                };
                match attached {
                    Some(channel) => flush::flush_for_above(&channel, answer),
                    // Detached meanwhile: what it had to say came before that.
                    None => answer(),
                }
            }
            _ => return Err(Violation::Direction { kind }),
        }
        Ok(())
    }

    /// Sends the beats that wait, of each token the latest: for the thread that was woken by [`Up::wake`]. If there were any, more
    /// may come, and that thread is to call again soon, within a millisecond say, without being woken.
    pub fn send_beats(&self) -> bool {
        self.node.send_beats()
    }

    /// The same for any thread: when this returns, every beat has been sent whose `send` had returned before, also by somebody
    /// else. Returns whether there were any.
    pub fn flush_beats(&self) -> bool {
        self.node.flush_beats()
    }
}

impl Downwards {
    fn new(node: &Arc<Node>, connection: Arc<dyn Down>) -> Self {
        let below = Arc::new(Below::new(node.next_number(), connection));
        node.add_below(Arc::clone(&below));
        Self { node: Arc::clone(node), below }
    }

    /// A frame came from the process; not to be called by two threads at once.
    ///
    /// # Errors
    /// [`Violation`]: the frame does not decode, does not go this way, or asks for more than it may.
    pub fn on_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), Violation> {
        self.below.on_frame(&self.node, kind, payload)
    }
}

impl Drop for Downwards {
    fn drop(&mut self) {
        if self.node.is_here() {
            self.below.gone(&self.node);
        }
    }
}

impl Scope {
    fn new(node: &Arc<Node>, id: u128) -> Self {
        node.open_scope(id);
        Self { node: Arc::clone(node), id }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.node.close_scope(self.id);
    }
}

impl fmt::Debug for Upwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upwards").finish_non_exhaustive()
    }
}

impl fmt::Debug for Downwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downwards").field("process", &self.below.name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
