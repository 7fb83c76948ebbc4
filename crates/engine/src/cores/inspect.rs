//! What can be asked without changing anything but the time.

use std::{ops::Bound, time::Instant};

use super::{
    engine::EngineCore,
    record::{Record, State},
};
use crate::{Backlog, DeadLetter, EngineError, FleetTaskId, Inspection, MemberView, TaskOutcome, TaskState};

impl EngineCore {
    /// As [`Engine::outcomes`](crate::Engine::outcomes), but it does not wait.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn outcomes(&mut self, now: Instant, tasks: &[FleetTaskId]) -> Result<Vec<TaskState>, EngineError> {
        self.pass(now);
        self.options.check_count("tasks in one call", tasks.len())?;
        let state = |id| match self.queue.tasks.get(id).map(|record| (&record.state, record.run)) {
            None => TaskState::Unknown,
            Some((State::Ready | State::Delayed { .. }, _)) => TaskState::Waiting,
            Some((State::Leased { member, .. }, run)) => TaskState::Leased { member: *member, run },
            Some((State::Done(output), _)) => TaskState::Ended(TaskOutcome::Done(output.clone())),
            Some((State::Cancelled, _)) => TaskState::Ended(TaskOutcome::Cancelled),
            Some((State::Dead { cause, .. }, _)) => TaskState::Ended(TaskOutcome::Dead(cause.clone())),
        };
        Ok(tasks.iter().map(state).collect())
    }

    /// As [`Engine::dead_letters`](crate::Engine::dead_letters).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn dead_letters(
        &mut self,
        now: Instant,
        after: Option<FleetTaskId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, EngineError> {
        let now = self.pass(now);
        self.options.check_count("dead letters in one call", limit)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.queue.dead.range((start, Bound::Unbounded)).take(limit);
        Ok(ids.filter_map(|id| dead_letter(now, self.queue.tasks.get(id)?)).collect())
    }

    /// As [`Engine::inspect`](crate::Engine::inspect).
    pub fn inspect(&mut self, now: Instant) -> Inspection {
        let now = self.pass(now);
        let backlog = self.queue.counts.iter().map(|((series, name), counts)| Backlog {
            series: series.clone(),
            name: name.clone(),
            delayed: counts.delayed,
            ready: counts.ready.len(),
            leased: counts.leased,
            dead: counts.dead,
            oldest_ready: counts.ready.first().map(|(since, _)| now.saturating_duration_since(*since)),
            is_stalled: !counts.ready.is_empty()
                && !self.members.values().any(|member| member.names.contains(name)),
        });
        let backlog = backlog.collect();
        let runs = |leases: &std::collections::BTreeSet<FleetTaskId>| {
            leases.iter().filter_map(|id| self.queue.tasks.get(id)).map(Record::task_run).collect()
        };
        let members = self.members.iter().map(|(id, member)| MemberView {
            member: *id,
            name: member.name.clone(),
            lease_left: member.lease_end.saturating_duration_since(now),
            leased: runs(&member.leases),
        });
        let members = members.collect();
        Inspection { books: self.queue.books, backlog, members }
    }
}

fn dead_letter(now: Instant, record: &Record) -> Option<DeadLetter> {
    let State::Dead { cause, at } = &record.state else { return None };
    Some(DeadLetter {
        task: record.task.clone(),
        cause: cause.clone(),
        tally: record.tally,
        age: now.saturating_duration_since(*at),
        details: record.details.clone(),
        failure: record.failure.clone(),
    })
}
