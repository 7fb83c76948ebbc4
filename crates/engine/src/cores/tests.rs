//! The core beside a naive model, and single cases.

mod model;
mod pair;
#[path = "../../../heartbeat/src/testing.rs"]
mod testing;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use workfleet_shared_lock::{
    Mode,
    cores::{LockOp, RequestEnd, RequestId, RequestState},
};

use super::EngineCore;
use crate::{
    Beat, Call, Cancelled, DeadCause, DeadLetterAnswer, DeadLetterOp, DeadLetters, Departure, EngineError,
    EngineOptions, EngineTime, Enqueued, FleetTaskId, Held, Hint, Join, LeaseCall, LeasedTask, LockAnswer,
    LockCall, MemberId, NewTask, Payload, Rate, Settled, Settlement, TaskOutcome, TaskState, Unique,
    UniqueFor, Verdict,
};

const START: EngineTime = EngineTime::from_unix_ms(1_790_000_000_000);

/// An engine, and the calls of its members.
struct Rig {
    engine: EngineCore,
    now: Instant,
    next: u64,
}

impl Rig {
    fn new(options: EngineOptions) -> Self {
        let now = Instant::now();
        Self { engine: EngineCore::new(options, now, START), now, next: 0 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn join(&mut self) -> MemberId {
        let member = MemberId::new(self.engine.time(self.now), u128::from(self.number()));
        self.engine.join(self.now, Join { member, name: "m".into() }).expect("it joins");
        member
    }

    fn task(&mut self) -> NewTask {
        let id = FleetTaskId::new(self.engine.time(self.now), u128::from(self.number()));
        NewTask::new(id, "work", Payload::postcard("p"))
    }

    fn call(&mut self, member: MemberId) -> Call {
        let number = self.number();
        Call { member, number, confirmed: number - 1 }
    }

    fn enqueue(&mut self, member: MemberId, task: NewTask) -> Result<Enqueued, EngineError> {
        let call = self.call(member);
        Ok(self.engine.enqueue(self.now, call, vec![task])?[0])
    }

    fn lease(&mut self, member: MemberId, count: u32) -> Vec<LeasedTask> {
        let call = LeaseCall {
            member,
            batch: self.number(),
            series: vec![("".into(), count)],
            names: vec!["work".into()],
            wait: Duration::ZERO,
        };
        self.engine.lease(self.now, &call).expect("the member lives")
    }

    fn settle(&mut self, member: MemberId, task: &LeasedTask, verdict: Verdict) -> Settled {
        let call = self.call(member);
        let settlement = Settlement { run: task.task_run(), attempts: 1, crashes: 0, verdict };
        self.engine.settle(self.now, call, vec![settlement]).expect("the member lives")[0]
    }

    fn beat(&mut self, member: MemberId) -> Result<crate::Beaten, EngineError> {
        let number = self.number();
        self.engine.beat(self.now, Beat { member, number, holding: Vec::new() })
    }

    fn cancel(&mut self, member: MemberId, tasks: &[FleetTaskId]) -> Result<Vec<Cancelled>, EngineError> {
        let call = self.call(member);
        self.engine.cancel(self.now, call, tasks)
    }

    fn outcome(&mut self, task: FleetTaskId) -> TaskState {
        self.engine.outcomes(self.now, &[task]).expect("it is one")[0].clone()
    }

    fn lock(&mut self, member: MemberId, request: u64, op: LockOp<Arc<str>, Arc<str>>) -> LockAnswer {
        let ops = vec![(RequestId::new(request), op)];
        let call = LockCall { member, ops, since: 0, wait: Duration::ZERO };
        self.engine.locks(self.now, call).expect("the member lives")
    }

    fn hints(&mut self) -> Vec<Hint> {
        std::iter::from_fn(|| self.engine.poll_hint()).collect()
    }
}

fn exclusive(owner: Option<&str>) -> LockOp<Arc<str>, Arc<str>> {
    LockOp::Request { key: "key".into(), mode: Mode::Exclusive, owner: owner.map(Arc::from) }
}

fn done() -> Verdict {
    Verdict::Done(Payload::default())
}

#[test]
fn a_settlement_at_the_end_of_the_lease_is_refused_and_another_member_has_the_task() {
    let mut rig = Rig::new(EngineOptions::default());
    let (ann, bob) = (rig.join(), rig.join());
    let task = rig.task();
    let id = task.id;
    rig.enqueue(ann, task).unwrap();
    let first = rig.lease(ann, 1).remove(0);
    assert_eq!((first.run, rig.lease(bob, 1).len()), (1, 0));
    rig.now += Duration::from_secs(10);
    rig.beat(bob).unwrap();
    rig.now += Duration::from_secs(5);
    let call = rig.call(ann);
    let settlement = Settlement { run: first.task_run(), attempts: 1, crashes: 0, verdict: done() };
    let refused = rig.engine.settle(rig.now, call, vec![settlement]);
    assert!(matches!(refused, Err(EngineError::MemberGone { member }) if member == ann), "{refused:?}");
    let second = rig.lease(bob, 1).remove(0);
    assert_eq!((second.run, second.tally.lost), (2, 1));
    assert_eq!(rig.settle(bob, &second, done()), Settled::Ok);
    assert_eq!(rig.settle(bob, &second, done()), Settled::Fenced, "another call, and the run is over");
    assert_eq!(rig.outcome(id), TaskState::Ended(TaskOutcome::Done(Payload::default())));
    assert!(rig.hints().contains(&Hint::Gone(ann)));
}

#[test]
fn a_member_that_is_gone_cannot_join_again_however_late_its_request_comes() {
    let mut rig = Rig::new(EngineOptions::default());
    let ann = rig.join();
    rig.engine.leave(rig.now, ann, Departure::Goodbye);
    rig.engine.leave(rig.now, ann, Departure::Goodbye);
    let join = || Join { member: ann, name: "m".into() };
    let refused = rig.engine.join(rig.now, join());
    assert!(matches!(refused, Err(EngineError::MemberGone { .. })), "{refused:?}");
    rig.now += Duration::from_secs(600);
    let refused = rig.engine.join(rig.now, join());
    assert!(matches!(refused, Err(EngineError::IdTime { .. })), "{refused:?}");
    assert!(rig.engine.gone.is_empty(), "its id is refused without being remembered");
}

#[test]
fn a_task_that_is_forgotten_cannot_be_enqueued_again() {
    let mut rig = Rig::new(EngineOptions::default());
    let ann = rig.join();
    let task = rig.task();
    rig.enqueue(ann, task.clone()).unwrap();
    let leased = rig.lease(ann, 1).remove(0);
    rig.settle(ann, &leased, done());
    for _ in 0..60 {
        assert_eq!(rig.enqueue(ann, task.clone()).unwrap(), Enqueued::Existing(task.id));
        rig.now += Duration::from_secs(10);
        rig.beat(ann).unwrap();
    }
    assert_eq!(rig.outcome(task.id), TaskState::Unknown);
    let refused = rig.enqueue(ann, task);
    assert!(matches!(refused, Err(EngineError::IdTime { .. })), "{refused:?}");
    let future =
        NewTask::new(FleetTaskId::new(START + Duration::from_secs(1201), 1), "work", Payload::default());
    assert!(matches!(rig.enqueue(ann, future), Err(EngineError::IdTime { .. })));
}

#[test]
fn an_expired_members_locks_are_kept_for_the_delay_and_those_of_one_that_left_are_not() {
    for departure in [None, Some(Departure::Goodbye), Some(Departure::Died)] {
        let mut rig = Rig::new(EngineOptions::default());
        let (ann, bob) = (rig.join(), rig.join());
        let granted = rig.lock(ann, 1, exclusive(None)).changes.requests.remove(0).1;
        let RequestState::Granted { fence: first, .. } = granted else { panic!("{granted:?}") };
        rig.lock(bob, 1, exclusive(None));
        let mut waited = Duration::ZERO;
        match departure {
            Some(departure) => rig.engine.leave(rig.now, ann, departure),
            None => {
                while waited < Duration::from_secs(20) {
                    let state = rig.lock(bob, 1, exclusive(None)).changes.requests.remove(0).1;
                    assert!(matches!(state, RequestState::Waiting { .. }), "after {waited:?}: {state:?}");
                    waited += Duration::from_secs(5);
                    rig.now += Duration::from_secs(5);
                    rig.beat(bob).unwrap();
                }
            }
        }
        let state = rig.lock(bob, 1, exclusive(None)).changes.requests.remove(0).1;
        let RequestState::Granted { fence, .. } = state else { panic!("{departure:?}: {state:?}") };
        assert!(fence > first);
        assert!(rig.hints().contains(&Hint::Locks(bob)));
    }
}

#[test]
fn fences_increase_also_if_the_engine_is_made_anew() {
    let now = Instant::now();
    let mut fences = Vec::new();
    for ms in [0, 1] {
        let time = START + Duration::from_millis(ms);
        let engine = EngineCore::new(EngineOptions::default(), now, time);
        let mut rig = Rig { engine, now, next: 0 };
        let ann = rig.join();
        for request in 1..4 {
            let state = rig.lock(ann, request, exclusive(None)).changes.requests.pop().expect("it is told").1;
            let RequestState::Granted { fence, .. } = state else { panic!("it is not granted: {state:?}") };
            fences.push(fence);
            rig.lock(ann, request, LockOp::Leave);
        }
    }
    assert!(fences.is_sorted_by(|first, second| first < second), "{fences:?}");
}

#[test]
fn a_deadlock_among_owners_of_two_members_is_found_and_labels_are_each_members_own() {
    let mut rig = Rig::new(EngineOptions::default());
    let (ann, bob) = (rig.join(), rig.join());
    let other = |owner: &str| LockOp::Request {
        key: "other".into(),
        mode: Mode::Exclusive,
        owner: Some(Arc::from(owner)),
    };
    rig.lock(ann, 1, exclusive(Some("t")));
    rig.lock(bob, 1, other("t"));
    rig.lock(ann, 2, other("t"));
    let states = rig.lock(bob, 2, exclusive(Some("t"))).changes.requests;
    let (_, RequestState::Ended(RequestEnd::WouldDeadlock(cycle))) = &states[1] else { panic!("{states:?}") };
    let members: Vec<_> = cycle.iter().map(|link| link.owner.member).collect();
    assert_eq!(members, [bob, ann]);
    let views = rig.engine.lock_snapshot(rig.now, None, 10).unwrap();
    assert_eq!(views.len(), 2);
    assert_eq!((&*views[0].key, views[0].holders[0].member, views[0].waiters.len()), ("key", ann, 0));
    assert_eq!((views[1].holders[0].member, views[1].waiters[0].member), (bob, ann));
    assert_eq!(rig.engine.lock_snapshot(rig.now, Some(&"key".into()), 10).unwrap(), views[1..]);
}

#[test]
fn a_task_that_members_are_lost_with_runs_alone_and_is_then_dead() {
    let mut rig = Rig::new(EngineOptions { lost_limit: 1, ..EngineOptions::default() });
    let ann = rig.join();
    let suspect = rig.task();
    rig.enqueue(ann, suspect.clone()).unwrap();
    rig.lease(ann, 1);
    rig.engine.leave(rig.now, ann, Departure::Died);

    // A member with something in hand gets nothing more until it has nothing, and then the suspect alone.
    let bob = rig.join();
    for _ in 0..3 {
        let other = rig.task();
        rig.enqueue(bob, other).unwrap();
    }
    let carl = rig.join();
    let alone = rig.lease(carl, 5);
    assert_eq!((alone.len(), alone[0].alone, alone[0].task.id), (1, true, suspect.id));
    assert!(rig.lease(carl, 5).is_empty(), "it has a task that is to run alone");
    assert_eq!(rig.settle(carl, &alone[0], Verdict::Returned), Settled::Ok);
    // Bob leases before the suspect is there again for him.
    let again = rig.lease(carl, 5);
    assert!(again[0].alone);
    let rest = rig.lease(bob, 2);
    assert_eq!(rest.len(), 2);
    rig.settle(carl, &again[0], Verdict::Returned);
    assert!(rig.lease(bob, 5).is_empty(), "it is reserved");
    rig.settle(bob, &rest[0], done());
    assert!(rig.lease(bob, 5).is_empty(), "it is reserved");
    rig.settle(bob, &rest[1], done());
    let alone = rig.lease(bob, 5);
    assert_eq!((alone.len(), alone[0].task.id), (1, suspect.id));
    rig.engine.leave(rig.now, bob, Departure::Died);
    assert_eq!(rig.outcome(suspect.id), TaskState::Ended(TaskOutcome::Dead(DeadCause::Lost)));
    assert_eq!(rig.lease(carl, 5).len(), 1, "the third of the others");
    let letters = rig.engine.dead_letters(rig.now, None, 10).unwrap();
    assert_eq!((letters.len(), letters[0].tally.lost), (1, 2));
}

#[test]
fn a_dead_letter_is_retried_with_nothing_charged_unless_its_key_is_taken() {
    let mut rig = Rig::new(EngineOptions::default());
    let ann = rig.join();
    let mut task = rig.task();
    task.unique = Some(Unique { key: "k".into(), until: UniqueFor::Task });
    task.deadline = Some(Duration::from_secs(3600));
    rig.enqueue(ann, task.clone()).unwrap();
    let leased = rig.lease(ann, 1).remove(0);
    let failure = Bytes::from_static(b"no");
    rig.settle(ann, &leased, Verdict::Dead { failure: failure.clone() });
    assert_eq!(rig.outcome(task.id), TaskState::Ended(TaskOutcome::Dead(DeadCause::Failed(failure))));
    let mut other = rig.task();
    other.unique.clone_from(&task.unique);
    assert_eq!(rig.enqueue(ann, other.clone()).unwrap(), Enqueued::New(other.id));
    let retry = |rig: &mut Rig| {
        let call = rig.call(ann);
        rig.engine.settle_dead_letters(rig.now, call, DeadLetterOp::Retry, DeadLetters::First(9)).unwrap()
    };
    assert_eq!(retry(&mut rig), [DeadLetterAnswer::KeyTaken { task: task.id, by: other.id }]);
    assert_eq!(rig.cancel(ann, &[other.id]).unwrap(), [Cancelled::Ended]);
    assert_eq!(retry(&mut rig), [DeadLetterAnswer::Ok(task.id)]);
    assert_eq!(retry(&mut rig), []);
    let again = rig.lease(ann, 1).remove(0);
    assert_eq!((again.run, again.tally.attempts, again.task.payload.bytes.len()), (2, 0, 1));
    let books = rig.engine.inspect(rig.now).books;
    assert_eq!((books.enqueued, books.retried, books.dead, books.cancelled, books.pending), (2, 1, 1, 1, 1));
}

#[test]
fn heartbeat_details_reach_the_next_run_and_an_overtaken_beat_changes_none() {
    let mut rig = Rig::new(EngineOptions::default());
    let (ann, bob) = (rig.join(), rig.join());
    let task = rig.task();
    rig.enqueue(ann, task).unwrap();
    let leased = rig.lease(ann, 1).remove(0);
    let beat = |rig: &mut Rig, member, number, details: &'static str| {
        let details = Some(Bytes::from_static(details.as_bytes()));
        let holding = vec![Held { run: leased.task_run(), details }];
        rig.engine.beat(rig.now, Beat { member, number, holding }).unwrap().gone
    };
    assert_eq!(beat(&mut rig, ann, 2, "new"), []);
    assert_eq!(beat(&mut rig, ann, 1, "old"), []);
    assert_eq!(beat(&mut rig, bob, 1, "stranger"), [leased.task_run()]);
    rig.engine.leave(rig.now, ann, Departure::Goodbye);
    let again = rig.lease(bob, 1).remove(0);
    assert_eq!(again.details.as_deref(), Some(&b"new"[..]));
    assert_eq!(again.tally.lost, 0, "it was given back");
}

#[test]
fn what_is_leased_and_cancelled_is_named_in_every_beat_and_ends_as_cancelled() {
    let mut rig = Rig::new(EngineOptions::default());
    let ann = rig.join();
    let tasks: Vec<_> = (0..3).map(|_| rig.task()).collect();
    for task in &tasks {
        rig.enqueue(ann, task.clone()).unwrap();
    }
    let leased = rig.lease(ann, 3);
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
    assert_eq!(rig.cancel(ann, &ids).unwrap(), [Cancelled::Asked; 3]);
    for _ in 0..2 {
        assert_eq!(
            rig.beat(ann).unwrap().cancelled,
            leased.iter().map(LeasedTask::task_run).collect::<Vec<_>>()
        );
    }
    assert!(rig.hints().contains(&Hint::Cancelled(ann)));
    rig.settle(ann, &leased[0], done());
    rig.settle(ann, &leased[1], Verdict::Retry { after: Duration::ZERO, failure: Bytes::new() });
    rig.settle(ann, &leased[2], Verdict::Dead { failure: Bytes::new() });
    assert_eq!(rig.outcome(ids[0]), TaskState::Ended(TaskOutcome::Done(Payload::default())));
    assert_eq!(rig.outcome(ids[1]), TaskState::Ended(TaskOutcome::Cancelled));
    assert_eq!(rig.outcome(ids[2]), TaskState::Ended(TaskOutcome::Cancelled));
    assert_eq!(rig.beat(ann).unwrap().cancelled, []);
    assert_eq!(rig.cancel(ann, &ids).unwrap(), [Cancelled::Late, Cancelled::Ended, Cancelled::Ended]);
}

#[test]
fn the_largest_durations_overflow_nothing() {
    let mut rig = Rig::new(EngineOptions { lock_delay: Duration::MAX, ..EngineOptions::default() });
    let ann = rig.join();
    let mut task = rig.task();
    task.not_before = Duration::MAX;
    task.deadline = Some(Duration::MAX);
    task.keep_outcome = Duration::MAX;
    task.unique = Some(Unique { key: "k".into(), until: UniqueFor::Time(Duration::MAX) });
    task.rate = Some(Rate { count: u32::MAX, per: Duration::MAX });
    let id = task.id;
    rig.enqueue(ann, task).unwrap();
    let mut other = rig.task();
    other.rate = Some(Rate { count: 1, per: Duration::MAX });
    rig.enqueue(ann, other).unwrap();
    let leased = rig.lease(ann, 5).remove(0);
    rig.settle(ann, &leased, Verdict::Retry { after: Duration::MAX, failure: Bytes::new() });
    assert_eq!(rig.cancel(ann, &[id, leased.task.id]).unwrap(), [Cancelled::Ended; 2]);
    rig.lock(ann, 1, exclusive(None));
    rig.engine.extend_leases(Duration::MAX);
    rig.engine.handle_timeout(rig.now + Duration::from_secs(1 << 33));
    assert!(rig.engine.members.is_empty());
}

#[test]
fn leases_end_later_by_the_time_in_which_the_engine_was_stopped() {
    let mut rig = Rig::new(EngineOptions::default());
    let ann = rig.join();
    rig.now += Duration::from_secs(60);
    rig.engine.extend_leases(Duration::from_secs(50));
    rig.beat(ann).expect("it was not to be heard for 10 s");
    rig.now += Duration::from_secs(15);
    rig.beat(ann).expect_err("it could have been heard");
}

#[test]
fn each_bound_is_named_by_its_error() {
    let options = EngineOptions {
        tasks: 1,
        members: 2,
        batch: 2,
        text_bytes: 8,
        payload_bytes: 2,
        details_bytes: 2,
        ..EngineOptions::default()
    };
    let mut rig = Rig::new(options);
    let ann = rig.join();
    let text = |error: EngineError| error.to_string();
    let change = |change: fn(&mut NewTask)| {
        let mut rig = Rig::new(rig.engine.options().clone());
        let ann = rig.join();
        let mut task = rig.task();
        change(&mut task);
        rig.enqueue(ann, task).unwrap_err().to_string()
    };
    assert_eq!(change(|task| task.name = "".into()), "a task's name is 0, and must be at least 1");
    assert_eq!(
        change(|task| task.name = "123456789".into()),
        "a task's name has 9 bytes, and the limit is 8 bytes"
    );
    assert_eq!(
        change(|task| task.series = "123456789".into()),
        "a series has 9 bytes, and the limit is 8 bytes"
    );
    assert_eq!(
        change(|task| task.payload = Payload::json("123")),
        "a payload has 3 bytes, and the limit is 2 bytes"
    );
    assert_eq!(
        change(|task| task.rate = Some(Rate { count: 0, per: Duration::MAX })),
        "the count of a rate is 0, and must be at least 1"
    );
    assert_eq!(
        change(|task| task.concurrency = Some(crate::Concurrency { key: "k".into(), limit: 0 })),
        "a concurrency limit is 0, and must be at least 1"
    );
    let task = rig.task();
    rig.enqueue(ann, task).unwrap();
    let task = rig.task();
    assert_eq!(text(rig.enqueue(ann, task).unwrap_err()), "there would be 2 tasks, and the limit is 1");
    let bob = rig.join();
    rig.engine.leave(rig.now, bob, Departure::Died);
    let member = MemberId::new(START, 77);
    let refused = rig.engine.join(rig.now, Join { member, name: "m".into() }).unwrap_err();
    assert_eq!(text(refused), "there would be 3 members, and the limit is 2");
    let ids = [FleetTaskId::new(START, 1); 3];
    assert_eq!(
        text(rig.cancel(ann, &ids).unwrap_err()),
        "there would be 3 tasks in one call, and the limit is 2"
    );
}
