//! The core of a group in a small world: children that come up, end, listen or not, on a clock that only the test moves.
//!
//! The world knows nothing of batches: it keeps who lives, who was asked to stop and by when, and who waits until when, and
//! holds every effect against that.

use proptest::prelude::*;

use super::*;
use crate::clock::STUCK_AFTER;
use crate::restart::{Backoff, Budget};
use crate::testing::cases;

const GRACE: Duration = Duration::from_millis(300);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(400));
const WINDOW: Duration = Duration::from_millis(1000);

/// What may happen. Numbers choose among the children that there are.
#[derive(Clone, Debug)]
enum Step {
    Up(usize),
    End(usize, bool),
    Add(Vec<Traits>),
    Remove(usize),
    Pass(u64),
    Deadline(u64),
    Stop,
    AskByHook(usize),
    HookEnds,
}

fn traits() -> impl Strategy<Value = Traits> {
    let restart =
        prop_oneof![1 => Just(Restart::Never), 3 => Just(Restart::OnFailure), 3 => Just(Restart::Always)];
    (0_u32..3, restart, any::<bool>(), prop::bool::weighted(0.8))
        .prop_map(|(phase, restart, may_end, is_renewable)| Traits { phase, restart, may_end, is_renewable })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0_usize..8).prop_map(Step::Up),
        6 => (0_usize..8, any::<bool>()).prop_map(|(child, failed)| Step::End(child, failed)),
        2 => prop::collection::vec(traits(), 0..4).prop_map(Step::Add),
        1 => (0_usize..8).prop_map(Step::Remove),
        8 => (0_u64..400).prop_map(Step::Pass),
        1 => (0_u64..600).prop_map(Step::Deadline),
        1 => Just(Step::Stop),
        3 => (0_usize..8).prop_map(Step::AskByHook),
        1 => Just(Step::HookEnds),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    let strategy = prop_oneof![
        Just(RestartStrategy::OneForOne),
        Just(RestartStrategy::OneForAll),
        Just(RestartStrategy::RestForOne)
    ];
    let stop_order = prop_oneof![Just(StopOrder::Concurrent), Just(StopOrder::ReversePhases)];
    (strategy, stop_order, any::<bool>(), 0_u32..6).prop_map(
        |(strategy, stop_order, has_stop_hook, limit)| Config {
            strategy,
            stop_order,
            has_stop_hook,
            backoff: BACKOFF,
            budget: Budget::new(limit, WINDOW),
        },
    )
}

/// A child as the world sees it.
#[derive(Debug)]
struct Seen {
    traits: Traits,
    is_group: bool,
    /// It was there at the start of the group, and has never been up.
    is_awaited: bool,
    lives: Option<ChildIncarnation>,
    is_up: bool,
    was_up: bool,
    last_incarnation: ChildIncarnation,
    asked: Option<Instant>,
    /// When it was asked last.
    asked_at: Option<Instant>,
    waits_until: Option<Instant>,
    is_stuck: bool,
    is_removing: bool,
    is_gone: bool,
}

struct World {
    core: Supervisor,
    config: Config,
    now: Instant,
    begin: Instant,
    children: BTreeMap<ChildId, Seen>,
    deadline: Option<Instant>,
    is_stopping: bool,
    /// Since it began; whether it is over; and whom it asks now.
    hook_begun: bool,
    hook_runs: bool,
    hook_asks: Option<ChildId>,
    /// Ended, as it may not, before all were up.
    ended_early: Option<ChildId>,
    /// Added together, and whether one of them did not come up.
    sets: BTreeMap<SetId, (Vec<ChildId>, bool)>,
    restarts: Vec<Instant>,
    trace: Vec<String>,
}

