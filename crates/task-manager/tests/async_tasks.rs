//! Asynchronous tasks: how many of them a worker runs at once, and that each of them is a task of its own.

#[path = "support/both.rs"]
mod both;
mod support;

use std::{
    collections::HashSet,
    panic,
    path::PathBuf,
    process,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use both::{Door, GRACE, Guest, Kind, Started, messages, names, on_both, start};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{alone, assert_balanced, process::signal_itself, task::async_task, tasks::Text, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workfleet_task_manager::{
    ClosePolicy, ExitStatus, FailureCause, ManagerStartError, Pool, ProcessManager, Registry, Task,
    TaskContext, TaskError, TaskFailure, TaskHandle, TaskSpec, ThreadManager,
};

/// Waits at a door, and tells whether it was cancelled meanwhile.
#[derive(Debug, Serialize, Deserialize)]
struct Visit(PathBuf, String);
async_task!(Visit, "visit", bool, |self, cx| {
    let token = cx.cancellation_token();
    both::come_to(&self.0, &self.1).await?;
    VISITS.fetch_add(1, Ordering::Relaxed);
    Ok(cx.is_cancelled() || token.is_cancelled())
});

/// How many [`Visit`]s have ended in this process.
static VISITS: AtomicU32 = AtomicU32::new(0);

/// How many [`Together`] run in this process.
static TOGETHER: AtomicU32 = AtomicU32::new(0);

/// Lets others run for a while; the largest number that ran, itself included.
#[derive(Debug, Serialize, Deserialize)]
struct Together;
async_task!(Together, "together", u32, |self, _cx| {
    let mut most = TOGETHER.fetch_add(1, Ordering::Relaxed) + 1;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        most = most.max(TOGETHER.load(Ordering::Relaxed));
    }
    TOGETHER.fetch_sub(1, Ordering::Relaxed);
    Ok(most)
});

#[derive(Debug, Serialize, Deserialize)]
struct Nothing;
async_task!(Nothing, "nothing", (), |self, _cx| Ok(()));

/// Waits at a door, then panics.
#[derive(Debug, Serialize, Deserialize)]
struct PanicBehind(PathBuf);
async_task!(PanicBehind, "panic-behind", (), |self, _cx| {
    both::come_to(&self.0, "panic").await?;
    panic!("out of luck")
});

/// Catches a panic of its own, and panics in a way that no hook sees.
#[derive(Debug, Serialize, Deserialize)]
struct PanicQuietly;
async_task!(PanicQuietly, "panic-quietly", (), |self, _cx| {
    assert!(panic::catch_unwind(|| panic!("caught")).is_err());
    tokio::task::yield_now().await;
    panic::resume_unwind(Box::new("quiet"))
});

/// Says something and ends its process in order.
#[derive(Debug, Serialize, Deserialize)]
struct Exit;
async_task!(Exit, "exit", (), |self, cx| {
    cx.send_message(&Text("last words".into()))?;
    tokio::task::yield_now().await;
    process::exit(13)
});

/// Leaves a thread of its runtime behind that blocks forever.
#[derive(Debug, Serialize, Deserialize)]
struct LeaveBlocked;
async_task!(LeaveBlocked, "leave-blocked", (), |self, _cx| {
    let (begins, begun) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _ = begins.send(());
        loop {
            thread::park();
        }
    });
    Ok(begun.await?)
});

/// Comes to a door and leaves it when it is cancelled.
#[derive(Debug, Serialize, Deserialize)]
struct LeaveWhenCancelled(PathBuf, String);
async_task!(LeaveWhenCancelled, "leave-when-cancelled", (), |self, cx| {
    let token = cx.cancellation_token();
    tokio::select! {
        entered = both::come_to(&self.0, &self.1) => Ok(entered?),
        () = token.cancelled() => Ok(cx.check_cancelled()?),
    }
});

/// Says something and schedules a [`Say`] before and after it has waited at a door.
#[derive(Debug, Serialize, Deserialize)]
struct Family(PathBuf, String);
async_task!(Family, "family", (), |self, cx| {
    let Self(door, name) = self;
    for time in ["early", "late"] {
        cx.send_message(&Text(format!("{name} {time}")))?;
        cx.schedule(Say(format!("child of {name}, {time}")))?;
        if time == "early" {
            both::come_to(&door, &name).await?;
        }
    }
    Ok(())
});

