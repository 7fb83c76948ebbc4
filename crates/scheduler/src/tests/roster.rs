//! The tree of the roster against a look at each worker.

use std::time::{Duration, Instant};

use proptest::{prelude::*, sample::select};

use super::LEVELS;
use crate::{
    limits::Limits,
    load::PrefetchBudget,
    queue::{Class, Pending},
    roster::Roster,
    testing::cases,
    worker::Worker,
};

const SLOTS: usize = 9;

fn limits(prefetch: bool) -> Limits {
    Limits {
        levels: LEVELS,
        crash_limit: 3,
        silence_limit: Some(Duration::from_secs(10)),
        heartbeat_grace: Duration::from_secs(10),
        prefetch_budget: PrefetchBudget { prefetch, concurrent: 2 },
        tasks_per_worker: 6,
    }
}

fn task(priority: u8, concurrent: bool) -> Pending<()> {
    let class = Class { concurrent, ..Class::default() };
    Pending {
        sequence: 0,
        priority,
        class,
        suspect: false,
        crashes: 0,
        interruptions: 0,
        children: 0,
        body: (),
    }
}

#[derive(Clone, Debug)]
enum Change {
    Comes(usize),
    Goes(usize),
    /// The one with the least in hand gets it.
    Give {
        priority: u8,
        concurrent: bool,
        cost_ns: u64,
    },
    /// The oldest task that it has in hand ends.
    End(usize),
    Stalls(usize),
    Ask(usize, u8),
    Answers(usize),
    Dismiss(usize),
    Hear(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let give = (0..LEVELS, any::<bool>(), select(vec![1, 100_000, 700_000, 20_000_000]));
    let slot = || 0..SLOTS;
    prop_oneof![
        3 => slot().prop_map(Change::Comes),
        1 => slot().prop_map(Change::Goes),
        8 => give.prop_map(|(priority, concurrent, cost_ns)| Change::Give { priority, concurrent, cost_ns }),
        4 => slot().prop_map(Change::End),
        1 => slot().prop_map(Change::Stalls),
        1 => (slot(), 0..LEVELS).prop_map(|(slot, from)| Change::Ask(slot, from)),
        1 => slot().prop_map(Change::Answers),
        1 => slot().prop_map(Change::Dismiss),
        1 => slot().prop_map(Change::Hear),
    ]
}

fn check(roster: &mut Roster) {
    for concurrent in [false, true] {
        for priority in 0..LEVELS {
            let task = task(priority, concurrent);
            assert_eq!(roster.least_laden(&task), roster.least_laden_but(usize::MAX, &task), "{task:?}");
        }
    }
    let summary = *roster.summary();
    assert_eq!(summary, roster.summary_of_each());
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_tree_knows_of_all_workers_what_a_look_at_each_shows(
        prefetch: bool,
        changes in prop::collection::vec((change(), any::<bool>()), 1..60),
    ) {
        let (limits, start) = (limits(prefetch), Instant::now());
        let mut roster = Roster::new(limits.silence_limit);
        let mut hands: [Vec<(Pending<()>, u64)>; SLOTS] = Default::default();
        for (number, (change, look)) in (0_u32..).zip(changes) {
            let now = start + Duration::from_millis(1) * number;
            match change {
                Change::Comes(slot) if roster.get(slot).is_none() => {
                    roster.put(slot, Some(Worker::new(now, &limits)));
                }
                Change::Goes(slot) if roster.get(slot).is_some() => {
                    hands[slot].clear();
                    roster.put(slot, None);
                }
                Change::Give { priority, concurrent, cost_ns } => {
                    let task = task(priority, concurrent);
                    if let Some(slot) = roster.least_laden(&task) {
                        roster.get_mut(slot).expect("it takes the task").give(now, &task, cost_ns);
                        hands[slot].push((task, cost_ns));
                    }
                }
                Change::End(slot) if !hands[slot].is_empty() => {
                    let (task, cost_ns) = hands[slot].remove(0);
                    let load = &mut roster.get_mut(slot).expect("it has a task").load;
                    load.remove(&task, cost_ns);
                    load.progressed(now);
                }
                Change::Comes(_) | Change::Goes(_) | Change::End(_) => {}
                Change::Stalls(slot) => roster.get_mut(slot).into_iter().for_each(|it| it.load.has_stalled()),
                Change::Ask(slot, from) => roster.get_mut(slot).into_iter().for_each(|it| it.recalls.ask(from)),
                Change::Answers(slot) => roster.get_mut(slot).into_iter().for_each(|it| it.recalls.answered()),
                Change::Dismiss(slot) => roster.get_mut(slot).into_iter().for_each(|it| {
                    it.dismiss();
                }),
                Change::Hear(slot) => {
                    let heard = crate::liveness::Liveness::heard(now);
                    roster.get_mut(slot).into_iter().for_each(|it| it.liveness = heard);
                }
            }
            if look {
                check(&mut roster);
            }
        }
        check(&mut roster);
    }
}