impl World {
    fn new(now: Instant, config: Config, initial: &[Traits]) -> Self {
        let mut world = Self {
            core: Supervisor::new(config),
            config,
            now,
            begin: now,
            children: BTreeMap::new(),
            deadline: None,
            is_stopping: false,
            hook_begun: false,
            hook_runs: false,
            hook_asks: None,
            ended_early: None,
            sets: BTreeMap::new(),
            restarts: Vec::new(),
            trace: Vec::new(),
        };
        for traits in initial {
            let id = world.core.add_initial(*traits);
            world.meet(id, *traits, true);
        }
        world.core.start(now);
        world.carry_out(None);
        world
    }

    fn meet(&mut self, id: ChildId, traits: Traits, is_awaited: bool) {
        let seen = Seen {
            traits,
            is_group: id.0.is_multiple_of(5),
            is_awaited,
            lives: None,
            is_up: false,
            was_up: false,
            last_incarnation: ChildIncarnation(0),
            asked: None,
            asked_at: None,
            waits_until: None,
            is_stuck: false,
            is_removing: false,
            is_gone: false,
        };
        assert!(self.children.insert(id, seen).is_none(), "an id is never used again");
    }

    fn nth(&self, number: usize) -> Option<ChildId> {
        let there: Vec<ChildId> =
            self.children.iter().filter(|(_, seen)| !seen.is_gone).map(|(id, _)| *id).collect();
        there.get(number % there.len().max(1)).copied()
    }

    fn take(&mut self, step: &Step) {
        let mut ended_unasked = None;
        match step {
            Step::Up(number) => {
                let Some(id) = self.nth(*number) else { return };
                let Some(seen) = self.children.get_mut(&id) else { return };
                let Some(incarnation) = seen.lives else { return };
                if seen.is_up || seen.is_stuck {
                    return;
                }
                seen.is_up = true;
                if seen.asked.is_none() {
                    seen.is_awaited = false;
                    seen.was_up = true;
                }
                self.core.handle_up(self.now, id, incarnation);
            }
            Step::End(number, failed) => {
                let Some(id) = self.nth(*number) else { return };
                let Some(seen) = self.children.get_mut(&id) else { return };
                let Some(incarnation) = seen.lives.take() else { return };
                let (was_up, was_asked) = (std::mem::take(&mut seen.is_up), seen.asked.take().is_some());
                if !was_asked {
                    ended_unasked = Some((id, *failed, was_up));
                }
                self.core.handle_ended(self.now, id, incarnation, *failed, 128);
                // Told twice, it is heard once.
                let effects = self.core.effects.clone();
                self.core.handle_ended(self.now, id, incarnation, *failed, 128);
                assert_eq!(self.core.effects, effects);
            }
            Step::Add(traits) => match self.core.add(self.now, traits) {
                Some((set, ids)) => {
                    assert!(!self.is_stopping);
                    assert_eq!(ids.len(), traits.len());
                    ids.iter().zip(traits).for_each(|(id, traits)| self.meet(*id, *traits, false));
                    assert!(self.sets.insert(set, (ids, false)).is_none());
                }
                None => assert!(self.is_stopping),
            },
            Step::Remove(number) => {
                let Some(id) = self.nth(*number) else { return };
                let is_removed = self.core.remove(self.now, id);
                assert_eq!(is_removed, !self.is_stopping);
                if is_removed && self.ended_early == Some(id) {
                    self.ended_early = None;
                }
                if is_removed && let Some(seen) = self.children.get_mut(&id) {
                    seen.is_removing = true;
                    seen.is_awaited = false;
                }
            }
            Step::Pass(millis) => {
                self.now += Duration::from_millis(*millis);
                self.core.handle_timeout(self.now);
            }
            Step::Deadline(millis) => {
                let deadline = self.now + Duration::from_millis(*millis);
                self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
                self.core.set_deadline(self.now, deadline);
                // Only who is asked to stop is given a deadline.
                self.is_stopping = true;
                self.core.stop(self.now);
            }
            Step::Stop => {
                self.is_stopping = true;
                self.core.stop(self.now);
            }
            Step::AskByHook(number) => {
                self.hook_asks = self.nth(*number);
                let Some(id) = self.hook_asks else { return };
                self.core.stop_by_hook(self.now, id);
            }
            Step::HookEnds => {
                if !std::mem::take(&mut self.hook_runs) {
                    return;
                }
                self.core.handle_hook_ended(self.now);
            }
        }
        self.carry_out(ended_unasked);
        self.hook_asks = None;
    }

