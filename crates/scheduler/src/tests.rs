//! The scheduler's promises, one test each; what holds for every sequence of calls is in `model`.

mod model;
mod roster;

use workfleet_heartbeat::cores::AWAY;

use std::time::{Duration, Instant};

use crate::{
    Books, Class, Demand, Dispatch, Effect, Ended, Ending, Gone, Kill, Lease, Limits, PrefetchBudget,
    Scheduler, load::STALL_LIMIT,
};

const LEVELS: u8 = 3;
const CRASH_LIMIT: u16 = 2;
const SILENCE_LIMIT: Duration = Duration::from_millis(40);
/// How long attempts that have to beat may be silent, and then take to end.
const HEARTBEAT: Duration = Duration::from_millis(10);
const HEARTBEAT_GRACE: Duration = Duration::from_millis(7);
const MS: Duration = Duration::from_millis(1);
const URGENT: u8 = 0;
const NORMAL: u8 = 1;

/// The body of a task counts how often it was marked with a worker's death.
type Core = Scheduler<u32>;

fn core() -> Core {
    core_with(PrefetchBudget { prefetch: true, concurrent: 1 }, u64::MAX)
}

fn core_with(prefetch_budget: PrefetchBudget, tasks_per_worker: u64) -> Core {
    let limits = Limits {
        levels: LEVELS,
        crash_limit: CRASH_LIMIT,
        silence_limit: Some(SILENCE_LIMIT),
        heartbeat_grace: HEARTBEAT_GRACE,
        prefetch_budget,
        tasks_per_worker,
    };
    Scheduler::new(limits)
}

fn single(number: u16) -> Class {
    Class { number, concurrent: false }
}

fn concurrent(number: u16) -> Class {
    Class { number, concurrent: true }
}

/// A scheduler with a worker on each of its slots.
fn fleet(slots: usize) -> (Core, Instant) {
    let (mut core, now) = (core(), Instant::now());
    (0..slots).for_each(|slot| core.worker_ready(now, slot));
    (core, now)
}

/// What went out: slot, sequence, lease.
type Sent = (usize, u64, Lease);

fn dispatches(core: &mut Core, now: Instant) -> Vec<Sent> {
    let next = || core.next_dispatch(now).map(|sent| (sent.slot, sent.task.sequence, sent.lease));
    std::iter::from_fn(next).collect()
}

/// Schedules a task under the next number.
fn push(core: &mut Core, priority: u8, class: Class) -> u64 {
    let sequence = core.books().scheduled;
    core.schedule(sequence, priority, class, 0);
    sequence
}

fn schedule(core: &mut Core, now: Instant, priority: u8, class: u16, count: usize) -> Vec<Sent> {
    for _ in 0..count {
        push(core, priority, single(class));
    }
    dispatches(core, now)
}

fn slots(sent: &[Sent]) -> Vec<usize> {
    sent.iter().map(|&(slot, ..)| slot).collect()
}

fn effects(core: &mut Core) -> Vec<String> {
    std::iter::from_fn(|| core.poll_effect().map(|effect| format!("{effect:?}"))).collect()
}

/// Lets a task of `class` end that took this long.
fn teach(core: &mut Core, now: Instant, class: u16, took: Duration) {
    let (slot, _, lease) = schedule(core, now, NORMAL, class, 1)[0];
    core.done(now, slot, lease, took).expect("the lease stands");
}

#[test]
fn the_first_task_goes_out_also_when_it_is_not_of_the_most_urgent_level() {
    let (mut core, now) = fleet(1);
    assert_eq!(schedule(&mut core, now, LEVELS - 1, 0, 1).len(), 1);
}

#[test]
fn a_stalled_worker_gives_everything_back_and_gets_no_successor_until_it_makes_progress() {
    let (mut core, now) = fleet(1);
    let sent = schedule(&mut core, now, NORMAL, 0, 3);
    assert_eq!(sent.len(), 2);
    let at = now + STALL_LIMIT;
    assert_eq!(core.poll_timeout(), Some(at));
    core.handle_timeout(at - Duration::from_nanos(1));
    assert!(effects(&mut core).is_empty());
    core.handle_timeout(at);
    assert_eq!(effects(&mut core), [format!("Recall {{ slot: 0, at_most: {}, from: 0 }}", u32::MAX)]);

    core.recall_answered(0);
    assert_eq!(core.poll_timeout(), Some(now + SILENCE_LIMIT / 2), "it is recalled once");
    assert!(core.given_back(0, sent[1].2));
    assert!(dispatches(&mut core, at).is_empty());
    // Urgent ones above all: any other worker would begin them sooner.
    assert!(schedule(&mut core, at, URGENT, 0, 1).is_empty());

    core.done(at, 0, sent[0].2, 6 * MS).expect("the lease stands");
    let order: Vec<u64> = dispatches(&mut core, at).iter().map(|sent| sent.1).collect();
    assert_eq!(order, [3, 1]);
    assert_eq!(core.poll_timeout(), Some(at + STALL_LIMIT));
}