/// Blocks its thread until it is cancelled, as no asynchronous task should.
#[derive(Debug, Serialize, Deserialize)]
struct BlockUntilCancelled;
async_task!(BlockUntilCancelled, "block-until-cancelled", (), |self, cx| {
    cx.send_message(&Text("blocks".into()))?;
    loop {
        cx.check_cancelled()?;
        thread::yield_now();
    }
});

/// Waits at a door in its first attempt and lets others run for a while in the next; which attempt it was, and how many
/// tasks that count ran beside it, itself included.
#[derive(Debug, Serialize, Deserialize)]
struct Innocent(PathBuf, String);
async_task!(Innocent, "innocent", (u32, u32), |self, cx| {
    let mut most = TOGETHER.fetch_add(1, Ordering::Relaxed) + 1;
    if cx.attempt() == 1 {
        both::come_to(&self.0, &self.1).await?;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        most = most.max(TOGETHER.load(Ordering::Relaxed));
    }
    TOGETHER.fetch_sub(1, Ordering::Relaxed);
    Ok((cx.attempt(), most))
});

/// Waits at a door in its first attempt, and kills its worker in each.
#[derive(Debug, Serialize, Deserialize)]
struct Culprit(PathBuf);
async_task!(Culprit, "culprit", (), |self, cx| {
    if cx.attempt() == 1 {
        both::come_to(&self.0, "culprit").await?;
    }
    signal_itself(Signal::KILL)
});

/// The same, with the thread to itself.
#[derive(Debug, Serialize, Deserialize)]
struct BlockingCulprit(PathBuf);
impl TaskSpec for BlockingCulprit {
    const NAME: &'static str = "blocking-culprit";
    type Output = ();
}
impl Task for BlockingCulprit {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        if cx.attempt() == 1 {
            both::wait_at(&self.0, "culprit")?;
        }
        signal_itself(Signal::KILL)
    }
}

/// Lets a future of its own run beside it, and yields what that yields.
#[derive(Debug, Serialize, Deserialize)]
struct Spawn(u32);
async_task!(Spawn, "spawn", u32, |self, _cx| {
    let doubled = tokio::spawn(async move {
        tokio::task::yield_now().await;
        2 * self.0
    });
    Ok(doubled.await?)
});

/// Sends a text to itself over the network, and sleeps meanwhile.
#[derive(Debug, Serialize, Deserialize)]
struct Echo(String);
async_task!(Echo, "echo", String, |self, _cx| {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut client = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
    let (mut server, _) = listener.accept().await?;
    tokio::time::sleep(Duration::from_millis(1)).await;
    server.write_all(self.0.as_bytes()).await?;
    drop(server);
    let mut echo = String::new();
    client.read_to_string(&mut echo).await?;
    Ok(echo)
});

/// Says something, with the thread to itself.
#[derive(Debug, Serialize, Deserialize)]
struct Say(String);
impl TaskSpec for Say {
    const NAME: &'static str = "say";
    type Output = ();
}
impl Task for Say {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Ok(cx.send_message(&Text(self.0))?)
    }
}

/// Waits at a door, with the thread to itself.
#[derive(Debug, Serialize, Deserialize)]
struct Block(PathBuf);
impl TaskSpec for Block {
    const NAME: &'static str = "block";
    type Output = ();
}
impl Task for Block {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(both::wait_at(&self.0, "block")?)
    }
}

/// Blocks its thread on a runtime of its own.
#[derive(Debug, Serialize, Deserialize)]
struct OwnRuntime;
impl TaskSpec for OwnRuntime {
    const NAME: &'static str = "own-runtime";
    type Output = u32;
}
impl Task for OwnRuntime {
    fn run(self, _cx: &TaskContext) -> Result<u32, TaskError> {
        Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(async { 7 }))
    }
}

fn registry() -> Registry {
    Registry::new()
        .async_task::<Visit>()
        .async_task::<Together>()
        .async_task::<Nothing>()
        .async_task::<PanicBehind>()
        .async_task::<PanicQuietly>()
        .async_task::<LeaveWhenCancelled>()
        .async_task::<Family>()
        .async_task::<BlockUntilCancelled>()
        .async_task::<Innocent>()
        .async_task::<Culprit>()
        .async_task::<Exit>()
        .async_task::<LeaveBlocked>()
        .async_task::<Spawn>()
        .async_task::<Echo>()
        .task::<BlockingCulprit>()
        .task::<Say>()
        .task::<Block>()
        .task::<OwnRuntime>()
}
workfleet_task_manager::test_worker!(registry());