    /// Holds every effect against what the world knows, and carries it out.
    fn carry_out(&mut self, ended_unasked: Option<(ChildId, bool, bool)>) {
        let was_stopping = self.is_stopping;
        if self.core.verdict().is_some() {
            self.is_stopping = true;
        }
        let mut has_restarted = false;
        while let Some(effect) = self.core.poll_effect() {
            self.trace.push(format!("{:?} {:?} {effect:?}", self.now - self.begin, self.core.mode()));
            match effect {
                Effect::Start(id, incarnation) => self.check_start(id, incarnation),
                Effect::Stop(id, deadline) => self.check_stop(id, deadline),
                Effect::Waits(id, due) => {
                    assert!(due <= self.now + BACKOFF.longest());
                    let seen = self.children.get_mut(&id).expect("it is there");
                    assert!(seen.traits.is_renewable && !seen.is_removing);
                    seen.waits_until = Some(due);
                    has_restarted = true;
                }
                Effect::GaveUp(id) => {
                    let seen = self.children.get_mut(&id).expect("it is there");
                    let since = seen.asked.max(seen.asked_at).expect("it was asked");
                    assert!(
                        !seen.is_group && self.now >= since + STUCK_AFTER,
                        "it had no time to be aborted"
                    );
                    assert!(seen.lives.is_some());
                    seen.is_stuck = true;
                }
                Effect::Gone(id) => {
                    let seen = self.children.get_mut(&id).expect("it is there");
                    assert!(!seen.is_gone && (seen.lives.is_none() || seen.is_stuck));
                    seen.is_gone = true;
                }
                Effect::NotUp(set, id) => {
                    let (members, has_failed) = self.sets.get_mut(&set).expect("it is not settled");
                    assert!(members.contains(&id) && !self.children[&id].was_up);
                    assert!(!std::mem::replace(has_failed, true), "one fails it for all");
                    self.ended_early = self.ended_early.filter(|id| !members.contains(id));
                    for member in members {
                        self.children.get_mut(member).expect("it is there").is_removing = true;
                    }
                }
                Effect::BeginStopHook => {
                    assert!(self.config.has_stop_hook && self.is_stopping && !self.hook_begun);
                    assert!(self.children.values().any(|seen| seen.lives.is_some() && !seen.is_stuck));
                    (self.hook_begun, self.hook_runs) = (true, true);
                }
                Effect::CutStopHook => {
                    assert!(std::mem::take(&mut self.hook_runs), "it runs");
                    assert!(self.deadline.is_some_and(|deadline| deadline <= self.now), "it had time");
                }
                Effect::Settled(set) => {
                    let (members, has_failed) = self.sets.remove(&set).expect("it is settled once");
                    for seen in members.iter().map(|id| &self.children[id]) {
                        assert!(seen.is_gone || (!has_failed && seen.was_up), "{seen:?}");
                    }
                }
            }
        }
        if let Some((id, failed, was_up)) = ended_unasked {
            self.check_policy(id, failed, was_up, was_stopping, has_restarted);
        }
        self.check_always();
    }

