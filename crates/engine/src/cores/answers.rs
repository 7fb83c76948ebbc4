//! The answers to a member's calls, kept for repetitions.
//!
//! Invariants:
//! - An answer is kept until the member has confirmed it, or until the repeat window of it and of all answers before it is over.
//! - The number of a call whose answer is forgotten is refused, and so is every number before it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{Call, Cancelled, DeadLetterAnswer, EngineError, Enqueued, Settled};

/// The answer to one call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Enqueued(Vec<Enqueued>),
    Settled(Vec<Settled>),
    Cancelled(Vec<Cancelled>),
    DeadLetters(Vec<DeadLetterAnswer>),
}

/// The answers to one member's calls.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// By the numbers of the calls: when the call was carried out, and its answer.
    kept: BTreeMap<u64, (Instant, Answer)>,
    /// Calls up to this one are forgotten.
    forgotten: u64,
}

impl Answers {
    /// Begins a call: its answer, if it was carried out before.
    ///
    /// `limit` is how many answers may be kept.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        call: Call,
        window: Duration,
        limit: usize,
    ) -> Result<Option<Answer>, EngineError> {
        while let Some(first) = self.kept.first_entry() {
            let is_over = now.saturating_duration_since(first.get().0) >= window;
            if *first.key() > call.confirmed && !is_over {
                break;
            }
            self.forgotten = *first.key();
            first.remove();
        }
        self.forgotten = self.forgotten.max(call.confirmed);
        if call.number <= self.forgotten {
            return Err(EngineError::Outdated { number: call.number, forgotten: self.forgotten });
        }
        if let Some((_, answer)) = self.kept.get(&call.number) {
            return Ok(Some(answer.clone()));
        }
        if self.kept.len() >= limit {
            return Err(EngineError::TooMany { what: "unconfirmed answers", count: limit + 1, limit });
        }
        Ok(None)
    }

    /// Keeps the answer to a call that has been carried out.
    pub(crate) fn keep(&mut self, now: Instant, call: Call, answer: Answer) {
        self.kept.insert(call.number, (now, answer));
    }
}
