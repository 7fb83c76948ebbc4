//! What one running task may add: messages that nobody reads, and tasks of its own.

#[path = "support/both.rs"]
mod both;
mod support;

use std::{path::PathBuf, time::Duration};

use both::{Door, Guest, Kind, Started, come_to, on_both, start};
use serde::{Deserialize, Serialize};
use support::{assert_balanced, until};
use workfleet_task_manager::{
    AsyncTask, Chain, ClosePolicy, FailureCause, InboxOverflow, MessageError, NoMessage, Priority, Registry,
    ScheduleErrorKind, Task, TaskContext, TaskError, TaskMessage, TaskSpec,
};

const NORMAL: Priority = Priority(1);
/// What a message of a [`Flood`] carries beside its number.
const PADDING_BYTES: usize = 1000;

/// What each child of a [`WideParent`] carries.
const WIDE_BYTES: usize = 64 << 10;

/// A message of a [`Flood`].
#[derive(Debug, Serialize, Deserialize)]
struct Numbered(u32, String);

impl TaskMessage for Numbered {
    const NAME: &'static str = "numbered";
}

/// A message of a [`Leaf`].
#[derive(Debug, Serialize, Deserialize)]
struct Ran;

impl TaskMessage for Ran {
    const NAME: &'static str = "ran";
}

/// Sends so many messages, numbered from 0.
#[derive(Debug, Serialize, Deserialize)]
struct Flood(u32);

impl TaskSpec for Flood {
    const NAME: &'static str = "flood";
    type Output = ();
}

impl Task for Flood {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let padding = "x".repeat(PADDING_BYTES);
        Ok((0..self.0).try_for_each(|number| cx.send_message(&Numbered(number, padding.clone())))?)
    }
}

/// Says that it ran.
#[derive(Debug, Serialize, Deserialize)]
struct Leaf;

impl TaskSpec for Leaf {
    const NAME: &'static str = "leaf";
    type Output = ();
}

impl Task for Leaf {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Ok(cx.send_message(&Ran)?)
    }
}

/// Schedules up to so many leaves; returns how many were taken, and the limit if there is one.
fn schedule_leaves(cx: &TaskContext, leaves: u32) -> Result<(u32, Option<u32>), TaskError> {
    for taken in 0..leaves {
        match cx.schedule_with(Leaf, NORMAL) {
            Ok(()) => {}
            Err(error) => match *error.kind() {
                ScheduleErrorKind::TooManyChildren { limit, .. } => return Ok((taken, Some(limit))),
                _ => return Err(error.into()),
            },
        }
    }
    Ok((leaves, None))
}

/// A parent of so many leaves, or as many as it may have.
#[derive(Debug, Serialize, Deserialize)]
struct Parent(u32);

impl TaskSpec for Parent {
    const NAME: &'static str = "parent";
    type Output = (u32, Option<u32>);
}

impl Task for Parent {
    fn run(self, cx: &TaskContext) -> Result<Self::Output, TaskError> {
        schedule_leaves(cx, self.0)
    }
}

/// Carries its bytes and does nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Padded(String);

impl TaskSpec for Padded {
    const NAME: &'static str = "padded";
    type Output = ();
}

impl Task for Padded {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Fills the inbox, then schedules so many of these, which are more than its worker's socket takes at once.
#[derive(Debug, Serialize, Deserialize)]
struct WideParent(u32);

impl TaskSpec for WideParent {
    const NAME: &'static str = "wide-parent";
    type Output = ();
}

impl Task for WideParent {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Flood(SENT).run(cx)?;
        let padding = "x".repeat(WIDE_BYTES);
        Ok((0..self.0).try_for_each(|_| cx.schedule_with(Padded(padding.clone()), NORMAL))?)
    }
}

/// The same; then it comes to a door, and runs beside others. Its output says also which attempt it was.
#[derive(Debug, Serialize, Deserialize)]
struct ParentAtDoor(u32, PathBuf);

impl TaskSpec for ParentAtDoor {
    const NAME: &'static str = "parent-at-door";
    type Output = (u32, Option<u32>, u32);
}

impl AsyncTask for ParentAtDoor {
    async fn run(self, cx: &TaskContext) -> Result<Self::Output, TaskError> {
        let (taken, limit) = schedule_leaves(cx, self.0)?;
        cx.flush()?;
        come_to(&self.1, "parent").await?;
        Ok((taken, limit, cx.attempt()))
    }
}

