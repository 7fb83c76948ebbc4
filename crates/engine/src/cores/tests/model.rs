//! An engine that is obviously right: lists that are searched for everything, and time that passes from event to event.
//!
//! Times are milliseconds since the start.

use crate::{
    Cancelled, DeadLetterAnswer, DeadLetterOp, Enqueued, FleetTaskId, MemberId, Settled, TaskRun, UniqueFor,
    cores::tests::pair::Spec,
};

pub(super) const LEASE: u64 = 100;
pub(super) const WINDOW: u64 = 300;
pub(super) const LOST_LIMIT: u32 = 1;
pub(super) const LEASES: usize = 4;
pub(super) const TASKS: usize = 14;
/// Two tasks at once in the series that has a rate, and one more each 40 ms.
pub(super) const RATE: (u64, u64) = (2, 80);

/// What a refusal is, as far as the model says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Gone,
    Outdated,
    ParentFenced,
    IdTime,
    TooMany,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Cancelled,
    Failed,
    Deadline,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naive {
    Waits { until: u64 },
    Leased { by: MemberId, stop: Option<End> },
    Ended(End),
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: FleetTaskId,
    pub(super) spec: Spec,
    pub(super) arrival: u64,
    deadline: Option<u64>,
    pub(super) state: Naive,
    pub(super) run: u64,
    pub(super) lost: u32,
    pub(super) attempts: u32,
    pub(super) is_dead_letter: bool,
    forget: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) lease_end: u64,
    reserved: Option<FleetTaskId>,
    /// The answers to calls that may be repeated: number, time.
    kept: Vec<(u64, u64)>,
    forgotten: u64,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) members: Vec<Member>,
    gone: Vec<MemberId>,
    pub(super) tasks: Vec<Task>,
    /// Key, task, and until when.
    unique: Vec<(u8, FleetTaskId, Option<u64>)>,
    /// When a task with a rate was leased.
    takes: Vec<u64>,
    arrivals: u64,
    pub(super) enqueued: u64,
    pub(super) retried: u64,
    pub(super) ends: Vec<End>,
}

impl Model {
    /// Lets everything happen that is due until then.
    pub(super) fn pass(&mut self, target: u64) {
        loop {
            let leases = self.members.iter().map(|member| member.lease_end);
            let open = self.tasks.iter().filter(|task| !matches!(task.state, Naive::Ended(_)));
            // One whose deadline has passed while it is leased was told to stop then.
            let open = open.filter(|task| !matches!(task.state, Naive::Leased { stop: Some(_), .. }));
            let deadlines = open.filter_map(|task| task.deadline);
            let keys = self.unique.iter().filter_map(|(_, _, until)| *until);
            let forgets = self.tasks.iter().filter_map(|task| task.forget);
            let due = leases.chain(deadlines).chain(keys).chain(forgets).filter(|due| *due <= target).min();
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            let mut expired: Vec<_> = self
                .members
                .iter()
                .filter(|member| member.lease_end <= due)
                .map(|member| member.id)
                .collect();
            expired.sort();
            for member in expired {
                self.end_member(member, true);
            }
            let ids: Vec<_> = self.tasks.iter().map(|task| task.id).collect();
            for id in ids {
                let task = self.task(id);
                if task.deadline.is_some_and(|deadline| deadline <= due) {
                    match &mut task.state {
                        Naive::Waits { .. } => self.end(id, End::Deadline),
                        Naive::Leased { stop, .. } => drop(stop.get_or_insert(End::Deadline)),
                        Naive::Ended(_) => {}
                    }
                }
            }
            self.unique.retain(|(_, _, until)| until.is_none_or(|until| until > due));
            self.tasks.retain(|task| task.forget.is_none_or(|forget| forget > due));
        }
        self.now = target;
    }

    pub(super) fn task(&mut self, id: FleetTaskId) -> &mut Task {
        self.tasks.iter_mut().find(|task| task.id == id).expect("it is known")
    }

    fn member(&mut self, id: MemberId) -> Result<&mut Member, Refused> {
        self.members.iter_mut().find(|member| member.id == id).ok_or(Refused::Gone)
    }

