//! Members join, live, and end.

use std::time::Instant;

use super::{
    engine::EngineCore,
    record::{End, Member},
    timers::{Timer, after},
};
use crate::{
    Beat, Beaten, Departure, EngineError, EngineOptions, Hint, Join, Joined, MemberId, TaskRun,
    cores::checks::check_limit,
};

impl EngineCore {
    /// As [`Engine::join`](crate::Engine::join).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn join(&mut self, now: Instant, join: Join) -> Result<Joined, EngineError> {
        let now = self.pass(now);
        let Join { member: id, name } = join;
        self.options.check_text("a member's name", &name)?;
        if !self.members.contains_key(&id) {
            if self.gone.contains(&id) {
                return Err(EngineError::MemberGone { member: id });
            }
            self.check_id_time(now, id.time())?;
            check_limit("members", self.members.len() + self.gone.len() + 1, self.options.members)?;
            self.members.insert(id, Member::new(name, now));
        }
        self.renew(now, id)?;
        let EngineOptions { lease, lock_delay, repeat_window, .. } = self.options;
        Ok(Joined { lease, lock_delay, repeat_window, time: self.time(now) })
    }

    /// As [`Engine::beat`](crate::Engine::beat).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn beat(&mut self, now: Instant, beat: Beat) -> Result<Beaten, EngineError> {
        let now = self.pass(now);
        let Beat { member: id, number, holding } = beat;
        self.renew(now, id)?;
        check_limit("tasks in a beat", holding.len(), self.options.leases_per_member)?;
        for held in &holding {
            self.options.check_details(held.details.as_ref().map_or(0, |details| details.len()))?;
        }
        let (time, lease) = (self.time(now), self.options.lease);
        let member = self.members.get_mut(&id).ok_or(EngineError::MemberGone { member: id })?;
        let is_news = number > member.beat;
        member.beat = member.beat.max(number);
        let mut gone = Vec::new();
        for held in holding {
            let record = self.queue.tasks.get_mut(&held.run.task);
            match record.filter(|record| record.is_leased_by(id, held.run.run)) {
                Some(record) if is_news && held.details.is_some() => record.details = held.details,
                Some(_) => {}
                None => gone.push(held.run),
            }
        }
        let runs = member.stopping.iter().filter_map(|task| self.queue.tasks.get(task));
        let cancelled: Vec<TaskRun> = runs.map(|record| record.task_run()).collect();
        Ok(Beaten { lease, time, cancelled, gone })
    }

    /// As [`Engine::leave`](crate::Engine::leave).
    pub fn leave(&mut self, now: Instant, member: MemberId, departure: Departure) {
        let now = self.pass(now);
        self.end_member(now, member, End::Left(departure));
    }

    fn renew(&mut self, now: Instant, id: MemberId) -> Result<(), EngineError> {
        let lease_end = after(now, self.options.lease);
        let member = self.members.get_mut(&id).ok_or(EngineError::MemberGone { member: id })?;
        self.timers.clear(member.lease_end, Timer::Lease(id));
        member.lease_end = lease_end;
        self.timers.set(lease_end, Timer::Lease(id));
        Ok(())
    }

    /// Ends a member, in one step: its tasks come back, its locks end, and it is heard no more.
    pub(crate) fn end_member(&mut self, now: Instant, id: MemberId, end: End) {
        let Some(member) = self.members.remove(&id) else { return };
        self.timers.clear(member.lease_end, Timer::Lease(id));
        let remembered = self.until_too_old(now, id.time());
        if !remembered.is_zero() {
            self.gone.insert(id);
            self.timers.set(after(now, remembered), Timer::ForgetMember(id));
        }
        if let Some(task) = member.reserved {
            self.queue.reserved.remove(&task);
        }
        let is_lost = end != End::Left(Departure::Goodbye);
        for task in member.leases {
            self.come_back(now, task, is_lost);
        }
        // One that is known to be dead or says goodbye no longer believes that it holds its locks.
        let until = if end == End::Expired { after(now, self.options.lock_delay) } else { now };
        self.locks.end_member(now, &id, until);
        self.hints.insert(Hint::Gone(id));
    }
}