/// One worker that runs this many at once.
fn one_worker(kind: Kind, at_once: u32) -> Started {
    start!(kind, registry(), workers(1), async_tasks(at_once))
}

fn visit(pool: &Pool, door: &Door, name: &str) -> TaskHandle<bool> {
    pool.submit(Visit(door.path(), name.to_owned())).expect("it is taken")
}

/// Takes the guest of this name out of them.
fn take(guests: &mut Vec<Guest>, name: &str) -> Guest {
    let place = guests.iter().position(|guest| guest.name == name).expect("it is there");
    guests.swap_remove(place)
}

/// What the only worker has in hand, and what waits for it.
fn in_hand(pool: &Pool) -> (usize, usize) {
    let stats = pool.stats();
    (stats.workers[0].in_flight, stats.queued)
}

on_both!(
    they_run_one_at_a_time_by_default,
    as_many_as_allowed_begin_and_the_next_when_one_of_them_ends,
    more_workers_run_more_of_them,
    blocking_tasks_run_beside_them,
    a_blocking_task_that_lasts_holds_them_up_only_while_it_does,
    a_panic_is_the_failure_of_its_own_task,
    a_cancellation_reaches_its_own_task,
    messages_and_children_belong_to_the_task_that_made_them,
    one_that_blocks_its_thread_is_cancelled_all_the_same,
    a_future_that_they_spawn_runs_and_so_do_time_and_network,
    the_largest_number_at_once_is_possible_and_one_more_is_refused,
    a_hundred_thousand_of_them,
    joining_waits_for_all_that_run,
    cancelling_ends_all_that_run_and_returns_the_others,
    killing_waits_for_none_of_them,
);

fn they_run_one_at_a_time_by_default(kind: Kind) {
    let default = start!(kind, registry(), workers(1));
    for manager in [default, one_worker(kind, 1)] {
        let handles: Vec<_> = (0..50).map(|_| manager.submit(Together).expect("it is taken")).collect();
        for handle in handles {
            assert_eq!(handle.wait().expect("it is done"), 1);
        }
    }
}

fn as_many_as_allowed_begin_and_the_next_when_one_of_them_ends(kind: Kind) {
    let manager = one_worker(kind, 3);
    let door = Door::new();
    let mut handles: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| visit(&manager, &door, name)).into();
    let mut guests = door.next_few(3);
    assert_eq!(names(&guests), ["a", "b", "c"]);
    assert_eq!(in_hand(&manager), (3, 2));

    take(&mut guests, "b").go_on();
    assert!(!handles.remove(1).wait().expect("it is done"));
    let next = door.next();
    assert_eq!((&*next.name, in_hand(&manager)), ("d", (3, 1)));
    next.go_on();
    let next = door.next();
    assert_eq!((&*next.name, in_hand(&manager)), ("e", (3, 0)));

    assert!(!door.has_another());
    guests.into_iter().chain([next]).for_each(Guest::go_on);
    handles.into_iter().for_each(|handle| assert!(!handle.wait().expect("it is done")));

    let handles: Vec<_> = (0..200).map(|_| manager.submit(Together).expect("it is taken")).collect();
    let most = handles.into_iter().map(|handle| handle.wait().expect("it is done")).max();
    assert_eq!(most, Some(3));
}