    fn check_start(&mut self, id: ChildId, incarnation: ChildIncarnation) {
        assert!(!self.is_stopping, "nothing is started any more");
        let now = self.now;
        let key = |id: ChildId, seen: &Seen| (seen.traits.phase, id);
        let own = key(id, &self.children[&id]);
        for (other, seen) in &self.children {
            if self.children[&id].is_awaited && key(*other, seen) < own {
                assert!(!seen.is_awaited, "{other} was to start before {id}");
            }
            // Whoever stops to be restarted together has stopped before any of them starts again.
            let is_affected = match self.config.strategy {
                RestartStrategy::OneForOne => false,
                RestartStrategy::OneForAll => true,
                RestartStrategy::RestForOne => key(*other, seen) > own,
            };
            if incarnation.0 > 1 && is_affected && seen.asked.is_some() && !seen.is_removing && !seen.is_stuck
            {
                assert!(seen.lives.is_none(), "{other} lives while {id} starts again");
            }
        }
        let seen = self.children.get_mut(&id).expect("it is there");
        assert!(seen.lives.is_none() && !seen.is_gone && !seen.is_removing && !seen.is_stuck);
        assert_eq!(incarnation, ChildIncarnation(seen.last_incarnation.0 + 1));
        assert!(seen.waits_until.take().is_none_or(|due| due <= now), "it is started before it is due");
        (seen.lives, seen.last_incarnation) = (Some(incarnation), incarnation);
        self.core.launched(id, LifeTraits { grace: GRACE, is_group: id.0.is_multiple_of(5) });
    }

    fn check_stop(&mut self, id: ChildId, deadline: Instant) {
        assert!(self.deadline.is_none_or(|own| deadline <= own), "a child outlives its group's deadline");
        assert!(deadline <= self.now + GRACE);
        let phase = self.children[&id].traits.phase;
        let is_first = self.children[&id].asked.is_none();
        if is_first && self.hook_runs {
            assert_eq!(self.hook_asks, Some(id), "only the hook asks");
        } else if is_first && self.is_stopping && self.config.stop_order == StopOrder::ReversePhases {
            let later = self.children.values().find(|seen| {
                seen.traits.phase > phase && seen.lives.is_some() && !seen.is_stuck && seen.asked.is_none()
            });
            assert!(later.is_none(), "{id} is asked before {later:?}");
        }
        let seen = self.children.get_mut(&id).expect("it is there");
        assert!(seen.lives.is_some(), "only who lives is asked to stop");
        assert!(seen.asked.is_none_or(|before| deadline < before), "asked again only to stop earlier");
        (seen.asked, seen.asked_at) = (Some(deadline), Some(self.now));
    }

    /// What an end that nobody asked for leads to.
    fn check_policy(
        &mut self,
        id: ChildId,
        failed: bool,
        was_up: bool,
        was_stopping: bool,
        has_restarted: bool,
    ) {
        let seen = &self.children[&id];
        if was_stopping {
            assert!(!has_restarted);
            return;
        }
        if !was_up && seen.is_awaited {
            assert_eq!(self.core.verdict(), Some(Verdict::DidNotStart(id)));
            return;
        }
        if !was_up && seen.last_incarnation == ChildIncarnation(1) {
            assert!(seen.is_gone && !has_restarted);
            return;
        }
        if seen.is_gone {
            // Added, restarted with others before it was ever up, and failed then.
            return;
        }
        let wants = seen.traits.is_renewable
            && match seen.traits.restart {
                Restart::Never => false,
                Restart::OnFailure => failed,
                Restart::Always => true,
            };
        let recent = self.restarts.iter().filter(|at| self.now - **at < WINDOW).count();
        let has_budget = recent < self.config.budget.limit() as usize;
        assert_eq!(has_restarted, wants && has_budget);
        let expected = match (wants, seen.traits.may_end) {
            (true, _) if has_budget => None,
            (true, _) => Some(Verdict::Exhausted(id)),
            (false, true) => None,
            (false, false) if !failed && self.is_starting() => {
                self.ended_early.get_or_insert(id);
                None
            }
            (false, false) => Some(Verdict::Ended { child: id, failed }),
        };
        assert_eq!(self.core.verdict(), expected);
        if has_restarted {
            self.restarts.push(self.now);
        }
    }

    /// Somebody was there at the start and has never been up.
    fn is_starting(&self) -> bool {
        self.children.values().any(|seen| seen.is_awaited && !seen.is_gone)
    }

