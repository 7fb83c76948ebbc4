//! Asking every child process for the beats of a token that are still on their way.
//!
//! First, everything that was sent up to now is processed, so that every process with the token is known. Then each of
//! these is asked. It asks its own children, sends its beats, and answers.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{
    frames::{self, FLUSH},
    node::Node,
    rounds::Round,
};
use crate::{
    cores::event::Copy,
    ports::{Done, Unanswered},
};

/// A flush under way. Dropping it forgets the processes that have not answered, and then its end may not be reported.
pub(crate) struct Flush {
    node: Arc<Node>,
    catching_up: Arc<Round>,
    asking: Arc<Round>,
}

impl Unanswered for Flush {
    fn names(&self) -> Vec<String> {
        let rounds = [&self.catching_up, &self.asking];
        let names = rounds.iter().flat_map(|round| round.missing().into_values());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.node.flushes.forget(self.asking.missing().into_keys());
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("missing", &self.names()).finish_non_exhaustive()
    }
}

/// Takes in what every child process has sent so far, then calls `done`.
pub(super) fn catch_up(node: &Node, done: Done) {
    carry_out_catch_up(node, &Round::new(done));
}

fn carry_out_catch_up(node: &Node, round: &Arc<Round>) {
    let all = node.children();
    for (id, child) in &all {
        round.ask((*id, 0), child.name());
    }
    for (id, child) in all {
        let round = Arc::clone(round);
        child.catch_up(Box::new(move || round.answered((id, 0))));
    }
    round.all_asked();
}

/// Has every child process deliver what it has of a token, then calls `done`. `holds` is called, for the processes with
/// the token, when everything that was sent before has been processed.
pub(super) fn flush(
    node: &Arc<Node>,
    holds: impl FnOnce() -> Vec<Copy> + Send + 'static,
    done: Done,
) -> Flush {
    let (catching_up, asking) = begin(node, holds, done);
    Flush { node: Arc::clone(node), catching_up, asking }
}

/// The same for a caller that needs no names, only the end.
pub(super) fn flush_to_the_end(
    node: &Arc<Node>,
    holds: impl FnOnce() -> Vec<Copy> + Send + 'static,
    done: Done,
) {
    begin(node, holds, done);
}

fn begin(
    node: &Arc<Node>,
    holds: impl FnOnce() -> Vec<Copy> + Send + 'static,
    done: Done,
) -> (Arc<Round>, Arc<Round>) {
    let asking = Round::new(done);
    let (own, round) = (Arc::clone(node), Arc::clone(&asking));
    let catching_up = Round::new(Box::new(move || ask(&own, holds(), &round)));
    carry_out_catch_up(node, &catching_up);
    (catching_up, asking)
}

fn ask(node: &Node, holds: Vec<Copy>, round: &Arc<Round>) {
    for (id, number) in holds {
        // If it is gone, so is what it could answer.
        let Some(child) = node.child(id) else { continue };
        let (_, request) = node.flushes.ask(id, child.name(), round);
        child.send(FLUSH, &frames::encode(&frames::Flush { number, request }));
        if node.child(id).is_none() {
            // It went meanwhile, maybe before the question was there to be ended by that.
            node.flushes.gone(id);
        }
    }
    round.all_asked();
}