#[test]
fn an_idle_worker_gets_half_of_what_the_busiest_one_has_in_hand() {
    let (mut core, now) = (core(), Instant::now());
    (0..2).for_each(|slot| core.worker_ready(now, slot));
    teach(&mut core, now, 0, MS);
    teach(&mut core, now, 1, 3 * MS);
    let sent = [0, 1, 0, 1].map(|class| schedule(&mut core, now, NORMAL, class, 1)[0]);
    assert_eq!(slots(&sent), [0, 1, 0, 1]);
    assert!(effects(&mut core).is_empty());

    core.worker_ready(now, 2);
    assert_eq!(effects(&mut core), ["Recall { slot: 1, at_most: 1, from: 0 }"]);
    core.worker_ready(now, 3);
    assert_eq!(effects(&mut core), ["Recall { slot: 0, at_most: 1, from: 0 }"]);
    for (task, to) in [(3, 2), (2, 3)] {
        let (from, _, lease) = sent[task];
        assert!(core.given_back(from, lease));
        core.recall_answered(from);
        assert_eq!(slots(&dispatches(&mut core, now)), [to]);
        assert!(effects(&mut core).is_empty());
    }
}

#[test]
fn a_worker_that_answered_a_recall_may_be_recalled_again() {
    let (mut core, now) = (core(), Instant::now());
    core.worker_ready(now, 0);
    let sent = schedule(&mut core, now, NORMAL, 0, 3);
    core.handle_timeout(now + STALL_LIMIT);
    assert_eq!(effects(&mut core).len(), 1);
    core.recall_answered(0);
    core.done(now + STALL_LIMIT, 0, sent[0].2, MS).expect("the lease stands");
    assert_eq!(dispatches(&mut core, now + STALL_LIMIT).len(), 1);
    assert_eq!(core.poll_timeout(), Some(now + 2 * STALL_LIMIT), "progress puts the next stall off");
    core.worker_ready(now, 1);
    assert_eq!(effects(&mut core), ["Recall { slot: 0, at_most: 1, from: 0 }"]);
}

#[test]
fn a_worker_that_dies_with_a_recall_unanswered_does_not_keep_others_from_being_recalled() {
    let (mut core, now) = (core(), Instant::now());
    core.worker_ready(now, 0);
    assert_eq!(schedule(&mut core, now, NORMAL, 0, 2).len(), 2);
    core.worker_ready(now, 1);
    assert_eq!(effects(&mut core), ["Recall { slot: 0, at_most: 1, from: 0 }"]);
    core.worker_gone(0, &[], Gone::Died, |_| {});
    assert_eq!(slots(&dispatches(&mut core, now)), [1, 1]);
    core.worker_ready(now, 2);
    assert_eq!(effects(&mut core), ["Recall { slot: 1, at_most: 1, from: 0 }"]);
}

#[test]
fn a_dead_worker_leaves_its_successor_neither_its_effects_nor_its_stall() {
    let (mut core, now) = fleet(1);
    assert_eq!(schedule(&mut core, now, NORMAL, 0, 3).len(), 2);
    core.handle_timeout(now + SILENCE_LIMIT / 2);
    core.handle_timeout(now + SILENCE_LIMIT);
    core.worker_gone(0, &[], Gone::Died, |_| {});
    core.worker_ready(now + SILENCE_LIMIT, 0);
    assert!(effects(&mut core).is_empty());
    assert_eq!(dispatches(&mut core, now + SILENCE_LIMIT).len(), 2);
}

#[test]
fn a_worker_that_dies_while_it_is_being_filled_gets_nothing_more() {
    let (mut core, now) = fleet(2);
    for _ in 0..40 {
        push(&mut core, NORMAL, single(0));
    }
    assert_eq!(core.next_dispatch(now).map(|sent| sent.slot), Some(0));
    core.worker_gone(0, &[], Gone::Died, |_| {});
    assert_eq!(slots(&dispatches(&mut core, now)), [1, 1]);
}

#[test]
fn an_urgent_task_passes_the_less_urgent_ones_of_a_full_worker() {
    let (mut core, now) = fleet(1);
    assert_eq!(schedule(&mut core, now, NORMAL, 0, 9).len(), 2);
    let sent = schedule(&mut core, now, URGENT, 0, 1);
    assert_eq!((sent[0].1, core.queued()), (9, 7));
}

