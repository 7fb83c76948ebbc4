//! This process's ends of its connections: what comes over them is handled here.

use std::{fmt, sync::Arc};

use workfleet_wire::Kind;

use super::{
    below::Below,
    connection::{Down, Up},
    frames::{self, About, DONE, FLUSH, FLUSHED, Flush, GONE, STATE, TAKEN, Violation, decode},
    node::{Attached, Node},
    outlet::Outlet,
};
use crate::cores::event::Input;

/// This process's end of a way out.
pub struct Upwards {
    node: Arc<Node>,
    outlet: Arc<Outlet>,
}

/// This process's end of the connection to one below. When it is dropped, that process is gone.
pub struct Downwards {
    node: Arc<Node>,
    below: Below,
}

/// The named events of one pool, at home in this process as long as this is there.
pub struct Scope {
    node: Arc<Node>,
    id: u128,
}

impl Upwards {
    /// None if there is such a way already: to the named events of this scope, or for all that has no other way.
    pub(crate) fn new(node: &Arc<Node>, scope: Option<u128>, up: Arc<dyn Up>) -> Option<Self> {
        let outlet = node.connect(scope, up)?;
        Some(Self { node: Arc::clone(node), outlet })
    }

    /// A frame came from above; not to be called by two threads at once.
    ///
    /// # Errors
    /// [`Violation`]: the frame does not decode, or does not go this way.
    pub fn on_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), Violation> {
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
            _ => return Err(Violation::Direction { kind }),
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

    /// Sends the beats that wait, of each token the latest: for the thread that was woken by [`Up::wake`]. If there were any, more
    /// may come, and that thread is to call again soon, within a millisecond say, without being woken.
    pub fn send_beats(&self) -> bool {
        self.outlet.send_beats()
    }

    /// The same for any thread: when this returns, every beat has been sent whose `send` had returned before, also by somebody
    /// else. Returns whether there were any.
    pub fn flush_beats(&self) -> bool {
        self.outlet.flush_beats()
    }
}

impl Downwards {
    pub(crate) fn new(node: &Arc<Node>, connection: Arc<dyn Down>) -> Self {
        Self { node: Arc::clone(node), below: Below::new(node, connection) }
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
