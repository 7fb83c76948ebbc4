//! Questions to several child processes, and their answers.
//!
//! Invariant: a round of questions ends when everybody asked has answered or is gone, and its end is told once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::ports::Done;

/// Which connection is asked, and with which request.
pub(super) type Question = (u64, u64);

/// The questions to child processes that are not answered yet.
#[derive(Default)]
pub(super) struct Flushes {
    next: AtomicU64,
    asked: Mutex<HashMap<Question, Arc<Round>>>,
}

/// Several are asked; when the last of them has answered, this is told.
pub(super) struct Round {
    state: Mutex<State>,
}

struct State {
    /// Whose answers are missing, by name.
    missing: BTreeMap<Question, String>,
    all_asked: bool,
    done: Option<Done>,
}

impl Round {
    pub(super) fn new(done: Done) -> Arc<Self> {
        let state = State { missing: BTreeMap::new(), all_asked: false, done: Some(done) };
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(super) fn ask(&self, question: Question, name: &str) {
        self.lock().missing.insert(question, name.to_owned());
    }

    pub(super) fn answered(&self, question: Question) {
        let mut state = self.lock();
        state.missing.remove(&question);
        Self::tell_if_done(state);
    }

    pub(super) fn all_asked(&self) {
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

    /// Whose answers are missing.
    pub(super) fn missing(&self) -> BTreeMap<Question, String> {
        self.lock().missing.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flushes {
    /// A question of this round, to a child process.
    pub(super) fn ask(&self, child: u64, name: &str, round: &Arc<Round>) -> Question {
        let question = (child, self.next.fetch_add(1, Ordering::Relaxed));
        round.ask(question, name);
        self.lock().insert(question, Arc::clone(round));
        question
    }

    /// The answers to these are not needed any more.
    pub(super) fn forget(&self, questions: impl Iterator<Item = Question>) {
        let mut asked = self.lock();
        questions.for_each(|question| drop(asked.remove(&question)));
    }

    /// The answer to a question.
    pub(super) fn answered(&self, question: Question) {
        let round = self.lock().remove(&question);
        // What nobody asked for is no answer.
        if let Some(round) = round {
            round.answered(question);
        }
    }

    /// A child process is gone and answers nothing any more.
    pub(super) fn gone(&self, child: u64) {
        let gone: Vec<_> = self.lock().extract_if(|&(asked, _), _| asked == child).collect();
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