fn more_workers_run_more_of_them(kind: Kind) {
    let manager = start!(kind, registry(), workers(3), async_tasks(2));
    until(|| manager.stats().workers.iter().all(|worker| worker.ready));
    let door = Door::new();
    let handles: Vec<_> = (0..7).map(|n| visit(&manager, &door, &n.to_string())).collect();
    let guests = door.next_few(6);
    assert_eq!(names(&guests), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(manager.stats().queued, 1);
    assert!(manager.stats().workers.iter().all(|worker| worker.in_flight == 2));
    let processes: HashSet<_> = guests.iter().map(|guest| guest.pid).collect();
    assert_eq!(processes.len(), if kind == Kind::Processes { 3 } else { 1 });
    drop(guests);
    door.next().go_on();
    handles.into_iter().for_each(|handle| assert!(!handle.wait().expect("it is done")));
}

fn blocking_tasks_run_beside_them(kind: Kind) {
    let manager = one_worker(kind, 4);
    let door = Door::new();
    let handles = ["a", "b"].map(|name| visit(&manager, &door, name));
    let guests = door.next_few(2);
    for n in 0..20 {
        manager.schedule(Say(n.to_string())).expect("it is taken");
    }
    let runtime = manager.submit(OwnRuntime).expect("it is taken");
    assert_eq!(runtime.wait().expect("a runtime of its own is no matter"), 7);
    // They keep their order among themselves.
    let mut said = manager.messages::<Text>();
    for n in 0..20 {
        let message = said.next().expect("the others still run").expect("a message");
        assert_eq!(message.content.0, n.to_string());
    }
    drop(guests);
    handles.into_iter().for_each(|handle| assert!(!handle.wait().expect("it is done")));
    assert!(said.next().is_none());
}

fn a_blocking_task_that_lasts_holds_them_up_only_while_it_does(kind: Kind) {
    let manager = one_worker(kind, 4);
    let door = Door::new();
    let first = visit(&manager, &door, "a");
    let guest = door.next();
    let blocking = manager.submit(Block(door.path())).expect("it is taken");
    let block = door.next();
    // Far longer than it takes a worker to be seen to make no progress: nothing comes through this channel.
    let (_keep, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
    let others = ["b", "c", "d"].map(|name| visit(&manager, &door, name));
    block.go_on();
    blocking.wait().expect("it is done");
    let guests = door.next_few(3);
    assert_eq!((names(&guests), in_hand(&manager)), (vec!["b", "c", "d"], (4, 0)));
    drop(guests);
    guest.go_on();
    [first].into_iter().chain(others).for_each(|handle| assert!(!handle.wait().expect("it is done")));
}

fn a_panic_is_the_failure_of_its_own_task(kind: Kind) {
    let manager = one_worker(kind, 4);
    let door = Door::new();
    let handles = ["a", "b"].map(|name| visit(&manager, &door, name));
    let panicking = manager.submit(PanicBehind(door.path())).expect("it is taken");
    let mut guests = door.next_few(3);
    take(&mut guests, "panic").go_on();
    let failure = panicking.wait().expect_err("it panics");
    assert!(
        matches!(&failure.cause, FailureCause::Panicked { message, location: Some(location), .. }
            if message == "out of luck" && location.contains("async_tasks.rs")),
        "{failure}"
    );
    // A panic that was caught has nothing to do with one that comes later.
    let failure = manager.submit(PanicQuietly).expect("it is taken").wait().expect_err("it panics");
    assert!(
        matches!(&failure.cause, FailureCause::Panicked { message, location: None, .. } if message == "quiet"),
        "{failure}"
    );
    drop(guests);
    handles.into_iter().for_each(|handle| assert!(!handle.wait().expect("it is done")));
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.failed), (2, 2));
}

fn a_cancellation_reaches_its_own_task(kind: Kind) {
    let manager = one_worker(kind, 4);
    let door = Door::new();
    let others = ["a", "b"].map(|name| visit(&manager, &door, name));
    let meant: Vec<_> = ["c", "d"]
        .map(|name| manager.submit(LeaveWhenCancelled(door.path(), name.into())).expect("it is taken"))
        .into();
    let mut guests = door.next_few(4);
    let [c, d] = <[_; 2]>::try_from(meant).expect("two");
    c.cancel();
    assert_eq!(c.wait().expect_err("it is cancelled").cause, FailureCause::Cancelled);
    take(&mut guests, "d").go_on();
    d.wait().expect("it was not cancelled");
    drop(guests);
    others.into_iter().for_each(|handle| assert!(!handle.wait().expect("it is done")));
}