    pub(super) fn join(&mut self, id: MemberId, made: u64) -> Result<(), Refused> {
        let now = self.now;
        if let Ok(member) = self.member(id) {
            member.lease_end = now + LEASE;
            return Ok(());
        }
        // One that is gone is refused by either rule.
        if self.gone.contains(&id) {
            return Err(if now - made >= WINDOW { Refused::IdTime } else { Refused::Gone });
        }
        self.members.push(Member {
            id,
            lease_end: now + LEASE,
            reserved: None,
            kept: Vec::new(),
            forgotten: 0,
        });
        Ok(())
    }

    pub(super) fn beat(&mut self, id: MemberId) -> Result<Vec<TaskRun>, Refused> {
        let now = self.now;
        self.member(id)?.lease_end = now + LEASE;
        let stops = |task: &&Task| matches!(task.state, Naive::Leased { by, stop: Some(_) } if by == id);
        let mut stops: Vec<_> =
            self.tasks.iter().filter(stops).map(|task| TaskRun { task: task.id, run: task.run }).collect();
        stops.sort();
        Ok(stops)
    }

    pub(super) fn end_member(&mut self, id: MemberId, is_lost: bool) {
        if self.member(id).is_err() {
            return;
        }
        self.members.retain(|member| member.id != id);
        self.gone.push(id);
        for task in self.held(id) {
            self.come_back(task, is_lost);
        }
    }

    pub(super) fn held(&self, by: MemberId) -> Vec<FleetTaskId> {
        let is_held = |task: &&Task| matches!(task.state, Naive::Leased { by: other, .. } if other == by);
        self.tasks.iter().filter(is_held).map(|task| task.id).collect()
    }

    /// Whether the call is new. If not, it gets the answer that it got before.
    pub(super) fn begin(&mut self, id: MemberId, number: u64, confirmed: u64) -> Result<bool, Refused> {
        let now = self.now;
        let member = self.member(id)?;
        member.kept.sort();
        while let Some((first, at)) = member.kept.first().copied() {
            if first > confirmed && now - at < WINDOW {
                break;
            }
            member.forgotten = first;
            member.kept.remove(0);
        }
        member.forgotten = member.forgotten.max(confirmed);
        if number <= member.forgotten {
            return Err(Refused::Outdated);
        }
        Ok(!member.kept.iter().any(|(kept, _)| *kept == number))
    }

    pub(super) fn keep(&mut self, id: MemberId, number: u64) {
        let now = self.now;
        self.member(id).expect("it lives").kept.push((number, now));
    }

    pub(super) fn enqueue(&mut self, specs: &[(FleetTaskId, u64, Spec)]) -> Result<Vec<Enqueued>, Refused> {
        let (now, before) = (self.now, self.tasks.len());
        let mut answers = Vec::new();
        let mut new: Vec<(FleetTaskId, u64, Spec)> = Vec::new();
        for (id, made, spec) in specs {
            if let Some((member, run)) = spec.parent
                && !self.tasks.iter().any(|task| {
                    (task.id, task.run) == (run.task, run.run)
                        && matches!(task.state, Naive::Leased { by, .. } if by == member)
                })
            {
                return Err(Refused::ParentFenced);
            }
            if self.tasks.iter().any(|task| task.id == *id) || new.iter().any(|(other, ..)| other == id) {
                answers.push(Enqueued::Existing(*id));
                continue;
            }
            if now - made >= WINDOW {
                return Err(Refused::IdTime);
            }
            if let Some((key, _)) = spec.unique {
                let held = self.unique.iter().find(|(other, ..)| *other == key).map(|(_, task, _)| *task);
                let planned =
                    new.iter().find(|(.., other)| other.unique.is_some_and(|(other, _)| other == key));
                if let Some(holder) = held.or(planned.map(|(id, ..)| *id)) {
                    answers.push(Enqueued::Existing(holder));
                    continue;
                }
            }
            new.push((*id, *made, *spec));
            answers.push(Enqueued::New(*id));
        }
        if before + new.len() > TASKS {
            return Err(Refused::TooMany);
        }
        for (id, _, spec) in new {
            self.arrivals += 1;
            self.enqueued += 1;
            if let Some((key, until)) = spec.unique {
                let until = match until {
                    UniqueFor::Task => None,
                    UniqueFor::Time(time) => Some(now + time.as_millis() as u64),
                };
                self.unique.push((key, id, until));
            }
            self.tasks.push(Task {
                id,
                spec,
                arrival: self.arrivals,
                deadline: spec.deadline.map(|deadline| now + deadline),
                state: Naive::Waits { until: now + spec.not_before },
                run: 0,
                lost: 0,
                attempts: 0,
                is_dead_letter: false,
                forget: None,
            });
        }
        Ok(answers)
    }