    fn check_always(&self) {
        let living = self.children.values().filter(|seen| seen.lives.is_some() && !seen.is_stuck);
        let living: Vec<&Seen> = living.collect();
        let is_over = self.is_stopping && living.is_empty() && !self.hook_runs;
        assert_eq!(self.core.mode() == Mode::Ended, is_over);
        assert_eq!(self.is_stopping, matches!(self.core.mode(), Mode::Stopping | Mode::Ended));
        if !self.is_stopping {
            assert_eq!(self.core.mode() == Mode::Starting, self.is_starting());
            assert_eq!(self.core.has_come_up(), !self.is_starting());
            // What ended before all were up counts as soon as they are.
            assert_eq!(self.core.ended_early(), self.ended_early);
            assert!(self.ended_early.is_none() || self.is_starting());
            // Nobody waits for nothing: somebody starts, or stops, or a timer will come.
            let waits = self.core.children.values().any(|child| child.state == State::Pending);
            let moves = living.iter().any(|seen| !seen.is_up || seen.asked.is_some());
            assert!(!waits || moves || self.core.poll_timeout().is_some(), "{:?}", self.core);
        } else if self.hook_runs {
            // It may take its time.
            assert!(self.deadline.is_none() || self.core.poll_timeout() <= self.deadline.max(Some(self.now)));
        } else if self.config.stop_order == StopOrder::Concurrent {
            assert!(living.iter().all(|seen| seen.asked.is_some()));
        } else {
            // The last phase that lives stops.
            let last = living.iter().map(|seen| seen.traits.phase).max();
            assert!(living.iter().all(|seen| Some(seen.traits.phase) != last || seen.asked.is_some()));
        }
        if !self.is_stopping {
            for (members, has_failed) in self.sets.values() {
                let members: Vec<&Seen> = members.iter().map(|id| &self.children[id]).collect();
                let is_awaited = members.iter().any(|seen| !seen.is_gone && (*has_failed || !seen.was_up));
                assert!(is_awaited, "nobody is waited for: {members:?}");
                if *has_failed {
                    let goes = |seen: &Seen| seen.is_gone || seen.asked.is_some();
                    assert!(members.iter().all(|seen| goes(seen)), "one stays: {members:?}");
                }
            }
        }
        // The core's own books.
        for (id, child) in &self.core.children {
            let is_in_batch = matches!(
                child.state,
                State::Pending | State::Starting | State::Stopping { then: Then::Restart, .. }
            );
            let expects_batch = is_in_batch && !self.is_stopping;
            assert_eq!(child.batch.is_some(), expects_batch, "{id} {child:?}");
        }
    }

    /// Stops the group. Some obey, the others are given up, and it comes to its end.
    fn finish(&mut self) {
        self.take(&Step::Stop);
        self.take(&Step::HookEnds);
        for round in 0.. {
            if self.core.mode() == Mode::Ended {
                break;
            }
            assert!(round < 100, "it does not end: {:?}", self.core);
            let asked = self
                .children
                .iter()
                .find(|(_, seen)| seen.lives.is_some() && seen.asked.is_some() && !seen.is_stuck);
            let (id, is_group) = asked.map(|(id, seen)| (*id, seen.is_group)).expect("somebody is asked");
            // Groups are never given up, so they have to obey.
            if is_group || round % 2 == 0 {
                let seen = self.children.get_mut(&id).expect("it is there");
                let incarnation = seen.lives.take().expect("it lives");
                self.core.handle_ended(self.now, id, incarnation, false, 0);
                self.carry_out(None);
            } else {
                let next = self.core.poll_timeout().expect("somebody may be stuck");
                self.now = self.now.max(next);
                self.core.handle_timeout(self.now);
                self.carry_out(None);
            }
        }
        self.core.handle_timeout(self.now + FAR);
        assert_eq!(self.core.poll_effect(), None);
        assert!(self.core.timers.is_empty(), "{:?}", self.core);
    }