fn messages_and_children_belong_to_the_task_that_made_them(kind: Kind) {
    let manager = one_worker(kind, 8);
    let door = Door::new();
    let families: Vec<_> = ["a", "b", "c"]
        .map(|name| (name, manager.submit(Family(door.path(), name.into())).expect("it is taken")))
        .into();
    let guests = door.next_few(3);
    // In another order than they came.
    guests.into_iter().rev().for_each(Guest::go_on);
    let ids: Vec<_> = families.iter().map(|(name, handle)| (*name, handle.id())).collect();
    families.into_iter().for_each(|(_, handle)| handle.wait().expect("it is done"));
    let messages = messages::<Text>(&manager);
    for (name, id) in &ids {
        let own: Vec<_> = messages.iter().filter(|message| message.task == Some(*id)).collect();
        let texts: Vec<_> = own.iter().map(|message| &*message.content.0).collect();
        assert_eq!(texts, [format!("{name} early"), format!("{name} late")]);
        assert!(own.iter().all(|message| message.attempt == 1));
    }
    let mut children: Vec<_> =
        messages.iter().filter(|message| message.content.0.starts_with("child")).collect();
    children.sort_unstable_by(|a, b| a.content.cmp(&b.content));
    let texts: Vec<_> = children.iter().map(|message| &*message.content.0).collect();
    let expected: Vec<_> = ["a", "b", "c"]
        .iter()
        .flat_map(|name| ["early", "late"].map(|time| format!("child of {name}, {time}")))
        .collect();
    assert_eq!(texts, expected);
    let tasks: HashSet<_> = messages.iter().map(|message| message.task).collect();
    assert_eq!((messages.len(), tasks.len()), (12, 9));
}

fn one_that_blocks_its_thread_is_cancelled_all_the_same(kind: Kind) {
    let manager = one_worker(kind, 4);
    let door = Door::new();
    let beside = visit(&manager, &door, "beside");
    let guest = door.next();
    let blocking = manager.submit(BlockUntilCancelled).expect("it is taken");
    assert_eq!(manager.messages::<Text>().next().expect("it begins").expect("a message").content.0, "blocks");
    // It could go on, if it had the thread.
    guest.go_on();
    assert!(!beside.is_finished());
    blocking.cancel();
    assert_eq!(blocking.wait().expect_err("it is cancelled").cause, FailureCause::Cancelled);
    assert!(!beside.wait().expect("it has its thread again"));
}

fn a_future_that_they_spawn_runs_and_so_do_time_and_network(kind: Kind) {
    for at_once in [1, 4] {
        let manager = one_worker(kind, at_once);
        let doubled: Vec<_> = (0..10).map(|n| manager.submit(Spawn(n)).expect("it is taken")).collect();
        let echoes: Vec<_> =
            (0..10).map(|n| manager.submit(Echo(n.to_string())).expect("it is taken")).collect();
        for (n, (doubled, echo)) in (0..).zip(doubled.into_iter().zip(echoes)) {
            assert_eq!(doubled.wait().expect("it is done"), 2 * n);
            assert_eq!(echo.wait().expect("it is done"), n.to_string());
        }
    }
}

fn the_largest_number_at_once_is_possible_and_one_more_is_refused(kind: Kind) {
    const MOST: u32 = 256;
    let manager = one_worker(kind, MOST);
    let door = Door::new();
    let handles: Vec<_> = (0..=MOST).map(|n| visit(&manager, &door, &format!("{n:03}"))).collect();
    let guests = door.next_few(MOST as usize);
    assert_eq!(in_hand(&manager), (MOST as usize, 1));
    drop(guests);
    door.next().go_on();
    handles.into_iter().for_each(|handle| assert!(!handle.wait().expect("it is done")));
    manager.close(ClosePolicy::Join).expect("it closes");
    for at_once in [0, MOST + 1] {
        let refused = match kind {
            Kind::Processes => ProcessManager::builder(registry()).async_tasks(at_once).start().map(drop),
            Kind::Threads => ThreadManager::builder(registry()).async_tasks(at_once).start().map(drop),
        };
        assert!(
            matches!(refused, Err(ManagerStartError::Setting { setting: "async_tasks", .. })),
            "{refused:?}"
        );
    }
}

fn a_hundred_thousand_of_them(kind: Kind) {
    const TASKS: u64 = 100_000;
    let manager = start!(kind, registry(), workers(2), async_tasks(64));
    let handles: Vec<_> = (0..TASKS / 2).map(|_| manager.submit(Nothing).expect("it is taken")).collect();
    (0..TASKS / 2).for_each(|_| manager.schedule(Nothing).expect("it is taken"));
    handles.into_iter().for_each(|handle| handle.wait().expect("it is done"));
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.scheduled, report.tasks.done), (TASKS, TASKS));
}

/// Two that run, and one that waits.
fn two_and_one(pool: &Pool, door: &Door) -> (Vec<TaskHandle<()>>, Vec<Guest>) {
    let handles = ["a", "b", "c"]
        .map(|name| pool.submit(LeaveWhenCancelled(door.path(), name.into())).expect("it is taken"));
    (handles.into(), door.next_few(2))
}

