//! This process's ends of its connections: what comes over them is handled here.

use std::{fmt, sync::Arc};

use workfleet_wire::Kind;

use super::{
    child::AttachedChild,
    connection::{ChildConnection, ParentConnection},
    frames::{self, About, DONE, FLUSH, FLUSHED, Flush, GONE, ProtocolError, STATE, TAKEN, decode},
    node::{Attached, Node},
    outlet::Outlet,
};
use crate::cores::event::Input;

/// This process's end of the connection to its parent.
#[doc(alias = "Upwards")]
pub struct Parent {
    node: Arc<Node>,
    outlet: Arc<Outlet>,
}

/// This process's end of the connection to a child process. Drop it when the child is gone.
#[doc(alias = "Downwards")]
pub struct Child {
    node: Arc<Node>,
    child: AttachedChild,
}

/// Keeps this process the home of the named events of one pool, until it is dropped.
pub struct Scope {
    node: Arc<Node>,
    id: u128,
}

impl Parent {
    /// None if there is such a connection already: for this scope, or the parent's.
    pub(crate) fn new(node: &Arc<Node>, scope: Option<u128>, up: Arc<dyn ParentConnection>) -> Option<Self> {
        let outlet = node.connect(scope, up)?;
        Some(Self { node: Arc::clone(node), outlet })
    }

    /// Handles a frame that came from the parent. Two threads must not call this at once.
    ///
    /// # Errors
    /// [`ProtocolError`]: the frame does not decode, or does not go this way.
    pub fn on_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), ProtocolError> {
        let Self { node, outlet } = self;
        match kind {
            STATE | DONE => {
                let About { number, news } = decode(kind, payload)?;
                self.handle(number, if kind == STATE { Input::State(news) } else { Input::Done(news) });
                if kind == STATE {
                    outlet.up().send(TAKEN, &frames::encode(&number));
                }
            }
            GONE => self.handle(decode(kind, payload)?, Input::Lost),
            FLUSH => {
                let Flush { number, request } = decode(kind, payload)?;
                let own = Arc::clone(outlet);
                let answer = Box::new(move || {
                    own.flush_beats();
                    own.up().send(FLUSHED, &frames::encode(&request));
                });
                let attached = match node.attached(outlet, number) {
                    Some(Attached::Channel(channel)) => channel.upgrade(),
                    _ => None,
                };
                match attached {
                    Some(channel) => channel.flush_to_the_end(answer),
                    // Detached meanwhile: what it had to say came before that.
                    None => answer(),
                }
            }
            _ => return Err(ProtocolError::Direction { kind }),
        }
        Ok(())
    }

    #[cfg(all(test, not(workfleet_loom)))]
    pub(super) fn outlet_id(&self) -> u64 {
        self.outlet.id()
    }

    /// This was said of an event that is used here under this number.
    fn handle(&self, number: u64, input: Input) {
        if let Some(Attached::Event(event)) = self.node.attached(&self.outlet, number)
            && let Some(event) = event.upgrade()
        {
            event.handle(input);
        }
    }

    /// Sends the beats that wait, of each token the latest. The thread that [`ParentConnection::wake`] woke calls this.
    ///
    /// Returns whether there were any. If so, more may come: that thread has to call again soon, within a millisecond say,
    /// without being woken.
    pub fn send_beats(&self) -> bool {
        self.outlet.send_beats()
    }

    /// Sends the beats that wait, from any thread. When this returns, every beat whose `send` had returned before was sent, by this
    /// thread or another. Returns whether there were any.
    pub fn flush_beats(&self) -> bool {
        self.outlet.flush_beats()
    }
}

impl Child {
    pub(crate) fn new(node: &Arc<Node>, connection: Arc<dyn ChildConnection>) -> Self {
        Self { node: Arc::clone(node), child: AttachedChild::new(node, connection) }
    }

    /// Handles a frame that came from the child. Two threads must not call this at once.
    ///
    /// # Errors
    /// [`ProtocolError`]: the frame does not decode, does not go this way, or asks for more than it may.
    pub fn on_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), ProtocolError> {
        self.child.on_frame(&self.node, kind, payload)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.node.is_here() {
            self.child.gone(&self.node);
        }
    }
}

impl Scope {
    pub(crate) fn new(node: &Arc<Node>, id: u128) -> Self {
        node.open_scope(id);
        Self { node: Arc::clone(node), id }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.node.close_scope(self.id);
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parent").finish_non_exhaustive()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("process", &self.child.name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
