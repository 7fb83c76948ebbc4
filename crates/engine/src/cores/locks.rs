//! Locks: the table of shared-lock, for the members of this engine.

use std::{ops::Bound, sync::Arc, time::Instant};

use workfleet_shared_lock::{
    Fence, Mode,
    cores::{LockOp, Requester, TableKey},
};

use super::engine::EngineCore;
use crate::{EngineError, LockAnswer, LockCall, LockOwner, LockParty, LockView, MemberId};

impl EngineCore {
    /// As [`Engine::locks`](crate::Engine::locks), but it does not wait.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn locks(&mut self, now: Instant, call: LockCall) -> Result<LockAnswer, EngineError> {
        let now = self.pass(now);
        let LockCall { member, ops, since, wait: _ } = call;
        self.options.check_count("operations in one call", ops.len())?;
        for (_, op) in &ops {
            if let LockOp::Request { key, owner, .. } | LockOp::Try { key, owner, .. } = op {
                self.options.check_key("a lock's key", key)?;
                self.options.check_text("an owner's label", owner.as_deref().unwrap_or_default())?;
            }
        }
        self.member(member)?;
        let owner = |label: Option<Arc<str>>| label.map(|label| LockOwner { member, label });
        let mut refused = Vec::new();
        for (request, op) in ops {
            let op = match op {
                LockOp::Request { key, mode, owner: label } => {
                    LockOp::Request { key, mode, owner: owner(label) }
                }
                LockOp::Try { key, mode, owner: label } => LockOp::Try { key, mode, owner: owner(label) },
                LockOp::Downgrade => LockOp::Downgrade,
                _ => LockOp::Leave,
            };
            if let Err(refusal) = self.locks.apply(now, &member, request, op) {
                refused.push((request, refusal));
            }
        }
        Ok(LockAnswer { changes: self.locks.changes(&member, since), refused })
    }

    /// As [`Engine::is_free`](crate::Engine::is_free).
    pub fn is_free(&mut self, now: Instant, key: &Arc<str>, mode: Mode) -> bool {
        self.pass(now);
        self.locks.is_free(key, mode)
    }

    /// As [`Engine::lock_snapshot`](crate::Engine::lock_snapshot).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn lock_snapshot(
        &mut self,
        now: Instant,
        after: Option<&Arc<str>>,
        limit: usize,
    ) -> Result<Vec<LockView>, EngineError> {
        let now = self.pass(now);
        self.options.check_count("keys in one call", limit)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.locks.keys_in((start, Bound::Unbounded)).take(limit);
        Ok(keys.filter_map(|(key, state)| view(now, key, state)).collect())
    }
}

fn view(now: Instant, key: &Arc<str>, state: &TableKey<MemberId, LockOwner>) -> Option<LockView> {
    let party = |fence: Fence, mode: Mode, requester: &Requester<MemberId, LockOwner>| LockParty {
        member: requester.member,
        owner: requester.owner.as_ref().map(|owner| owner.label.clone()),
        mode,
        fence,
        age: now.saturating_duration_since(requester.since),
    };
    let mode = state.mode()?;
    Some(LockView {
        key: key.clone(),
        mode,
        holders: state.holders().map(|(fence, holder)| party(fence, mode, holder)).collect(),
        waiters: state.waiters().map(|(fence, mode, waiter)| party(fence, mode, waiter)).collect(),
    })
}