fn joining_waits_for_all_that_run(kind: Kind) {
    let manager = one_worker(kind, 2);
    let door = Door::new();
    let (handles, guests) = two_and_one(&manager, &door);
    let report = thread::scope(|scope| {
        let closing = scope.spawn(|| manager.close(ClosePolicy::Join).expect("it closes"));
        // When nothing is taken from outside any more, it has begun.
        until(|| manager.schedule(Nothing).is_err());
        drop(guests);
        door.next().go_on();
        closing.join().expect("it does not panic")
    });
    handles.into_iter().for_each(|handle| handle.wait().expect("it is done"));
    assert_balanced(&report);
    assert_eq!(report.tasks.done, report.tasks.scheduled);
}

fn causes(handles: Vec<TaskHandle<()>>) -> Vec<FailureCause> {
    let failure = |handle: TaskHandle<()>| handle.wait().expect_err("it does not end well");
    handles.into_iter().map(|handle| failure(handle).into_report().cause).collect()
}

fn cancelling_ends_all_that_run_and_returns_the_others(kind: Kind) {
    let manager = one_worker(kind, 2);
    let door = Door::new();
    let (handles, _guests) = two_and_one(&manager, &door);
    let report = manager.close(ClosePolicy::Cancel).expect("it closes");
    assert_balanced(&report);
    assert_eq!((report.tasks.cancelled, report.tasks.returned), (2, 1), "{report}");
    assert_eq!((report.unstarted.len(), report.abandoned.len()), (1, 0));
    let causes = causes(handles);
    assert_eq!(causes[..2], [FailureCause::Cancelled, FailureCause::Cancelled]);
    assert_eq!(causes[2], FailureCause::Returned);
}

fn killing_waits_for_none_of_them(kind: Kind) {
    let manager = one_worker(kind, 2);
    let door = Door::new();
    let handles = ["a", "b", "c"].map(|name| visit(&manager, &door, name));
    let guests = door.next_few(2);
    let report = manager.close(ClosePolicy::Kill).expect("it closes");
    assert_balanced(&report);
    assert_eq!((report.tasks.cancelled, report.tasks.returned), (2, 1), "{report}");
    let mut abandoned: Vec<_> = report.abandoned.iter().map(|left| (&*left.name, left.task)).collect();
    abandoned.sort_unstable();
    match kind {
        Kind::Processes => assert_eq!(abandoned, []),
        Kind::Threads => assert_eq!(abandoned, [("visit", handles[0].id()), ("visit", handles[1].id())]),
    }
    // Before those that are abandoned are let go on.
    for handle in handles {
        let cause = handle.wait().expect_err("it is not done").into_report().cause;
        assert!(matches!(cause, FailureCause::Cancelled | FailureCause::Returned), "{cause}");
    }
    let ended = VISITS.load(Ordering::Relaxed);
    drop(guests);
    if kind == Kind::Threads {
        // They were left alone, not dropped in the middle.
        until(|| VISITS.load(Ordering::Relaxed) == ended + 2);
    }
}

/// Four innocents and a culprit run at once on one worker, which the culprit kills whenever it runs, while others wait.
fn one_of_five_kills_its_worker(
    at_once: u32,
    is_first: bool,
    culprit: impl Fn(&Pool, PathBuf) -> TaskHandle<()>,
) {
    let _alone = alone();
    let manager = one_worker(Kind::Processes, at_once);
    let door = Door::new();
    let first = is_first.then(|| culprit(&manager, door.path()));
    let innocent = |name: &str| manager.submit(Innocent(door.path(), name.into())).expect("it is taken");
    let innocents = ["a", "b", "c", "d"].map(innocent);
    let mut guests = door.next_few(if is_first { 5 } else { 4 });
    let culprit = first.unwrap_or_else(|| culprit(&manager, door.path()));
    let trigger = if is_first { take(&mut guests, "culprit") } else { door.next() };
    assert!(guests.iter().all(|guest| guest.pid == trigger.pid));
    // There is no room for them yet.
    (0..50).for_each(|_| manager.schedule(Together).expect("it is taken"));
    trigger.go_on();

    for innocent in innocents {
        // Its second attempt, and with nobody beside it: not one of the deaths is its own.
        assert_eq!(innocent.wait().expect("it is done in the end"), (2, 1));
    }
    let failure: TaskFailure = culprit.wait().expect_err("it is given up");
    assert_eq!(failure.cause, FailureCause::WorkerDied);
    // The first death could have been anybody's.
    assert_eq!((failure.attempt, failure.deaths.len()), (4, 3));
    assert!(failure.deaths.iter().all(|death| death.charged == Some(failure.task)), "{failure}");
    let processes: HashSet<_> = failure.deaths.iter().map(|death| death.pid).collect();
    assert_eq!(processes.len(), 3);

    // Afterwards they run beside one another as ever.
    let visits = ["e", "f"].map(|name| visit(&manager, &door, name));
    drop(door.next_few(2));
    visits.into_iter().for_each(|visit| assert!(!visit.wait().expect("it is done")));
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.failed), (56, 1));
}

