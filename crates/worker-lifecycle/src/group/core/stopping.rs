//! How a group stops: its stop hook, its children phase by phase, and one deadline for all of them.

use std::time::Instant;

use super::{Child, Effect, Key, Mode, State, StopOrder, Supervisor, Then, Timer, Verdict};
use crate::{
    clock::{FAR, STUCK_AFTER},
    group::ids::ChildId,
};

impl Supervisor {
    /// Stops every child. Again, it does nothing.
    pub(in crate::group) fn stop(&mut self, now: Instant) {
        if matches!(self.mode, Mode::Stopping | Mode::Ended) {
            return;
        }
        self.mode = Mode::Stopping;
        self.batches.clear();
        self.timers.retain(|(_, timer)| matches!(timer, Timer::Stuck(_)));
        self.timers.extend(self.deadline.map(|deadline| (deadline, Timer::Deadline)));
        for child in self.children.values_mut() {
            child.batch = None;
            match &mut child.state {
                State::Pending => child.state = State::Down,
                State::Stopping { then: then @ Then::Restart, .. } => *then = Then::Down,
                _ => {}
            }
        }
        let is_overdue = self.deadline.is_some_and(|deadline| deadline <= now);
        if self.config.has_stop_hook && !self.living.is_empty() && !is_overdue {
            self.hook_runs = true;
            self.effects.push_back(Effect::BeginStopHook);
        }
        self.stop_next_phase(now);
    }

    /// The stop hook asks a child to stop.
    pub(in crate::group) fn stop_by_hook(&mut self, now: Instant, id: ChildId) {
        let lives = |child: &Child| matches!(child.state, State::Starting | State::Up);
        if self.hook_runs && self.children.get(&id).is_some_and(lives) {
            self.ask_to_stop(now, id, Then::Down);
        }
    }

    /// The stop hook has ended: those that it has left stop in the group's order.
    pub(in crate::group) fn handle_hook_ended(&mut self, now: Instant) {
        self.hook_runs = false;
        self.stop_next_phase(now);
    }

    /// Sets the group's deadline, if it is earlier than the one it has: no child has a later one.
    pub(in crate::group) fn set_deadline(&mut self, now: Instant, deadline: Instant) {
        if self.deadline.is_some_and(|earlier| earlier <= deadline) {
            return;
        }
        if let Some(before) = self.deadline.replace(deadline) {
            self.timers.remove(&(before, Timer::Deadline));
        }
        if self.mode == Mode::Stopping {
            self.timers.insert((deadline, Timer::Deadline));
        }
        let later: Vec<ChildId> = self
            .children
            .iter()
            .filter(
                |(_, child)| matches!(child.state, State::Stopping { deadline: own, .. } if own > deadline),
            )
            .map(|(id, _)| *id)
            .collect();
        for id in later {
            self.set_stop_deadline(now, id, deadline);
        }
    }

    pub(super) fn ask_to_stop(&mut self, now: Instant, id: ChildId, then: Then) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let own = now + child.life_traits.grace.min(FAR);
        let deadline = self.deadline.map_or(own, |deadline| deadline.min(own));
        child.state = State::Stopping { deadline, stuck_at: deadline, then };
        self.set_stop_deadline(now, id, deadline);
    }

    /// Tells a child that is stopping its deadline, and when it is stuck.
    fn set_stop_deadline(&mut self, now: Instant, id: ChildId, new: Instant) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let State::Stopping { deadline, stuck_at, .. } = &mut child.state else { return };
        *deadline = new;
        let before = std::mem::replace(stuck_at, new.max(now) + STUCK_AFTER);
        if !child.life_traits.is_group {
            self.timers.remove(&(before, Timer::Stuck(id)));
            self.timers.insert((*stuck_at, Timer::Stuck(id)));
        }
        self.effects.push_back(Effect::Stop(id, new));
    }

    pub(super) fn has_stopped(&mut self, now: Instant, id: ChildId, then: Then) {
        self.forget_stuck_timer(id);
        match then {
            Then::Down => self.set_state(id, State::Down),
            Then::Remove => self.delete(id),
            Then::Restart => {
                self.set_state(id, State::Pending);
                if let Some(number) = self.children.get(&id).and_then(|child| child.batch) {
                    if let Some(batch) = self.batches.get_mut(&number) {
                        batch.stopping -= 1;
                    }
                    self.advance(now, number);
                }
            }
        }
    }

    fn forget_stuck_timer(&mut self, id: ChildId) {
        if let Some(Child { state: State::Stopping { stuck_at, .. }, .. }) = self.children.get(&id) {
            self.timers.remove(&(*stuck_at, Timer::Stuck(id)));
        }
    }

    pub(super) fn give_up(&mut self, now: Instant, id: ChildId) {
        let Some(Child { state: State::Stopping { then, .. }, .. }) = self.children.get(&id) else { return };
        let then = *then;
        self.effects.push_back(Effect::GaveUp(id));
        match then {
            Then::Remove => self.delete(id),
            Then::Down => self.set_state(id, State::Down),
            // Two of it at a time would be worse than none.
            Then::Restart => {
                self.leave_batch(id);
                self.set_state(id, State::Down);
                self.give_verdict(now, Verdict::Stuck(id));
            }
        }
        self.stop_next_phase(now);
    }

    /// While the group is stopping: asks those to stop whose turn it is, and sees whether all have.
    pub(super) fn stop_next_phase(&mut self, now: Instant) {
        if self.mode != Mode::Stopping {
            return;
        }
        if self.hook_runs {
            if self.deadline.is_none_or(|deadline| deadline > now) {
                return;
            }
            self.hook_runs = false;
            self.effects.push_back(Effect::CutStopHook);
        }
        let Some((&last, _)) = self.living.last_key_value() else {
            self.mode = Mode::Ended;
            return;
        };
        let from = match self.config.stop_order {
            // Who is stuck shall not hold up the others past the deadline.
            StopOrder::ReversePhases if self.deadline.is_none_or(|deadline| deadline > now) => last,
            StopOrder::ReversePhases | StopOrder::Concurrent => 0,
        };
        // Once per phase: afterwards all of them are stopping.
        if self.asked_down_to.is_some_and(|phase| phase <= from) {
            return;
        }
        self.asked_down_to = Some(from);
        let mut asked: Vec<Key> = self
            .children
            .iter()
            .filter(|(_, child)| {
                child.traits.phase >= from && matches!(child.state, State::Starting | State::Up)
            })
            .map(|(id, child)| (child.traits.phase, *id))
            .collect();
        // The last phase first, also where all are asked at once.
        asked.sort_by_key(|(phase, _)| std::cmp::Reverse(*phase));
        for (_, id) in asked {
            self.ask_to_stop(now, id, Then::Down);
        }
    }
}