    /// The first task of a series that a member with these names could lease.
    fn first(&self, series: u8, names: [bool; 2], is_alone: bool) -> Option<FleetTaskId> {
        let could = |task: &&Task| {
            let waits = matches!(task.state, Naive::Waits { until } if until <= self.now);
            let has_slot = task.spec.concurrency.is_none_or(|(key, limit)| {
                let same = |other: &&Task| {
                    matches!(other.state, Naive::Leased { .. })
                        && other.spec.concurrency.is_some_and(|(other, _)| other == key)
                };
                self.tasks.iter().filter(same).count() < limit as usize
            });
            waits
                && has_slot
                && task.spec.series == series
                && names[usize::from(task.spec.name)]
                && (task.lost >= LOST_LIMIT) == is_alone
        };
        let firsts = self.tasks.iter().filter(could);
        let first = firsts.min_by_key(|task| (task.spec.priority, task.arrival)).map(|task| task.id);
        first.filter(|_| series == 0 || self.has_token())
    }

    /// A bucket of tokens, each cut into as many parts as there are milliseconds in which the bucket fills up.
    fn has_token(&self) -> bool {
        let (count, per) = RATE;
        let full = count * per;
        let (mut parts, mut at) = (full, 0);
        for take in self.takes.iter().copied().chain([self.now]) {
            parts = full.min(parts + (take - at) * count);
            at = take;
            if take == self.now {
                break;
            }
            parts -= per;
        }
        // Those of this instant are still in it.
        let now = self.takes.iter().filter(|take| **take == self.now).count() as u64;
        parts >= (now + 1) * per
    }

    pub(super) fn lease(
        &mut self,
        id: MemberId,
        counts: [u32; 2],
        names: [bool; 2],
    ) -> Result<Vec<TaskRun>, Refused> {
        let held = self.held(id);
        let is_alone = held.iter().any(|task| self.task(*task).lost >= LOST_LIMIT);
        let reserved = self.member(id)?.reserved;
        if is_alone || held.len() >= LEASES || (reserved.is_some() && !held.is_empty()) {
            return Ok(Vec::new());
        }
        let series: Vec<u8> = (0..2).filter(|series| counts[usize::from(*series)] > 0).collect();
        for series in &series {
            let Some(suspect) = self.first(*series, names, true) else { continue };
            if held.is_empty() {
                return Ok(vec![self.take(suspect, id)]);
            }
            if !self.members.iter().any(|member| member.reserved == Some(suspect)) {
                self.member(id)?.reserved = Some(suspect);
                return Ok(Vec::new());
            }
        }
        self.member(id)?.reserved = None;
        let mut batch = Vec::new();
        for series in series {
            for _ in 0..counts[usize::from(series)] {
                if held.len() + batch.len() >= LEASES {
                    return Ok(batch);
                }
                let Some(task) = self.first(series, names, false) else { break };
                batch.push(self.take(task, id));
            }
        }
        Ok(batch)
    }

    fn take(&mut self, id: FleetTaskId, by: MemberId) -> TaskRun {
        self.unreserve(id);
        let now = self.now;
        let task = self.task(id);
        task.state = Naive::Leased { by, stop: None };
        task.run += 1;
        let (run, has_rate) = (task.run, task.spec.series == 1);
        if has_rate {
            self.takes.push(now);
        }
        TaskRun { task: id, run }
    }