#[test]
fn an_urgent_task_goes_to_an_idle_worker_rather_than_to_a_busy_one() {
    let (mut core, now) = fleet(2);
    let sent = schedule(&mut core, now, NORMAL, 0, 40);
    assert_eq!(slots(&sent), [0, 0, 1, 1]);
    for &(_, _, lease) in &sent[..2] {
        core.done(now, 0, lease, MS).expect("the lease stands");
    }
    assert_eq!(schedule(&mut core, now, URGENT, 0, 1)[0].0, 0);
}

#[test]
fn a_silent_worker_is_pinged_at_half_the_limit_and_killed_at_the_limit() {
    let (mut core, now) = fleet(1);
    schedule(&mut core, now, NORMAL, 0, 1);
    assert_eq!(core.poll_timeout(), Some(now + SILENCE_LIMIT / 2));
    core.handle_timeout(now + SILENCE_LIMIT / 2);
    assert_eq!(effects(&mut core), ["Ping { slot: 0 }"]);
    assert_eq!(core.poll_timeout(), Some(now + SILENCE_LIMIT * 3 / 4), "the manager looks whether it runs");
    core.handle_timeout(now + SILENCE_LIMIT - Duration::from_nanos(1));
    assert!(effects(&mut core).is_empty());
    core.handle_timeout(now + SILENCE_LIMIT);
    assert_eq!(effects(&mut core), ["CatchUp { slot: 0 }"]);
    assert_eq!(kill(&mut core, now + SILENCE_LIMIT), Some(Kill::Silent));
    assert_eq!(core.poll_timeout(), None, "once is enough");
}

#[test]
fn a_sign_of_life_starts_the_silence_anew() {
    let (mut core, now) = fleet(1);
    schedule(&mut core, now, NORMAL, 0, 1);
    core.handle_timeout(now + SILENCE_LIMIT / 2);
    let heard_at = now + SILENCE_LIMIT - MS;
    core.heard(heard_at, 0);
    assert_eq!(core.poll_timeout(), Some(heard_at + SILENCE_LIMIT / 2));
    core.handle_timeout(now + SILENCE_LIMIT);
    assert_eq!(effects(&mut core), ["Ping { slot: 0 }"], "the first one only");
}

#[test]
fn a_manager_that_was_held_up_itself_leaves_its_workers_time_to_answer() {
    let (mut core, now) = fleet(1);
    schedule(&mut core, now, NORMAL, 0, 1);
    let late = now + 10 * SILENCE_LIMIT;
    core.handle_timeout(late);
    core.handle_timeout(late);
    assert_eq!(effects(&mut core), ["Ping { slot: 0 }"]);
    assert_eq!(core.poll_timeout(), Some(late + SILENCE_LIMIT / 4));
    // Stopped again, with its workers, before they have answered.
    let again = late + 10 * SILENCE_LIMIT;
    core.handle_timeout(again);
    assert_eq!(core.poll_timeout(), Some(again + SILENCE_LIMIT / 4));
    core.handle_timeout(again + SILENCE_LIMIT / 2 - Duration::from_nanos(1));
    assert!(effects(&mut core).is_empty());
    core.handle_timeout(again + SILENCE_LIMIT / 2);
    assert_eq!(effects(&mut core), ["CatchUp { slot: 0 }"]);
    assert_eq!(kill(&mut core, again + SILENCE_LIMIT / 2), Some(Kill::Silent));
}

#[test]
fn an_idle_fleet_makes_no_wake_ups_and_its_silence_counts_from_the_next_task() {
    let (mut core, now) = fleet(2);
    assert_eq!(core.poll_timeout(), None);
    teach(&mut core, now, 0, MS);
    assert_eq!(core.poll_timeout(), None);
    let later = now + 10 * SILENCE_LIMIT;
    core.handle_timeout(later);
    assert!(effects(&mut core).is_empty());
    schedule(&mut core, later, NORMAL, 0, 1);
    assert_eq!(core.poll_timeout(), Some(later + SILENCE_LIMIT / 2));
}

#[test]
fn a_worker_has_the_more_tasks_in_hand_the_shorter_they_are() {
    for (took, in_hand) in [(MS / 1000, 1000), (MS, 2), (9 * MS, 2), (11 * MS, 1), (Duration::MAX, 1)] {
        let (mut core, now) = fleet(1);
        teach(&mut core, now, 0, took);
        assert_eq!(schedule(&mut core, now, NORMAL, 0, 2000).len(), in_hand, "{took:?}");
    }
}

#[test]
fn an_absurd_duration_harms_no_other_class() {
    let (mut core, now) = fleet(1);
    teach(&mut core, now, 0, Duration::MAX);
    for (priority, class, sent) in [(NORMAL, 0, 1), (URGENT, 0, 1), (NORMAL, 1, 0)] {
        assert_eq!(schedule(&mut core, now, priority, class, 1).len(), sent);
    }
}