/// Never ends, beside others, and is silent for longer than it may.
#[derive(Debug, Serialize, Deserialize)]
struct Ignores(PathBuf);

impl TaskSpec for Ignores {
    const NAME: &'static str = "ignores";
    type Output = ();
    const HEARTBEAT_TIMEOUT: Option<Duration> = Some(Duration::from_millis(100));
}

impl AsyncTask for Ignores {
    async fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        loop {
            come_to(&self.0, "ignores").await?;
        }
    }
}

fn registry() -> Registry {
    let registry = Registry::new().task::<Flood>().task::<Leaf>().task::<Parent>();
    let registry = registry.task::<Padded>().task::<WideParent>();
    registry.async_task::<ParentAtDoor>().async_task::<Ignores>()
}

workfleet_task_manager::test_worker!(registry());

on_both!(
    a_flood_that_nobody_reads_keeps_its_latest_and_tells_what_is_missing,
    a_flood_of_a_type_that_nobody_has_read_tells_whoever_reads,
    a_pool_whose_inbox_has_dropped_goes_on_when_it_is_read,
    a_flood_grows_where_nothing_else_was_asked_for,
    a_task_schedules_as_many_as_it_may_and_is_told_the_limit,
    scheduling_waits_neither_for_a_worker_nor_for_a_reader,
    a_chain_is_one_task_for_the_limit_of_children,
    children_of_an_attempt_that_was_interrupted_are_not_doubled,
);

fn close(manager: &Started) -> workfleet_task_manager::CloseReport {
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    report
}

const LIMIT_BYTES: usize = 64 << 10;
const BEYOND_BYTES: usize = 32 << 10;
const SENT: u32 = 5000;

fn start_dropping(kind: Kind) -> Started {
    let overflow = InboxOverflow::DropOldest { beyond: BEYOND_BYTES };
    start!(kind, registry(), workers(1), inbox_limit(LIMIT_BYTES), inbox_overflow(overflow))
}

fn a_flood_that_nobody_reads_keeps_its_latest_and_tells_what_is_missing(kind: Kind) {
    let manager = start_dropping(kind);
    let mut reader = manager.messages::<Numbered>();
    manager.submit(Flood(SENT)).expect("it is taken").wait().expect("it is done, although nobody reads");
    let stats = manager.stats();
    assert!(stats.inbox_full);
    assert!(stats.inbox > 0 && stats.inbox * PADDING_BYTES <= LIMIT_BYTES + BEYOND_BYTES, "{stats:?}");
    assert_eq!(stats.inbox as u64 + stats.dropped_messages, u64::from(SENT));

    let gap = reader.next().expect("the first");
    match gap {
        Err(MessageError::Dropped { name, count, .. }) => {
            assert_eq!((name, count), (Some("numbered"), stats.dropped_messages));
        }
        other => panic!("{other:?}"),
    }
    let read: Vec<u32> = reader.map(|message| message.expect("no other gap").content.0).collect();
    assert!(read.iter().copied().eq(stats.dropped_messages as u32..SENT), "{read:?}");
    let report = close(&manager);
    assert_eq!((report.unread_messages, report.dropped_messages), (0, stats.dropped_messages));
    assert!(
        report.to_string().contains(&format!("{} messages dropped", report.dropped_messages)),
        "{report}"
    );
}

fn a_flood_of_a_type_that_nobody_has_read_tells_whoever_reads(kind: Kind) {
    let manager = start_dropping(kind);
    manager.submit(Flood(SENT)).expect("it is taken").wait().expect("it is done, although nobody reads");
    let dropped = manager.stats().dropped_messages;
    match manager.messages::<Ran>().next().expect("the first") {
        Err(MessageError::Dropped { name, count, .. }) => assert_eq!((name, count), (None, dropped)),
        other => panic!("{other:?}"),
    }
    let left = manager.messages::<Numbered>().map(|message| message.expect("a message").content.0);
    assert!(left.eq(dropped as u32..SENT));
    close(&manager);
}

fn a_pool_whose_inbox_has_dropped_goes_on_when_it_is_read(kind: Kind) {
    let manager = start_dropping(kind);
    manager.submit(Flood(SENT)).expect("it is taken").wait().expect("it is done, although nobody reads");
    for _ in 0..20 {
        manager.schedule_with(Flood(100), NORMAL).expect("it is taken");
    }
    until(|| manager.stats().queued == 20);
    // Closing reads, too, and what was dropped does not stop it.
    let report = close(&manager);
    assert_eq!(report.tasks.done, 21);
    assert_eq!(report.unread_messages + report.dropped_messages, u64::from(SENT) + 20 * 100);
}

