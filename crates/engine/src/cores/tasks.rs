//! Tasks are enqueued, leased, settled, cancelled, and retried.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    answers::Answer,
    checks::check_limit,
    engine::EngineCore,
    record::{Record, State, Stop},
    timers::{Timer, after},
};
use crate::{
    Call, Cancelled, DeadCause, DeadLetterAnswer, DeadLetterOp, DeadLetters, EngineError, Enqueued,
    FleetTaskId, Hint, LeaseCall, LeasedTask, MemberId, NewTask, Parent, Payload, Settled, Settlement, Tally,
    TaskRun, Unique, UniqueFor, Verdict,
};

impl EngineCore {
    /// As [`Engine::enqueue`](crate::Engine::enqueue).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn enqueue(
        &mut self,
        now: Instant,
        call: Call,
        tasks: Vec<NewTask>,
    ) -> Result<Vec<Enqueued>, EngineError> {
        let now = self.pass(now);
        self.options.check_count("tasks in one call", tasks.len())?;
        for task in &tasks {
            self.options.check_task(task)?;
        }
        match self.begin(now, call)? {
            Some(Answer::Enqueued(answer)) => return Ok(answer),
            Some(_) => return Err(EngineError::NumberReused { number: call.number }),
            None => {}
        }
        let answers = self.plan(now, &tasks)?;
        for (task, answer) in tasks.into_iter().zip(&answers) {
            if let Enqueued::New(_) = answer {
                self.take_in(now, task);
            }
        }
        self.keep(now, call, Answer::Enqueued(answers.clone()))?;
        Ok(answers)
    }

    /// As [`Engine::lease`](crate::Engine::lease), but it does not wait.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn lease(&mut self, now: Instant, call: &LeaseCall) -> Result<Vec<LeasedTask>, EngineError> {
        let now = self.pass(now);
        self.options.check_count("series in one call", call.series.len())?;
        self.options.check_count("names in one call", call.names.len())?;
        for (series, _) in &call.series {
            self.options.check_text("a series", series)?;
        }
        for name in &call.names {
            self.options.check_text("a task's name", name)?;
        }
        let member = self.member(call.member)?;
        let (number, batch) = &member.batch;
        if call.batch < *number {
            return Err(EngineError::Outdated { number: call.batch, forgotten: *number - 1 });
        }
        if call.batch == *number && !batch.is_empty() {
            let batch = batch.clone();
            let runs = batch.into_iter();
            return Ok(runs.filter_map(|run| self.leased(now, call.member, run)).collect());
        }
        member.batch = (call.batch, Vec::new());
        member.names = call.names.iter().cloned().collect();
        let batch = self.pick(now, call)?;
        self.member(call.member)?.batch.1.clone_from(&batch);
        Ok(batch.into_iter().filter_map(|run| self.leased(now, call.member, run)).collect())
    }

    /// As [`Engine::settle`](crate::Engine::settle).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn settle(
        &mut self,
        now: Instant,
        call: Call,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>, EngineError> {
        let now = self.pass(now);
        self.options.check_count("settlements in one call", settlements.len())?;
        for settlement in &settlements {
            self.options.check_verdict(&settlement.verdict)?;
        }
        match self.begin(now, call)? {
            Some(Answer::Settled(answer)) => return Ok(answer),
            Some(_) => return Err(EngineError::NumberReused { number: call.number }),
            None => {}
        }
        let settlements = settlements.into_iter();
        let answers: Vec<_> = settlements.map(|one| self.settle_one(now, call.member, one)).collect();
        self.keep(now, call, Answer::Settled(answers.clone()))?;
        Ok(answers)
    }

    /// As [`Engine::cancel`](crate::Engine::cancel).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn cancel(
        &mut self,
        now: Instant,
        call: Call,
        tasks: &[FleetTaskId],
    ) -> Result<Vec<Cancelled>, EngineError> {
        let now = self.pass(now);
        self.options.check_count("tasks in one call", tasks.len())?;
        match self.begin(now, call)? {
            Some(Answer::Cancelled(answer)) => return Ok(answer),
            Some(_) => return Err(EngineError::NumberReused { number: call.number }),
            None => {}
        }
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            let answer = match self.queue.tasks.get(task).map(|record| &record.state) {
                None => Cancelled::Unknown,
                Some(State::Done(_) | State::Dead { .. }) => Cancelled::Late,
                Some(State::Cancelled) => Cancelled::Ended,
                Some(State::Leased { .. }) => Cancelled::Asked,
                Some(State::Ready | State::Delayed { .. }) => Cancelled::Ended,
            };
            if matches!(answer, Cancelled::Asked | Cancelled::Ended) {
                self.stop(now, *task, Stop::Cancelled);
            }
            answers.push(answer);
        }
        self.keep(now, call, Answer::Cancelled(answers.clone()))?;
        Ok(answers)
    }

    /// As [`Engine::settle_dead_letters`](crate::Engine::settle_dead_letters).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn settle_dead_letters(
        &mut self,
        now: Instant,
        call: Call,
        op: DeadLetterOp,
        which: DeadLetters,
    ) -> Result<Vec<DeadLetterAnswer>, EngineError> {
        let now = self.pass(now);
        let count = match &which {
            DeadLetters::Ids(ids) => ids.len(),
            DeadLetters::Named(_, count) | DeadLetters::First(count) => *count,
        };
        self.options.check_count("dead letters in one call", count)?;
        match self.begin(now, call)? {
            Some(Answer::DeadLetters(answer)) => return Ok(answer),
            Some(_) => return Err(EngineError::NumberReused { number: call.number }),
            None => {}
        }
        let ids = match which {
            DeadLetters::Ids(ids) => ids,
            DeadLetters::First(count) => self.queue.dead.iter().copied().take(count).collect(),
            DeadLetters::Named(name, count) => {
                let dead = self.queue.dead.iter().copied();
                dead.filter(|id| self.queue.tasks[id].task.name == name).take(count).collect()
            }
        };
        let answers: Vec<_> = ids.into_iter().map(|id| self.settle_dead_letter(now, op, id)).collect();
        self.keep(now, call, Answer::DeadLetters(answers.clone()))?;
        Ok(answers)
    }

    fn begin(&mut self, now: Instant, call: Call) -> Result<Option<Answer>, EngineError> {
        let (window, limit) = (self.options.repeat_window, self.options.answers_per_member);
        self.member(call.member)?.answers.begin(now, call, window, limit)
    }

    fn keep(&mut self, now: Instant, call: Call, answer: Answer) -> Result<(), EngineError> {
        self.member(call.member)?.answers.keep(now, call, answer);
        Ok(())
    }

    /// What becomes of each of these tasks, if all of them can be taken.
    fn plan(&self, now: Instant, tasks: &[NewTask]) -> Result<Vec<Enqueued>, EngineError> {
        let queue = &self.queue;
        let (mut ids, mut keys) = (BTreeSet::new(), BTreeMap::new());
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            if let Some(Parent { member, run }) = task.parent {
                let parent = queue.tasks.get(&run.task);
                if !parent.is_some_and(|record| record.is_leased_by(member, run.run)) {
                    return Err(EngineError::ParentFenced { parent: run });
                }
            }
            if queue.tasks.contains_key(&task.id) || ids.contains(&task.id) {
                answers.push(Enqueued::Existing(task.id));
                continue;
            }
            self.check_id_time(now, task.id.time())?;
            if let Some(Unique { key, .. }) = &task.unique {
                let holder = queue.unique.get(key).or(keys.get(key)).copied();
                if let Some(holder) = holder {
                    answers.push(Enqueued::Existing(holder));
                    continue;
                }
                keys.insert(key.clone(), task.id);
            }
            ids.insert(task.id);
            answers.push(Enqueued::New(task.id));
        }
        check_limit("tasks", queue.tasks.len() + ids.len(), self.options.tasks)?;
        Ok(answers)
    }

    /// Takes in a task that is new.
    fn take_in(&mut self, now: Instant, task: NewTask) {
        let id = task.id;
        if let Some(Unique { key, until }) = &task.unique {
            self.queue.unique.insert(key.clone(), id);
            if let UniqueFor::Time(time) = until {
                self.timers.set(after(now, *time), Timer::Unique(key.clone()));
            }
        }
        let (rate, series, not_before) = (task.rate, task.series.clone(), task.not_before);
        let deadline = task.deadline.map(|deadline| after(now, deadline));
        if let Some(deadline) = deadline {
            self.timers.set(deadline, Timer::Deadline(id));
        }
        let record = Record {
            arrival: self.queue.arrive(),
            since: now,
            deadline,
            run: 0,
            tally: Tally::default(),
            details: None,
            failure: None,
            state: State::Delayed { until: now },
            task: Arc::new(task),
        };
        self.queue.insert(record);
        if let Some(rate) = rate {
            self.queue.series.entry(series).or_default().set_rate(now, rate);
        }
        self.delay(id, now, not_before);
    }

    /// Lets a task wait for its time, or makes it ready.
    fn delay(&mut self, id: FleetTaskId, now: Instant, delay: Duration) {
        if delay.is_zero() {
            return self.make_ready(id);
        }
        let until = after(now, delay);
        self.timers.set(until, Timer::NotBefore(id));
        self.queue.change(id, State::Delayed { until });
    }

    pub(crate) fn make_ready(&mut self, id: FleetTaskId) {
        self.queue.change(id, State::Ready);
        let item = self.queue.record(id).item(self.options.lost_limit);
        self.queue.ready.insert(item);
    }

    /// Takes a task out of wherever it waits. False if it does not wait.
    fn stop_waiting(&mut self, id: FleetTaskId) -> bool {
        let lost_limit = self.options.lost_limit;
        let record = self.queue.record(id);
        match record.state {
            State::Ready => {
                let item = record.item(lost_limit);
                self.queue.ready.remove(&item);
                self.unreserve(id);
                true
            }
            State::Delayed { until } => {
                self.timers.clear(until, Timer::NotBefore(id));
                true
            }
            _ => false,
        }
    }

    /// Leases what this call may get.
    fn pick(&mut self, now: Instant, call: &LeaseCall) -> Result<Vec<TaskRun>, EngineError> {
        let limit = self.options.leases_per_member;
        let member = self.member(call.member)?;
        let room = limit.saturating_sub(member.leases.len());
        let (is_idle, is_reserved) = (member.leases.is_empty(), member.reserved.is_some());
        if member.is_alone || room == 0 || (is_reserved && !is_idle) {
            return Ok(Vec::new());
        }
        for (series, _) in call.series.iter().filter(|(_, count)| *count > 0) {
            let Some(suspect) = self.first(now, series, true, call.member) else { continue };
            if is_idle {
                return Ok(vec![self.take(now, call.member, suspect)]);
            }
            if let Entry::Vacant(free) = self.queue.reserved.entry(suspect) {
                free.insert(call.member);
                self.member(call.member)?.reserved = Some(suspect);
                return Ok(Vec::new());
            }
        }
        if let Some(task) = self.member(call.member)?.reserved {
            // It no longer asks for its series.
            self.unreserve(task);
        }
        let mut batch = Vec::new();
        for (series, count) in &call.series {
            for _ in 0..*count {
                if batch.len() == room.min(self.options.batch) {
                    return Ok(batch);
                }
                let Some(task) = self.first(now, series, false, call.member) else { break };
                batch.push(self.take(now, call.member, task));
            }
        }
        Ok(batch)
    }

    /// The first task of a series that this member may have now. If its bucket is empty, its timer is set.
    fn first(
        &mut self,
        now: Instant,
        series: &Arc<str>,
        is_alone: bool,
        member: MemberId,
    ) -> Option<FleetTaskId> {
        let names = &self.members.get(&member)?.names;
        let task = self.queue.ready.first(series, is_alone, |name| names.contains(name))?;
        let state = self.queue.series.get_mut(series)?;
        let Some(at) = state.next_token(now) else { return Some(task) };
        if state.timer.is_none_or(|timer| at < timer) {
            if let Some(timer) = state.timer.replace(at) {
                self.timers.clear(timer, Timer::Series(series.clone()));
            }
            self.timers.set(at, Timer::Series(series.clone()));
        }
        None
    }

    /// Leases a task that is ready.
    fn take(&mut self, now: Instant, by: MemberId, id: FleetTaskId) -> TaskRun {
        let lost_limit = self.options.lost_limit;
        let item = self.queue.record(id).item(lost_limit);
        self.stop_waiting(id);
        if let Some(concurrency) = &item.concurrency {
            self.queue.ready.occupy(&concurrency.key);
        }
        if let Some(series) = self.queue.series.get_mut(&item.kind.series) {
            series.take(now);
        }
        self.queue.change(id, State::Leased { member: by, stop: None });
        if let Some(member) = self.members.get_mut(&by) {
            member.leases.insert(id);
            member.is_alone = item.kind.is_alone;
        }
        let record = self.queue.record(id);
        record.run += 1;
        record.task_run()
    }

    /// A task as its member learns of it, if the member still holds it.
    fn leased(&self, now: Instant, member: MemberId, run: TaskRun) -> Option<LeasedTask> {
        let record = self.queue.tasks.get(&run.task).filter(|record| record.is_leased_by(member, run.run))?;
        let remaining = record.deadline.map(|deadline| deadline.saturating_duration_since(now));
        Some(LeasedTask {
            task: record.task.clone(),
            run: record.run,
            tally: record.tally,
            remaining,
            alone: record.tally.lost >= self.options.lost_limit,
            details: record.details.clone(),
        })
    }

    fn settle_one(&mut self, now: Instant, by: MemberId, settlement: Settlement) -> Settled {
        let Settlement { run: TaskRun { task: id, run }, attempts, crashes, verdict } = settlement;
        let record = self.queue.tasks.get_mut(&id).filter(|record| record.is_leased_by(by, run));
        let Some(record) = record else { return Settled::Fenced };
        record.tally.attempts = record.tally.attempts.saturating_add(attempts);
        record.tally.crashes = record.tally.crashes.saturating_add(crashes);
        match verdict {
            Verdict::Done(output) => {
                self.unlease(id);
                self.end_task(now, id, State::Done(output));
            }
            Verdict::Returned => self.come_back(now, id, false),
            Verdict::Dead { failure } => match self.unlease(id) {
                Some(stop) => self.end_stopped(now, id, stop),
                None => self.die(now, id, DeadCause::Failed(failure)),
            },
            Verdict::Retry { after, failure } => {
                record.failure = Some(failure);
                match self.unlease(id) {
                    Some(stop) => self.end_stopped(now, id, stop),
                    None => self.delay(id, now, after),
                }
            }
        }
        Settled::Ok
    }

    /// A leased task comes back without a verdict: it is ready again, unless it was to stop, or was lost too often.
    pub(crate) fn come_back(&mut self, now: Instant, id: FleetTaskId, is_lost: bool) {
        let limit = self.options.lost_limit;
        let stop = self.unlease(id);
        let tally = &mut self.queue.record(id).tally;
        tally.lost = tally.lost.saturating_add(u32::from(is_lost));
        let is_convicted = is_lost && tally.lost > limit;
        match stop {
            Some(stop) => self.end_stopped(now, id, stop),
            None if is_convicted => self.die(now, id, DeadCause::Lost),
            None => self.make_ready(id),
        }
    }

    /// Takes a task from its member. Its state is the caller's to change. Returns why it was to stop, if it was.
    fn unlease(&mut self, id: FleetTaskId) -> Option<Stop> {
        let record = self.queue.record(id);
        let State::Leased { member, stop } = record.state else { unreachable!("it is leased") };
        let concurrency = record.task.concurrency.clone();
        if let Some(concurrency) = concurrency {
            self.queue.ready.vacate(&concurrency.key);
        }
        // One that is gone is no longer among the members.
        if let Some(member) = self.members.get_mut(&member) {
            member.leases.remove(&id);
            member.stopping.remove(&id);
            member.is_alone &= !member.leases.is_empty();
        }
        stop
    }

    /// Stops a task that has not ended: one that waits ends, and of one that is leased the member is told.
    pub(crate) fn stop(&mut self, now: Instant, id: FleetTaskId, why: Stop) {
        if self.stop_waiting(id) {
            return self.end_stopped(now, id, why);
        }
        let State::Leased { member, stop } = &mut self.queue.record(id).state else { return };
        // The first reason counts.
        stop.get_or_insert(why);
        let member = *member;
        if let Some(known) = self.members.get_mut(&member)
            && known.stopping.insert(id)
        {
            self.hints.insert(Hint::Cancelled(member));
        }
    }

    fn end_stopped(&mut self, now: Instant, id: FleetTaskId, why: Stop) {
        match why {
            Stop::Cancelled => self.end_task(now, id, State::Cancelled),
            Stop::Deadline => self.die(now, id, DeadCause::Deadline),
        }
    }

    fn die(&mut self, now: Instant, id: FleetTaskId, cause: DeadCause) {
        self.end_task(now, id, State::Dead { cause, at: now });
    }

    /// Ends a task, which is nowhere any more but in its record.
    fn end_task(&mut self, now: Instant, id: FleetTaskId, state: State) {
        let is_dead = matches!(state, State::Dead { .. });
        self.queue.change(id, state);
        let record = self.queue.record(id);
        if let Some(deadline) = record.deadline.take() {
            self.timers.clear(deadline, Timer::Deadline(id));
        }
        let task = record.task.clone();
        if let Some(Unique { key, until: UniqueFor::Task }) = &task.unique
            && self.queue.unique.get(key).is_some_and(|task| *task == id)
        {
            self.queue.release_key(key);
        }
        if !is_dead {
            self.forget_later(now, id);
        }
        self.look_at_series(now, &task.series);
        self.hints.insert(Hint::Ended);
    }

    /// Keeps the outcome of a task that cannot run again, for as long as it is to be kept.
    fn forget_later(&mut self, now: Instant, id: FleetTaskId) {
        let too_old = self.until_too_old(now, id.time());
        let window = self.options.repeat_window;
        let record = self.queue.record(id);
        let kept = record.task.keep_outcome.max(window).max(too_old);
        Arc::make_mut(&mut record.task).payload = Payload::default();
        record.details = None;
        record.failure = None;
        self.timers.set(after(now, kept), Timer::ForgetTask(id));
    }

    /// The series may have a token for a task that waits, or nothing left to be known.
    pub(crate) fn look_at_series(&mut self, now: Instant, name: &Arc<str>) {
        let Some(series) = self.queue.series.get_mut(name) else { return };
        if series.timer.is_some_and(|at| at <= now) {
            series.timer = None;
            if self.queue.ready.has_any(name) {
                self.hints.insert(Hint::Work);
            }
        }
        let Some(idle) = series.idle_at(now) else { return };
        if idle <= now {
            if let Some(timer) = series.timer {
                self.timers.clear(timer, Timer::Series(name.clone()));
            }
            self.queue.series.remove(name);
        } else if series.timer.is_none() {
            series.timer = Some(idle);
            self.timers.set(idle, Timer::Series(name.clone()));
        }
    }

    fn settle_dead_letter(&mut self, now: Instant, op: DeadLetterOp, id: FleetTaskId) -> DeadLetterAnswer {
        if !self.queue.dead.contains(&id) {
            return DeadLetterAnswer::Unknown(id);
        }
        if op == DeadLetterOp::Drop {
            self.queue.drop_dead(id);
            self.forget_later(now, id);
            return DeadLetterAnswer::Ok(id);
        }
        let task = self.queue.record(id).task.clone();
        if let Some(Unique { key, until: UniqueFor::Task }) = &task.unique {
            if let Some(by) = self.queue.unique.get(key) {
                return DeadLetterAnswer::KeyTaken { task: id, by: *by };
            }
            self.queue.unique.insert(key.clone(), id);
        }
        let arrival = self.queue.arrive();
        let deadline = task.deadline.map(|deadline| after(now, deadline));
        if let Some(deadline) = deadline {
            self.timers.set(deadline, Timer::Deadline(id));
        }
        let record = self.queue.record(id);
        (record.arrival, record.since, record.deadline) = (arrival, now, deadline);
        (record.tally, record.failure) = (Tally::default(), None);
        self.make_ready(id);
        DeadLetterAnswer::Ok(id)
    }
}