#[test]
fn less_urgent_tasks_in_hand_make_way_for_what_has_to_wait() {
    let (mut core, now) = fleet(1);
    teach(&mut core, now, 0, MS / 2);
    let normal = schedule(&mut core, now, NORMAL, 0, 2);
    assert_eq!(normal.len(), 2);
    // As many as are taken at once do not wait: the worker itself puts them first.
    let urgent = schedule(&mut core, now, URGENT, 0, 2);
    assert_eq!(urgent.len(), 2);
    assert!(effects(&mut core).is_empty());
    assert!(core.demand().is_for(single(0), URGENT), "whoever has one more has to say so at once");
    assert!(!core.demand().is_for(single(0), NORMAL));
    assert!(schedule(&mut core, now, URGENT, 0, 1).is_empty());
    assert_eq!(effects(&mut core), ["Recall { slot: 0, at_most: 2, from: 1 }"]);
    assert!(core.given_back(0, normal[1].2));
    core.recall_answered(0);
    // The other has begun; nobody asks for it again.
    assert!(effects(&mut core).is_empty());
    core.done(now, 0, urgent[0].2, MS / 2).expect("the lease stands");
    core.done(now, 0, urgent[1].2, MS / 2).expect("the lease stands");
    let next = dispatches(&mut core, now);
    assert_eq!(next.iter().map(|sent| sent.1).collect::<Vec<_>>(), [5], "the urgent one first");
    core.done(now, 0, next[0].2, MS / 2).expect("the lease stands");
    assert_eq!(dispatches(&mut core, now).iter().map(|sent| sent.1).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_worker_that_is_asked_to_give_tasks_back_is_given_none_meanwhile() {
    let (mut core, now) = fleet(1);
    teach(&mut core, now, 0, MS / 4);
    let sent = schedule(&mut core, now, NORMAL, 0, 5);
    assert_eq!(sent.len(), 4);
    core.handle_timeout(now + STALL_LIMIT);
    assert_eq!(effects(&mut core).len(), 1);
    // It ends two before it hears of that, and it may prefetch more: but the others are on their way back.
    for done in &sent[..2] {
        core.done(now, 0, done.2, MS / 4).expect("the lease stands");
    }
    assert!(dispatches(&mut core, now).is_empty());
    assert!(core.given_back(0, sent[3].2));
    core.recall_answered(0);
    let sequences: Vec<_> = dispatches(&mut core, now).iter().map(|sent| sent.1).collect();
    assert_eq!(sequences, [4, 5]);
}

#[test]
fn a_recall_for_an_urgent_task_leaves_those_that_are_as_urgent() {
    let (mut core, now) = fleet(1);
    teach(&mut core, now, 0, 9 * MS);
    let least = schedule(&mut core, now, LEVELS - 1, 0, 2);
    assert_eq!(least.len(), 2);
    assert_eq!(schedule(&mut core, now, NORMAL, 0, 3).len(), 2);
    assert_eq!(effects(&mut core), ["Recall { slot: 0, at_most: 2, from: 2 }"]);
    // Its answer is still under way: what is as urgent as the reason for the recall needs not wait for it, what is
    // less urgent would overtake what comes back.
    core.done(now, 0, least[0].2, 9 * MS).expect("the lease stands");
    assert!(schedule(&mut core, now, LEVELS - 1, 0, 1).is_empty());
    assert_eq!(schedule(&mut core, now, URGENT, 0, 1).len(), 1);
}

/// An unanswered recall used to hold back the next: what it left prefetched was begun before something more
/// urgent that had to wait.
#[test]
fn a_recall_that_is_unanswered_does_not_hold_back_one_for_something_more_urgent() {
    let (mut core, now) = fleet(1);
    teach(&mut core, now, 0, 9 * MS);
    assert_eq!(schedule(&mut core, now, LEVELS - 1, 0, 2).len(), 2);
    let normal = schedule(&mut core, now, NORMAL, 0, 3);
    assert_eq!(normal.len(), 2);
    assert_eq!(effects(&mut core), ["Recall { slot: 0, at_most: 2, from: 2 }"]);
    assert_eq!(schedule(&mut core, now, URGENT, 0, 3).len(), 2);
    assert_eq!(effects(&mut core), ["Recall { slot: 0, at_most: 4, from: 1 }"]);
    // One answer is not both: what is still on its way back is not overtaken.
    core.recall_answered(0);
    assert!(core.given_back(0, normal[1].2));
    assert!(dispatches(&mut core, now).is_empty());
    assert!(effects(&mut core).is_empty(), "nothing is asked for twice");
}

#[test]
fn without_prefetch_a_worker_has_one_task_in_hand() {
    let now = Instant::now();
    let mut core = core_with(PrefetchBudget { prefetch: false, concurrent: 1 }, u64::MAX);
    (0..2).for_each(|slot| core.worker_ready(now, slot));
    let sent = schedule(&mut core, now, NORMAL, 0, 5);
    assert_eq!(slots(&sent), [0, 1]);
    assert_eq!(core.demand().single, None);
    assert!(schedule(&mut core, now, URGENT, 0, 1).is_empty());
    assert!(effects(&mut core).is_empty());
    core.done(now, 1, sent[1].2, MS).expect("the lease stands");
    assert_eq!(dispatches(&mut core, now).iter().map(|sent| (sent.0, sent.1)).collect::<Vec<_>>(), [(1, 5)]);
}

/// A worker that is never given more than it begins used to be asked to give it back, and waited for its answer.
#[test]
fn a_worker_without_prefetch_is_not_asked_to_give_back_what_it_has_begun() {
    let now = Instant::now();
    let mut core = core_with(PrefetchBudget { prefetch: false, concurrent: 2 }, u64::MAX);
    core.worker_ready(now, 0);
    assert_eq!(schedule_concurrent(&mut core, now, 1).len(), 1);
    let blocking = schedule(&mut core, now, NORMAL, 0, 1);
    assert_eq!(blocking.len(), 1);
    core.handle_timeout(now + STALL_LIMIT);
    assert!(effects(&mut core).is_empty());
    assert!(schedule_concurrent(&mut core, now, 1).is_empty(), "it would wait behind the one that blocks");
    core.done(now, 0, blocking[0].2, MS).expect("the lease stands");
    assert_eq!(dispatches(&mut core, now).len(), 1);
}

/// A fleet whose workers run three tasks of a concurrent class at once.
fn wide_fleet(slots: usize) -> (Core, Instant) {
    let (mut core, now) =
        (core_with(PrefetchBudget { prefetch: true, concurrent: 3 }, u64::MAX), Instant::now());
    (0..slots).for_each(|slot| core.worker_ready(now, slot));
    (core, now)
}

fn schedule_concurrent(core: &mut Core, now: Instant, count: usize) -> Vec<Sent> {
    for _ in 0..count {
        push(core, NORMAL, concurrent(1));
    }
    dispatches(core, now)
}

#[test]
fn concurrent_tasks_are_spread_and_never_handed_out_before_they_can_begin() {
    let (mut core, now) = wide_fleet(2);
    let sent = schedule_concurrent(&mut core, now, 10);
    assert_eq!(slots(&sent), [0, 1, 0, 1, 0, 1]);
    core.done(now, 1, sent[1].2, MS).expect("the lease stands");
    assert_eq!(slots(&dispatches(&mut core, now)), [1]);
}

#[test]
fn tasks_of_one_kind_do_not_wait_for_those_of_the_other() {
    let (mut core, now) = wide_fleet(1);
    assert_eq!(schedule_concurrent(&mut core, now, 5).len(), 3);
    assert_eq!(schedule(&mut core, now, LEVELS - 1, 0, 3).len(), 2, "as if the others were not there");
    assert_eq!(core.queued(), 3);
}

#[test]
fn those_that_ran_together_when_their_worker_died_run_alone_and_only_the_next_death_is_charged() {
    let (mut core, now) = wide_fleet(2);
    let sent = schedule_concurrent(&mut core, now, 6);
    let first: Vec<Lease> = sent.iter().filter(|sent| sent.0 == 0).map(|sent| sent.2).collect();
    core.worker_gone(0, &first, Gone::Died, |_| panic!("any of the three may have been the cause"));
    // The other worker has all that it takes in hand; it is emptied for them rather than filled forever.
    assert!(dispatches(&mut core, now).is_empty());
    core.worker_ready(now, 0);
    let alone = dispatches(&mut core, now);
    assert_eq!(alone.len(), 1);
    assert_eq!((alone[0].0, alone[0].1), (0, sent[0].1));
    assert!(
        schedule(&mut core, now, URGENT, 0, 2).iter().all(|sent| sent.0 == 1),
        "nothing beside a suspect"
    );
    let mut charged = None;
    core.worker_gone(0, &[alone[0].2], Gone::Died, |task| charged = Some(task.sequence));
    assert_eq!(charged, Some(0));
}

#[test]
fn a_suspect_that_is_cancelled_leaves_no_slot_reserved() {
    let (mut core, now) = wide_fleet(1);
    let sent = schedule_concurrent(&mut core, now, 2);
    core.worker_gone(0, &[sent[0].2, sent[1].2], Gone::Died, |_| panic!("neither is charged"));
    core.worker_ready(now, 0);
    assert_eq!(dispatches(&mut core, now).len(), 1);
    core.cancel(0);
    core.cancel(1);
    core.worker_gone(0, &[], Gone::Died, |_| ());
    core.worker_ready(now, 0);
    assert_eq!(schedule(&mut core, now, NORMAL, 0, 1).len(), 1);
    assert_eq!(core.books().cancelled, 2);
}

#[test]
fn a_worker_that_has_had_its_share_is_let_go_once_nothing_is_in_its_hand() {
    let now = Instant::now();
    let mut core = core_with(PrefetchBudget { prefetch: true, concurrent: 1 }, 3);
    core.worker_ready(now, 0);
    teach(&mut core, now, 0, MS / 4);
    let sent = schedule(&mut core, now, NORMAL, 0, 4);
    assert_eq!(sent.len(), 2);
    // One that comes back unbegun leaves room for another.
    assert!(core.given_back(0, sent[1].2));
    let again = dispatches(&mut core, now);
    assert_eq!(again.len(), 1);
    assert_eq!(core.demand(), Demand::default());
    core.done(now, 0, sent[0].2, MS).expect("the lease stands");
    assert!(effects(&mut core).is_empty());
    core.done(now, 0, again[0].2, MS).expect("the lease stands");
    assert_eq!(effects(&mut core), ["Retire { slot: 0 }"]);
    assert!(dispatches(&mut core, now).is_empty());
    assert_eq!(core.worker_gone(0, &[again[0].2], Gone::Died, |_| panic!("it had ended")), 0);
    core.worker_ready(now, 0);
    assert_eq!(dispatches(&mut core, now).len(), 2);
}

// ---- Heartbeats ----

/// A scheduler whose only worker runs an attempt that has to beat and has begun.
fn beating() -> (Core, Instant, Lease) {
    let (mut core, now) = fleet(1);
    let lease = schedule(&mut core, now, NORMAL, 0, 1)[0].2;
    core.heartbeat(now, 0, lease, Some(HEARTBEAT)).expect("the lease stands");
    (core, now, lease)
}

/// Effects that have nothing to do with the silence of the worker.
fn verdicts(core: &mut Core) -> Vec<String> {
    effects(core).into_iter().filter(|effect| !effect.starts_with("Ping")).collect()
}

fn missed(core: &mut Core, now: Instant, lease: Lease) {
    core.handle_timeout(now + HEARTBEAT);
    assert_eq!(verdicts(core), ["CatchUp { slot: 0 }"]);
    assert_eq!(core.caught_up(now + HEARTBEAT, 0, now + HEARTBEAT), None);
    assert_eq!(verdicts(core), [format!("Cancel {{ slot: 0, lease: {lease:?} }}")]);
}

/// Whether the worker is to be killed, if everything was handled that it had sent by then.
fn kill(core: &mut Core, sent_by: Instant) -> Option<Kill> {
    core.caught_up(sent_by, 0, sent_by)
}

const KILLED: Option<Kill> = Some(Kill::HeartbeatMissed { timeout: HEARTBEAT });

/// How the only task that has ended did.
fn ending(core: &mut Core) -> Option<(Ending, u32)> {
    let ended = |effect| match effect {
        Effect::Ended { ending, attempt, .. } => Some((ending, attempt)),
        _ => None,
    };
    std::iter::from_fn(|| core.poll_effect()).find_map(ended)
}

const MISSED: Ending = Ending::HeartbeatMissed { slot: 0, timeout: HEARTBEAT };

#[test]
fn an_attempt_that_beats_goes_on_and_one_that_has_not_begun_has_time() {
    let (mut core, now, lease) = beating();
    schedule(&mut core, now, NORMAL, 0, 1);
    for beat in 1..20 {
        let at = now + beat * (HEARTBEAT - MS);
        core.heard(at, 0);
        core.heartbeat(at, 0, lease, Some(HEARTBEAT)).expect("it is in time");
        core.handle_timeout(at);
        assert!(effects(&mut core).iter().all(|effect| !effect.starts_with("CatchUp")));
    }
}

#[test]
fn a_beat_sets_no_alarm() {
    let (mut core, now, lease) = beating();
    let alarm = core.flights.alarms();
    core.heartbeat(now + MS, 0, lease, Some(HEARTBEAT)).expect("it is in time");
    assert_eq!(
        core.flights.alarms(),
        alarm,
        "the clock is looked at twice in a timeout, however often it beats"
    );
    core.handle_timeout(now + HEARTBEAT);
    assert_eq!(core.flights.alarms().first().copied(), Some(now + MS + HEARTBEAT));
    core.done(now + HEARTBEAT, 0, lease, MS).expect("the lease stands");
    assert!(core.flights.alarms().is_empty());
}

#[test]
fn a_manager_that_is_late_itself_finds_the_beats_that_have_come_meanwhile() {
    let (mut core, now, lease) = beating();
    // Of each part of the timeout it sees the end.
    for eighths in [4, 6, 7] {
        core.handle_timeout(now + HEARTBEAT * eighths / 8);
    }
    let late = now + HEARTBEAT + AWAY;
    core.handle_timeout(late);
    assert_eq!(verdicts(&mut core), ["CatchUp { slot: 0 }"]);
    core.heartbeat(late, 0, lease, Some(HEARTBEAT)).expect("it has beaten");
    assert_eq!(core.caught_up(late, 0, late), None);
    assert!(verdicts(&mut core).is_empty());
    core.handle_timeout(late + HEARTBEAT - MS);
    assert!(verdicts(&mut core).is_empty());
    core.done(late + HEARTBEAT, 0, lease, MS).expect("it is done");
}

#[test]
fn who_could_say_nothing_while_the_manager_was_away_has_time_again() {
    let (mut core, mut now, lease) = beating();
    // Stopped for 2 s, again and again, whether it beats between or not.
    for beats in [true, false, false, true, false] {
        now += Duration::from_secs(2);
        core.handle_timeout(now);
        core.handle_timeout(now + HEARTBEAT / 2 - MS);
        assert!(verdicts(&mut core).is_empty());
        core.heard(now, 0);
        if beats {
            core.heartbeat(now, 0, lease, Some(HEARTBEAT)).expect("it has beaten");
        }
    }
    core.handle_timeout(now + HEARTBEAT);
    assert_eq!(verdicts(&mut core), ["CatchUp { slot: 0 }"]);
}

#[test]
fn who_could_not_end_while_the_manager_was_away_has_its_grace_again() {
    let (mut core, now, lease) = beating();
    missed(&mut core, now, lease);
    let late = now + Duration::from_secs(2);
    core.handle_timeout(late);
    core.handle_timeout(late + HEARTBEAT_GRACE - MS);
    assert!(verdicts(&mut core).is_empty() && kill(&mut core, late + HEARTBEAT_GRACE - MS).is_none());
    core.handle_timeout(late + HEARTBEAT_GRACE);
    assert_eq!(kill(&mut core, late + HEARTBEAT_GRACE), KILLED);
}

#[test]
fn an_attempt_that_has_missed_fails_when_it_ends_whatever_it_says() {
    type End = fn(&mut Core, Instant, Lease);
    let ends: [End; 5] = [
        |core, now, lease| assert!(core.done(now, 0, lease, MS).is_none()),
        |core, now, lease| assert!(core.failed(now, 0, lease, MS, true).is_none()),
        |core, now, lease| assert!(core.failed(now, 0, lease, MS, false).is_none()),
        |core, _, lease| assert!(core.given_back(0, lease)),
        |core, _, lease| assert_eq!(core.worker_gone(0, &[lease], Gone::Died, |_| ()), 1),
    ];
    for end in ends {
        let (mut core, now, lease) = beating();
        missed(&mut core, now, lease);
        core.cancel(0);
        assert!(core.heartbeat(now + HEARTBEAT, 0, lease, Some(HEARTBEAT)).is_none(), "too late");
        assert_eq!((core.books().pending(), core.books().failed), (1, 0), "it runs still");
        end(&mut core, now + HEARTBEAT, lease);
        assert_eq!(ending(&mut core), Some((MISSED, 1)));
        assert_eq!((core.books().pending(), core.books().failed), (0, 1));
        assert_eq!(core.queued(), 0, "it is not tried again");
    }
}

#[test]
fn an_attempt_that_was_cancelled_can_still_miss_and_is_not_cancelled_twice() {
    let (mut core, now, lease) = beating();
    core.cancel(0);
    assert_eq!(verdicts(&mut core).len(), 1);
    core.handle_timeout(now + HEARTBEAT);
    assert_eq!(core.caught_up(now + HEARTBEAT, 0, now + HEARTBEAT), None);
    assert_eq!(verdicts(&mut core), ["CatchUp { slot: 0 }"]);
    core.failed(now + HEARTBEAT, 0, lease, MS, true);
    assert_eq!(ending(&mut core), Some((MISSED, 1)));
}

#[test]
fn a_worker_is_killed_for_an_attempt_that_does_not_end_within_the_grace() {
    let (mut core, now, lease) = beating();
    missed(&mut core, now, lease);
    let due = now + HEARTBEAT + HEARTBEAT_GRACE;
    let before = due - Duration::from_nanos(1);
    core.handle_timeout(before);
    assert!(verdicts(&mut core).is_empty() && kill(&mut core, before).is_none());
    core.handle_timeout(due);
    assert_eq!(verdicts(&mut core), ["CatchUp { slot: 0 }"]);
    assert_eq!(kill(&mut core, before), None, "what it sent since may be its end");
    assert_eq!(kill(&mut core, due), KILLED);
    core.handle_timeout(due + HEARTBEAT);
    assert!(verdicts(&mut core).is_empty(), "once is enough");
    core.done(due, 0, lease, MS);
    assert_eq!(kill(&mut core, due), None, "it has ended after all");
}

#[test]
fn a_doubt_that_came_up_after_the_manager_began_to_catch_up_waits_for_the_next_time() {
    let (mut core, now, lease) = beating();
    let doubted = now + HEARTBEAT;
    core.handle_timeout(doubted);
    assert_eq!(core.caught_up(doubted, 0, doubted - MS), None);
    assert!(!core.has_missed(0, lease));
    assert_eq!(core.caught_up(doubted, 0, doubted), None);
    assert!(core.has_missed(0, lease));
}

#[test]
fn a_worker_is_killed_for_its_silence_unless_something_had_come() {
    let (mut core, now) = fleet(1);
    schedule(&mut core, now, NORMAL, 0, 1);
    core.handle_timeout(now + SILENCE_LIMIT / 2);
    assert_eq!(effects(&mut core), ["Ping { slot: 0 }"]);
    let silent = now + SILENCE_LIMIT;
    core.handle_timeout(silent);
    assert_eq!(effects(&mut core), ["CatchUp { slot: 0 }"]);
    assert_eq!(kill(&mut core, silent - MS), None, "what it sent since was not handled");
    assert_eq!(kill(&mut core, silent), Some(Kill::Silent));
    core.heard(silent, 0);
    assert_eq!(kill(&mut core, silent), None);
}

#[test]
fn nobody_else_is_charged_or_suspected_when_a_worker_is_killed_for_a_missed_heartbeat() {
    let now = Instant::now();
    let mut core = core_with(PrefetchBudget { prefetch: true, concurrent: 3 }, u64::MAX);
    core.worker_ready(now, 0);
    for _ in 0..3 {
        push(&mut core, NORMAL, concurrent(0));
    }
    let sent = dispatches(&mut core, now);
    let leases: Vec<Lease> = sent.iter().map(|sent| sent.2).collect();
    core.heartbeat(now, 0, leases[1], Some(HEARTBEAT)).expect("the lease stands");
    missed(&mut core, now, leases[1]);
    core.handle_timeout(now + HEARTBEAT + HEARTBEAT_GRACE);
    let mut marked = Vec::new();
    // The last has not begun.
    core.worker_gone(0, &leases[..2], Gone::Overdue, |task| marked.push(task.sequence));
    assert_eq!(marked, [1]);
    assert_eq!(ending(&mut core), Some((MISSED, 1)));
    core.worker_ready(now, 0);
    let again = |core: &mut Core| {
        core.next_dispatch(now)
            .map(|sent| (sent.task.sequence, sent.attempt, sent.task.crashes, sent.task.suspect))
    };
    assert_eq!(again(&mut core), Some((0, 2, 0, false)));
    assert_eq!(again(&mut core), Some((2, 1, 0, false)), "beside the other");
}

#[test]
fn what_was_interrupted_for_another_is_cancelled_and_not_returned_as_if_it_had_not_been_begun() {
    let now = Instant::now();
    let mut core = core_with(PrefetchBudget { prefetch: true, concurrent: 2 }, u64::MAX);
    core.worker_ready(now, 0);
    for _ in 0..2 {
        push(&mut core, NORMAL, concurrent(0));
    }
    let leases: Vec<Lease> = dispatches(&mut core, now).iter().map(|sent| sent.2).collect();
    core.heartbeat(now, 0, leases[0], Some(HEARTBEAT)).expect("the lease stands");
    missed(&mut core, now, leases[0]);
    core.worker_gone(0, &leases, Gone::Overdue, |_| ());
    core.halt();
    assert_eq!((core.books().failed, core.books().cancelled, core.books().returned), (1, 1, 0));
}

#[test]
fn the_silence_of_a_worker_shows_until_something_is_heard_of_it() {
    let (mut core, now) = fleet(1);
    schedule(&mut core, now, NORMAL, 0, 1);
    assert_eq!(core.silent_since(0), None);
    core.handle_timeout(now + SILENCE_LIMIT / 2);
    assert_eq!(core.silent_since(0), Some(now));
    core.handle_timeout(now + SILENCE_LIMIT);
    assert_eq!(core.silent_since(0), Some(now), "also while it is to be killed");
    core.heard(now + SILENCE_LIMIT, 0);
    assert_eq!(core.silent_since(0), None);
}