    fn run(begin: Instant, config: Config, initial: &[Traits], steps: &[Step]) -> Vec<String> {
        let mut world = Self::new(begin, config, initial);
        steps.iter().for_each(|step| world.take(step));
        world.finish();
        world.trace
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_it_keeps_its_promises(
        config in config(),
        initial in prop::collection::vec(traits(), 0..6),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let begin = Instant::now();
        let trace = World::run(begin, config, &initial, &steps);
        // One sequence of steps gives one trace.
        prop_assert_eq!(World::run(begin, config, &initial, &steps), trace);
    }
}

fn plain(phase: u32) -> Traits {
    Traits { phase, restart: Restart::Always, may_end: false, is_renewable: true }
}

/// Starts children that come up at once.
fn bring_up(core: &mut Supervisor, now: Instant) {
    while let Some(effect) = core.poll_effect() {
        if let Effect::Start(id, incarnation) = effect {
            core.launched(id, LifeTraits { grace: GRACE, is_group: false });
            core.handle_up(now, id, incarnation);
        }
    }
}

#[test]
fn stuck_phases_do_not_add_up_past_the_deadline() {
    for is_deadline_first in [true, false] {
        let begin = Instant::now();
        let stop_order = StopOrder::ReversePhases;
        let mut core = Supervisor::new(Config { stop_order, ..Config::default() });
        for phase in 0..5 {
            core.add_initial(plain(phase));
        }
        core.start(begin);
        bring_up(&mut core, begin);
        let deadline = begin + GRACE / 2;
        if is_deadline_first {
            core.set_deadline(begin, deadline);
            core.stop(begin);
        } else {
            core.stop(begin);
            core.set_deadline(begin, begin + GRACE);
            core.set_deadline(begin, deadline);
        }
        let asked = |core: &mut Supervisor| {
            std::iter::from_fn(|| core.poll_effect())
                .filter_map(|effect| if let Effect::Stop(id, _) = effect { Some(id.0) } else { None })
                .collect::<BTreeSet<u64>>()
        };
        assert_eq!(asked(&mut core), BTreeSet::from([4]));
        assert_eq!(core.poll_timeout(), Some(deadline));
        core.handle_timeout(deadline);
        assert_eq!(asked(&mut core), BTreeSet::from([0, 1, 2, 3]));
        core.handle_timeout(deadline + STUCK_AFTER);
        assert_eq!(core.mode(), Mode::Ended);
    }
}

#[test]
fn a_child_that_is_removed_while_it_stops_for_a_restart_goes() {
    let now = Instant::now();
    let mut core = Supervisor::new(Config { strategy: RestartStrategy::OneForAll, ..Config::default() });
    let (failing, removed) = (core.add_initial(plain(0)), core.add_initial(plain(0)));
    core.start(now);
    bring_up(&mut core, now);
    core.handle_ended(now, failing, ChildIncarnation(1), true, 0);
    assert!(core.remove(now, removed));
    core.handle_ended(now, removed, ChildIncarnation(1), false, 0);
    assert!(std::iter::from_fn(|| core.poll_effect()).any(|effect| effect == Effect::Gone(removed)));
    assert!(core.poll_timeout().is_some(), "the other waits for its restart alone");
}

#[test]
fn a_child_that_ended_before_all_were_up_ends_the_group_when_they_are_unless_it_is_removed() {
    for is_removed in [false, true] {
        let now = Instant::now();
        let mut core = Supervisor::new(Config::default());
        let once = Traits { restart: Restart::Never, ..plain(0) };
        let (short, slow) = (core.add_initial(once), core.add_initial(once));
        core.start(now);
        core.handle_up(now, short, ChildIncarnation(1));
        core.handle_ended(now, short, ChildIncarnation(1), false, 0);
        assert_eq!((core.mode(), core.verdict(), core.ended_early()), (Mode::Starting, None, Some(short)));
        if is_removed {
            assert!(core.remove(now, short));
        }
        core.handle_up(now, slow, ChildIncarnation(1));
        assert!(core.has_come_up());
        let verdict = Verdict::Ended { child: short, failed: false };
        assert_eq!(core.verdict(), (!is_removed).then_some(verdict));
        assert_eq!(core.mode(), if is_removed { Mode::Running } else { Mode::Stopping });
    }
}