#[test]
fn a_death_is_charged_to_none_of_those_that_ran_until_one_is_alone_with_it() {
    one_of_five_kills_its_worker(5, true, |pool, door| pool.submit(Culprit(door)).expect("it is taken"));
}

#[test]
fn a_blocking_task_that_kills_its_worker_is_told_from_those_beside_it() {
    // It has the thread to itself: the others have to be there before.
    one_of_five_kills_its_worker(4, false, |pool, door| {
        pool.submit(BlockingCulprit(door)).expect("it is taken")
    });
}

#[test]
fn one_that_ran_alone_is_charged_with_its_workers_death_at_once() {
    let _alone = alone();
    let manager = one_worker(Kind::Processes, 8);
    let door = Door::new();
    // Its neighbour has ended well before: it is no suspect.
    let neighbour = visit(&manager, &door, "neighbour");
    let culprit = manager.submit(Culprit(door.path())).expect("it is taken");
    let mut guests = door.next_few(2);
    take(&mut guests, "neighbour").go_on();
    assert!(!neighbour.wait().expect("it is done"));
    drop(guests);
    let failure = culprit.wait().expect_err("it is given up");
    assert_eq!((failure.attempt, failure.deaths.len()), (3, 3));
}

#[test]
fn one_that_blocks_its_thread_keeps_its_worker_from_nothing_but_tasks() {
    let _alone = alone();
    let limit = Duration::from_millis(500);
    let builder = ProcessManager::builder(registry()).workers(1).async_tasks(4).grace(GRACE);
    let manager = builder.silence_limit(limit).start().expect("it starts");
    let door = Door::new();
    let beside = visit(&manager, &door, "beside");
    let guest = door.next();
    let blocking = manager.submit(BlockUntilCancelled).expect("it is taken");
    assert_eq!(manager.messages::<Text>().next().expect("it begins").expect("a message").content.0, "blocks");
    // As long as it takes to kill a worker that is silent: nothing comes through this channel.
    let (_keep, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(3 * limit), Err(mpsc::RecvTimeoutError::Timeout));
    blocking.cancel();
    let failure = blocking.wait().expect_err("it is cancelled");
    assert_eq!((&failure.cause, failure.attempt, failure.deaths.len()), (&FailureCause::Cancelled, 1, 0));
    guest.go_on();
    assert!(!beside.wait().expect("its worker was not killed: it would come to the door again"));
}

#[test]
fn what_an_asynchronous_task_said_before_it_exits_arrives() {
    let _alone = alone();
    for at_once in [1, 4] {
        let builder = ProcessManager::builder(registry()).workers(1).async_tasks(at_once).grace(GRACE);
        let manager = builder.crash_limit(1).start().expect("it starts");
        let failure = manager.submit(Exit).expect("it is taken").wait().expect_err("its worker is gone");
        assert_eq!(failure.deaths[0].status, ExitStatus::Exited(13), "{failure}");
        let said: Vec<_> =
            manager.messages::<Text>().map(|item| item.expect("a message").content.0).collect();
        assert_eq!(said, ["last words"]);
        assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
    }
}

#[test]
fn a_worker_exits_whatever_its_tasks_have_left_blocking() {
    let _alone = alone();
    for at_once in [1, 4] {
        let builder = ProcessManager::builder(registry()).workers(1).async_tasks(at_once).grace(GRACE);
        let manager = builder.start().expect("it starts");
        manager.submit(LeaveBlocked).expect("it is taken").wait().expect("it is done");
        // Its grace is far beyond the limit on hanging.
        assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
    }
}