    fn unreserve(&mut self, task: FleetTaskId) {
        for member in &mut self.members {
            member.reserved = member.reserved.filter(|reserved| *reserved != task);
        }
    }

    pub(super) fn settle(&mut self, by: MemberId, run: TaskRun, verdict: &crate::Verdict) -> Settled {
        let now = self.now;
        let task = self.tasks.iter_mut().find(|task| (task.id, task.run) == (run.task, run.run));
        let Some(task) = task else { return Settled::Fenced };
        let Naive::Leased { by: holder, stop } = task.state else { return Settled::Fenced };
        if holder != by {
            return Settled::Fenced;
        }
        task.attempts += 1;
        match verdict {
            crate::Verdict::Done(_) => self.end(run.task, End::Done),
            crate::Verdict::Returned => self.come_back(run.task, false),
            crate::Verdict::Dead { .. } => self.end(run.task, stop.unwrap_or(End::Failed)),
            crate::Verdict::Retry { after, .. } => match stop {
                Some(stop) => self.end(run.task, stop),
                None => task.state = Naive::Waits { until: now + after.as_millis() as u64 },
            },
        }
        Settled::Ok
    }

    fn come_back(&mut self, id: FleetTaskId, is_lost: bool) {
        let now = self.now;
        let task = self.task(id);
        let Naive::Leased { stop, .. } = task.state else { unreachable!("it is held") };
        task.lost += u32::from(is_lost);
        match stop {
            Some(stop) => self.end(id, stop),
            None if is_lost && task.lost > LOST_LIMIT => self.end(id, End::Lost),
            None => task.state = Naive::Waits { until: now },
        }
    }

    fn end(&mut self, id: FleetTaskId, end: End) {
        let now = self.now;
        self.unreserve(id);
        self.ends.push(end);
        let task = self.task(id);
        task.state = Naive::Ended(end);
        task.deadline = None;
        task.is_dead_letter = !matches!(end, End::Done | End::Cancelled);
        if !task.is_dead_letter {
            task.forget = Some(now + task.spec.keep.max(WINDOW));
        }
        self.unique.retain(|(_, task, until)| *task != id || until.is_some());
    }

    pub(super) fn cancel(&mut self, id: FleetTaskId) -> Cancelled {
        let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) else { return Cancelled::Unknown };
        match &mut task.state {
            Naive::Ended(End::Cancelled) => Cancelled::Ended,
            Naive::Ended(_) => Cancelled::Late,
            Naive::Leased { stop, .. } => {
                stop.get_or_insert(End::Cancelled);
                Cancelled::Asked
            }
            Naive::Waits { .. } => {
                self.end(id, End::Cancelled);
                Cancelled::Ended
            }
        }
    }

    pub(super) fn settle_dead_letters(&mut self, op: DeadLetterOp, count: usize) -> Vec<DeadLetterAnswer> {
        let now = self.now;
        let mut ids: Vec<_> =
            self.tasks.iter().filter(|task| task.is_dead_letter).map(|task| task.id).collect();
        ids.sort();
        ids.truncate(count);
        let mut answers = Vec::new();
        for id in ids {
            let task = self.task(id);
            let spec = task.spec;
            if op == DeadLetterOp::Drop {
                task.is_dead_letter = false;
                task.forget = Some(now + spec.keep.max(WINDOW));
                answers.push(DeadLetterAnswer::Ok(id));
                continue;
            }
            if let Some((key, UniqueFor::Task)) = spec.unique {
                if let Some((_, by, _)) = self.unique.iter().find(|(other, ..)| *other == key) {
                    answers.push(DeadLetterAnswer::KeyTaken { task: id, by: *by });
                    continue;
                }
                self.unique.push((key, id, None));
            }
            self.arrivals += 1;
            self.retried += 1;
            let arrival = self.arrivals;
            let task = self.task(id);
            task.state = Naive::Waits { until: now };
            task.arrival = arrival;
            task.deadline = spec.deadline.map(|deadline| now + deadline);
            (task.lost, task.attempts, task.is_dead_letter) = (0, 0, false);
            answers.push(DeadLetterAnswer::Ok(id));
        }
        answers
    }
}
