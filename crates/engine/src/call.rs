//! What makes a call safe to repeat: its number, and how far the member has had its answers.

use std::collections::BTreeSet;

use crate::MemberId;

/// What every changing call begins with.
///
/// A member numbers its calls from 1. If an answer is lost, it repeats the call with the same number, and gets the answer of the
/// first one; calls may overlap, and overtake one another. The engine keeps an answer until the member confirms it, for the
/// repeat window at most. A later repetition is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The member.
    pub member: MemberId,
    /// The number of the call.
    pub number: u64,
    /// The member has had the answers to all calls up to this one.
    pub confirmed: u64,
}

/// The calls of a member: numbers them, and knows what can be confirmed.
///
/// ```
/// use workfleet_engine::{Calls, EngineTime, MemberId};
///
/// let mut calls = Calls::new(MemberId::new(EngineTime::from_unix_ms(1), 1));
/// let (first, second) = (calls.begin(), calls.begin());
/// calls.answered(second.number);
/// assert_eq!(calls.begin().confirmed, 0, "the first has no answer");
/// calls.answered(first.number);
/// assert_eq!(calls.begin().confirmed, 2);
/// ```
#[derive(Clone, Debug)]
pub struct Calls {
    member: MemberId,
    last: u64,
    /// Those without an answer. As many as the member has calls under way.
    open: BTreeSet<u64>,
}

impl Calls {
    /// No calls yet.
    #[must_use]
    pub const fn new(member: MemberId) -> Self {
        Self { member, last: 0, open: BTreeSet::new() }
    }

    /// The next call. It is repeated with the same number until it has an answer, and then [answered](Self::answered).
    pub fn begin(&mut self) -> Call {
        self.last += 1;
        self.open.insert(self.last);
        Call { member: self.member, number: self.last, confirmed: self.confirmed() }
    }

    /// The call has its answer, or an error that is no reason to repeat it, or is given up.
    pub fn answered(&mut self, number: u64) {
        self.open.remove(&number);
    }

    fn confirmed(&self) -> u64 {
        self.open.first().map_or(self.last, |first| first - 1)
    }
}