fn a_flood_grows_where_nothing_else_was_asked_for(kind: Kind) {
    let manager = start!(kind, registry(), workers(1), inbox_limit(LIMIT_BYTES));
    manager.submit(Flood(SENT)).expect("it is taken").wait().expect("it is done, although nobody reads");
    let stats = manager.stats();
    assert_eq!((stats.inbox, stats.dropped_messages), (SENT as usize, 0));
    assert_eq!(manager.messages::<Numbered>().filter(Result::is_ok).count(), SENT as usize);
    close(&manager);
}

fn a_task_schedules_as_many_as_it_may_and_is_told_the_limit(kind: Kind) {
    for limit in [0, 1, 100] {
        let manager = start!(kind, registry(), workers(1), children_limit(limit));
        for _ in 0..2 {
            let parent = manager.submit(Parent(1000)).expect("it is taken");
            assert_eq!(parent.wait().expect("it is told, and goes on"), (limit, Some(limit)));
        }
        let within = manager.submit(Parent(limit)).expect("it is taken");
        assert_eq!(within.wait().expect("it is done"), (limit, None));
        let report = close(&manager);
        assert_eq!(report.tasks.done, 3 + 3 * u64::from(limit));
        assert_eq!(report.unread_messages, 3 * u64::from(limit));
    }
    let manager = start!(kind, registry(), workers(1));
    assert_eq!(manager.submit(Parent(3000)).expect("it is taken").wait().expect("it is done"), (3000, None));
    assert_eq!(close(&manager).tasks.done, 3001);
}

fn scheduling_waits_neither_for_a_worker_nor_for_a_reader(kind: Kind) {
    const CHILDREN: u32 = 200;
    let manager = start!(kind, registry(), workers(1), inbox_limit(LIMIT_BYTES));
    let parent = manager.submit(WideParent(CHILDREN)).expect("it is taken");
    parent.wait().expect("it is done, although nobody reads, and 12 MiB of tasks fit into no socket");
    let stats = manager.stats();
    assert!(stats.inbox_full, "so no child was begun while it ran");
    assert_eq!(stats.queued, CHILDREN as usize);
    assert_eq!(manager.messages::<Numbered>().filter(Result::is_ok).count(), SENT as usize);
    assert_eq!(close(&manager).tasks.done, 1 + u64::from(CHILDREN));
}

fn a_chain_is_one_task_for_the_limit_of_children(kind: Kind) {
    let manager = start!(kind, registry(), workers(1), children_limit(5));
    let chain = Chain::new().then(&Parent(3)).expect("a link").then(&Parent(3)).expect("a link");
    let outputs = manager.submit(chain).expect("it is taken").wait().expect("it is done");
    let outputs: Vec<_> = (0..2).map(|link| outputs.get::<Parent>(link).expect("it is an output")).collect();
    assert_eq!(outputs, [(3, None), (2, Some(5))]);
    assert_eq!(close(&manager).unread_messages, 5);
}

fn children_of_an_attempt_that_was_interrupted_are_not_doubled(kind: Kind) {
    let door = Door::new();
    let grace = Duration::from_millis(20);
    let manager =
        start!(kind, registry(), workers(1), async_tasks(3), children_limit(2), heartbeat_grace(grace),);
    let parent = manager.submit(ParentAtDoor(2, door.path())).expect("it is taken");
    let before = door.next();
    let ignores = manager.submit(Ignores(door.path())).expect("it is taken");
    let ignoring = door.next();
    // The worker is killed or abandoned for what runs beside the parent, which is run again.
    let failure = ignores.wait().expect_err("it is silent");
    assert!(matches!(failure.cause, FailureCause::HeartbeatTimeout { .. }), "{failure}");
    door.next().go_on();
    assert_eq!(
        parent.wait().expect("it is done"),
        (2, None, 2),
        "the next attempt may do what the first did"
    );
    [before, ignoring].into_iter().for_each(Guest::go_on);
    assert_eq!(manager.messages::<Ran>().filter(Result::is_ok).count(), 2);
    assert_eq!(manager.messages::<NoMessage>().count(), 0);
    assert_eq!(close(&manager).tasks.done, 3);
}
