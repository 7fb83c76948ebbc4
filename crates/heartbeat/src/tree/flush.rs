//! Asking everybody below for the beats of a token that are still on their way.
//!
//! First everything that has been sent up to here is taken in, so that whoever has got hold of the token is known; then
//! each of those is asked, asks those below it in turn, sends what there is, and answers.
//!
//! Invariant: a round of questions ends when everybody asked has answered or is gone, and its end is told once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    channel::Channel,
    frames::{self, FLUSH},
    node::Node,
};

type Done = Box<dyn FnOnce() + Send>;

/// Which connection is asked, and with which request.
type Question = (u64, u64);

/// The questions to those below that are not answered yet.
#[derive(Default)]
pub(super) struct Flushes {
    next: AtomicU64,
    asked: Mutex<HashMap<Question, Arc<Round>>>,
}

/// Several are asked; when the last of them has answered, this is told.
struct Round {
    state: Mutex<State>,
}

struct State {
    /// Whose answers are missing, by name.
    missing: BTreeMap<Question, String>,
    all_asked: bool,
    done: Option<Done>,
}

impl Round {
    fn new(done: Done) -> Arc<Self> {
        let state = State { missing: BTreeMap::new(), all_asked: false, done: Some(done) };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn ask(&self, question: Question, name: &str) {
        self.lock().missing.insert(question, name.to_owned());
    }

    fn answered(&self, question: Question) {
        let mut state = self.lock();
        state.missing.remove(&question);
        Self::tell_if_done(state);
    }

    fn all_asked(&self) {
        let mut state = self.lock();
        state.all_asked = true;
        Self::tell_if_done(state);
    }

    fn tell_if_done(mut state: MutexGuard<'_, State>) {
        let ended = state.all_asked && state.missing.is_empty();
        let done = if ended { state.done.take() } else { None };
        drop(state);
        if let Some(done) = done {
            done();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flushes {
    /// The answer to a question.
    pub(super) fn answered(&self, question: Question) {
        let round = self.lock().remove(&question);
        // What nobody asked for is no answer.
        if let Some(round) = round {
            round.answered(question);
        }
    }

    /// Somebody below is gone and answers nothing any more.
    pub(super) fn gone(&self, below: u64) {
        let gone: Vec<_> = self.lock().extract_if(|&(asked, _), _| asked == below).collect();
        for (question, round) in gone {
            round.answered(question);
        }
    }

    #[cfg(all(test, not(workfleet_loom)))]
    pub(super) fn unanswered(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Arc<Round>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flush under way; dropping it forgets who has not answered, and then its end may never be told.
pub(crate) struct Flush {
    node: Arc<Node>,
    catching_up: Arc<Round>,
    asking: Arc<Round>,
}

impl Flush {
    /// The processes whose answers are missing.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for round in [&self.catching_up, &self.asking] {
            names.extend(round.lock().missing.values().cloned());
        }
        names.into_iter().collect()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let unanswered: Vec<_> = self.asking.lock().missing.keys().copied().collect();
        let mut asked = self.node.flushes.lock();
        for question in unanswered {
            asked.remove(&question);
        }
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("missing", &self.missing()).finish_non_exhaustive()
    }
}

/// Takes in what everybody below has sent so far, and then calls `done`.
pub(crate) fn catch_up(node: &Node, done: Done) {
    carry_out_catch_up(node, &Round::new(done));
}

fn carry_out_catch_up(node: &Node, round: &Arc<Round>) {
    let all = node.all_below();
    for below in &all {
        round.ask((below.id(), 0), below.name());
    }
    for below in all {
        let (round, question) = (Arc::clone(round), (below.id(), 0));
        below.catch_up(Box::new(move || round.answered(question)));
    }
    round.all_asked();
}

/// Asks everybody below who sends beats of `channel`, after having taken in what they have sent so far; then calls `done`.
pub(crate) fn flush(channel: &Arc<Channel>, done: Done) -> Flush {
    let (catching_up, asking) = begin(channel, done);
    Flush { node: Arc::clone(channel.node()), catching_up, asking }
}

/// The same for somebody above: it goes on until everybody has answered or is gone, however long that is waited for.
pub(super) fn flush_for_above(channel: &Arc<Channel>, done: Done) {
    begin(channel, done);
}

fn begin(channel: &Arc<Channel>, done: Done) -> (Arc<Round>, Arc<Round>) {
    let asking = Round::new(done);
    let (own, round) = (Arc::clone(channel), Arc::clone(&asking));
    let catching_up = Round::new(Box::new(move || ask(&own, &round)));
    carry_out_catch_up(channel.node(), &catching_up);
    (catching_up, asking)
}

fn ask(channel: &Channel, round: &Arc<Round>) {
    let node = channel.node();
    let copies: Vec<_> = channel.copies().iter().copied().collect();
    for (id, number) in copies {
        // If it is gone, so is what it could answer.
        let Some(below) = node.below(id) else { continue };
        let request = node.flushes.next.fetch_add(1, Ordering::Relaxed);
        round.ask((id, request), below.name());
        node.flushes.lock().insert((id, request), Arc::clone(round));
        below.send(FLUSH, &frames::encode(&frames::Flush { number, request }));
        if node.below(id).is_none() {
            // It went meanwhile, maybe before the question was there to be ended by that.
            node.flushes.gone(id);
        }
    }
    round.all_asked();
}
