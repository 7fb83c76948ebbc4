//! What only a pool of threads does: it leaves alone what it cannot kill, lets its own tasks close and drop it without
//! hanging, and hands no task to a thread that could not begin it.

mod support;

use std::{
    panic,
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, channel},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, assert_balanced,
    deeds::{self, deed},
    pool_threads,
    tasks::{Gate, Text, next_text},
    until,
};
use workfleet_task_manager::{
    AsyncTask, CloseError, ClosePolicy, FailureCause, ManagerExt, ManagerStartError, MessageSendError,
    Priority, Registry, ScheduleErrorKind, StartFailure, Task, TaskContext, TaskError, TaskFailure, TaskSpec,
    ThreadManager, ThreadManagerBuilder,
};

const NORMAL: Priority = Priority(1);
const URGENT: Priority = Priority(0);

/// A manager whose grace is far beyond the limit on hanging: whoever waits for it, hangs.
fn builder_of(registry: Registry, workers: usize) -> ThreadManagerBuilder {
    ThreadManager::builder(registry).workers(workers).grace(Duration::from_secs(3600))
}

fn start(workers: usize) -> ThreadManager {
    builder_of(deeds::registry(), workers).start().expect("it starts")
}

fn join(manager: &ThreadManager) {
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

fn cause(failure: &TaskFailure) -> &FailureCause {
    &failure.cause
}

/// Tells by the channel in which thread it is dropped.
struct TellsWhere(Sender<String>);

impl Drop for TellsWhere {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().unwrap_or_default().to_owned());
    }
}

#[test]
fn what_makes_sessions_is_not_dropped_on_the_managers_thread() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let (tell, told) = channel();
        let held = TellsWhere(tell);
        let registry = Registry::new().session(move || {
            let _ = &held;
            Ok(1_u64)
        });
        let manager = builder_of(registry, 2).start().expect("it starts");
        manager.close(policy).expect("it closes");
        drop(manager);
        let thread = told.recv().expect("it is dropped with its manager");
        assert_ne!(thread, "workfleet", "{policy:?}");
    }
}

/// [`alone`] finds a thread that is left.
#[test]
fn a_thread_that_becomes_ready_while_its_manager_closes_ends() {
    let _alone = alone();
    for policy in ClosePolicy::ALL.into_iter().cycle().take(60) {
        assert_balanced(&start(4).close(policy).expect("it closes"));
    }
}

#[test]
fn what_an_abandoned_task_says_late_is_refused_and_its_output_ignored() {
    let _alone = alone();
    for (policy, grace) in
        [(ClosePolicy::Cancel, Duration::from_millis(20)), (ClosePolicy::Kill, Duration::from_secs(3600))]
    {
        let manager = builder_of(deeds::registry(), 1).grace(grace).start().expect("it starts");
        let (tell_begun, begun) = channel();
        let (let_go, is_let_go) = channel::<()>();
        let (tell_late, late) = channel();
        let task = manager
            .submit(deed(move |cx| {
                cx.send_message(&Text("in time".into()))?;
                tell_begun.send(())?;
                // Until the test drops its end.
                let _ = is_let_go.recv();
                let sent = cx.send_message(&Text("late".into()));
                let scheduled = cx.schedule_with(deed(|_| Ok("never run".into())), NORMAL);
                let by_proxy = cx.proxy().send_message(&Text("late".into()));
                tell_late.send((
                    cx.is_cancelled(),
                    sent,
                    scheduled.map_err(|error| format!("{error:?}")),
                    by_proxy,
                ))?;
                Ok("late".into())
            }))
            .expect("it is taken");
        begun.recv().expect("it begins");
        let report = manager.close(policy).expect("it closes");
        assert_balanced(&report);
        assert_eq!((report.tasks.cancelled, report.unread_messages), (1, 1));
        let [abandoned] = &report.abandoned[..] else { panic!("{report}") };
        assert_eq!((&*abandoned.worker, abandoned.task, &*abandoned.name), ("worker-0", task.id(), "do"));
        // Its books are closed although it still runs.
        let failure = task.wait().expect_err("it was abandoned");
        assert_eq!((cause(&failure), failure.attempt), (&FailureCause::Cancelled, 1));

        drop(let_go);
        let (cancelled, sent, scheduled, by_proxy) = late.recv().expect("it goes on");
        assert!(cancelled, "it was told");
        assert!(matches!(sent, Err(MessageSendError::AttemptEnded)), "{sent:?}");
        assert!(matches!(by_proxy, Err(MessageSendError::AttemptEnded)), "{by_proxy:?}");
        assert_eq!(scheduled, Err(format!("{:?}", ScheduleErrorKind::AttemptEnded)));
        until(|| pool_threads().is_empty());
        let stats = manager.stats();
        assert_eq!((stats.tasks, stats.inbox), (report.tasks, 0), "what it yields late changes nothing");
    }
}

/// Waits, without blocking its thread, for what the test put here.
static PATIENCE: Mutex<Vec<tokio::sync::oneshot::Receiver<()>>> = Mutex::new(Vec::new());

#[derive(Debug, Serialize, Deserialize)]
struct Linger;

impl TaskSpec for Linger {
    const NAME: &'static str = "linger";
    type Output = ();
}

impl AsyncTask for Linger {
    async fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Text("begun".into()))?;
        let patience = PATIENCE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // An error is the end of the wait as well.
        let _ = patience.ok_or("nothing to wait for")?.await;
        Ok(())
    }
}

#[test]
fn every_task_that_shares_an_abandoned_thread_is_named() {
    let _alone = alone();
    let registry = deeds::registry().async_task::<Linger>();
    let manager = builder_of(registry, 1).async_tasks(3).start().expect("it starts");
    let (go, patience): (Vec<_>, Vec<_>) = (0..3).map(|_| tokio::sync::oneshot::channel::<()>()).unzip();
    *PATIENCE.lock().unwrap_or_else(PoisonError::into_inner) = patience;
    let tasks: Vec<_> = (0..3).map(|_| manager.submit(Linger).expect("it is taken")).collect();
    (0..3).for_each(|_| assert_eq!(next_text(&manager), "begun"));
    let waits = manager.submit(Linger).expect("it is taken");
    let report = manager.close(ClosePolicy::Kill).expect("it closes");
    assert_balanced(&report);
    assert_eq!((report.tasks.cancelled, report.tasks.returned, report.unstarted.len()), (3, 1, 1));
    let mut abandoned: Vec<_> = report.abandoned.iter().map(|left| left.task).collect();
    abandoned.sort_unstable();
    assert_eq!(abandoned, tasks.iter().map(|task| task.id()).collect::<Vec<_>>());
    for task in tasks {
        assert_eq!(cause(&task.wait().expect_err("it was abandoned")), &FailureCause::Cancelled);
    }
    assert_eq!(cause(&waits.wait().expect_err("it was not begun")), &FailureCause::Returned);
    drop(go);
}

#[test]
fn a_task_cannot_close_its_own_pool() {
    let _alone = alone();
    let manager = Arc::new(start(2));
    for policy in ClosePolicy::ALL {
        let own = Arc::downgrade(&manager);
        let close = deed(move |_| match own.upgrade().ok_or("it is gone")?.close(policy) {
            Err(CloseError::OwnThread) => Ok("refused".into()),
            other => Err(format!("{other:?}").into()),
        });
        assert_eq!(manager.submit(close).expect("it is taken").wait().expect("it is done"), "refused");
        let own = Arc::downgrade(&manager);
        let close =
            deed(move |_| match own.upgrade().ok_or("it is gone")?.close_async(policy).now_or_never() {
                Some(Err(CloseError::OwnThread)) => Ok("refused".into()),
                other => Err(format!("{other:?}").into()),
            });
        assert_eq!(manager.submit(close).expect("it is taken").wait().expect("it is done"), "refused");
    }
    // That of another is closed like any other.
    let other = start(1);
    let close = deed(move |_| Ok(other.close(ClosePolicy::Join)?.to_string()));
    manager.submit(close).expect("it goes on").wait().expect("it is done");
    join(&manager);
}

#[test]
fn the_last_owner_may_be_a_task_of_the_pool() {
    let _alone = alone();
    for _ in 0..20 {
        let manager = Arc::new(start(2));
        let obeys = manager.submit_with(Gate::Obey, URGENT).expect("it is taken");
        assert_eq!(next_text(&manager), "begun");
        let (give, given) = channel::<Arc<ThreadManager>>();
        let drops = manager.submit(deed(move |_| {
            drop(given.recv()?);
            Ok("dropped".into())
        }));
        let drops = drops.expect("it is taken");
        until(|| manager.stats().queued == 0);
        let waits = manager.submit(Gate::Finish).expect("it is taken");
        give.send(manager).expect("it waits");
        assert_eq!(cause(&obeys.wait().expect_err("it is told to stop")), &FailureCause::Cancelled);
        assert_eq!(cause(&waits.wait().expect_err("it is not begun")), &FailureCause::Returned);
        match drops.wait() {
            Ok(said) => assert_eq!(said, "dropped"),
            // The manager's end was faster than its own.
            Err(failure) => assert_eq!(cause(&failure), &FailureCause::Cancelled),
        }
    }
}

#[test]
fn sessions_that_fail_panic_or_take_too_long_fail_the_start() {
    let _alone = alone();
    let start_failure = |builder: ThreadManagerBuilder| match builder.outage_patience(Duration::ZERO).start()
    {
        Err(ManagerStartError::Workers(failure)) => failure,
        other => panic!("{other:?}"),
    };
    let registry = deeds::registry().session::<u32, _>(|| Err("no network".into()));
    match start_failure(builder_of(registry, 2)) {
        StartFailure::Session { reason, .. } => assert!(reason.contains("no network"), "{reason}"),
        other => panic!("{other}"),
    }
    let registry = deeds::registry().session::<u32, _>(|| panic!("no luck"));
    match start_failure(builder_of(registry, 2)) {
        StartFailure::Session { reason, .. } => assert!(reason.contains("no luck"), "{reason}"),
        other => panic!("{other}"),
    }
    let (go, patience) = channel::<()>();
    let patience = Mutex::new(patience);
    let registry = deeds::registry().session(move || {
        // Until the test drops its end.
        let _ = patience.lock().map_err(|error| error.to_string())?.recv();
        Ok(0_u32)
    });
    let limit = Duration::from_millis(20);
    match start_failure(builder_of(registry, 1).session_limit(limit)) {
        StartFailure::SessionTimeout { after, .. } => assert_eq!(after, limit),
        other => panic!("{other}"),
    }
    drop(go);
}

#[test]
fn a_thread_whose_session_failed_is_started_again() {
    let _alone = alone();
    let tries = AtomicUsize::new(0);
    let registry = deeds::registry().session(move || match tries.fetch_add(1, Ordering::Relaxed) {
        // Not the first: one has to start.
        1..4 => Err("not yet".into()),
        tries => Ok(tries),
    });
    let manager = builder_of(registry, 3).start().expect("one starts");
    all_ready(&manager, 3);
    let (ready, everybody) = (Arc::new(Barrier::new(3)), 3);
    let tasks: Vec<_> = (0..everybody)
        .map(|_| {
            let ready = Arc::clone(&ready);
            let session = deed(move |cx| {
                // Each on a thread of its own.
                ready.wait();
                Ok(cx.session::<usize>()?.to_string())
            });
            manager.submit(session).expect("it is taken")
        })
        .collect();
    let mut sessions: Vec<_> = tasks.into_iter().map(|task| task.wait().expect("it is done")).collect();
    sessions.sort_unstable();
    assert_eq!(sessions, ["0", "4", "5"]);
    join(&manager);
}

/// Says on which thread it was made, and on which dropped.
struct Noted {
    made_on: ThreadId,
    dropped: Sender<(ThreadId, ThreadId)>,
}

impl Drop for Noted {
    fn drop(&mut self) {
        // Nobody may want to know any more.
        let _ = self.dropped.send((self.made_on, thread::current().id()));
    }
}

fn noted() -> (Registry, Receiver<(ThreadId, ThreadId)>) {
    let (tell_dropped, dropped) = channel();
    let tell_dropped = Mutex::new(tell_dropped);
    let registry = deeds::registry().session(move || {
        let dropped = tell_dropped.lock().map_err(|error| error.to_string())?.clone();
        Ok(Noted { made_on: thread::current().id(), dropped })
    });
    (registry, dropped)
}

#[test]
fn a_session_is_made_once_on_its_thread_and_dropped_with_it() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let (registry, dropped) = noted();
        let manager = builder_of(registry, 3).start().expect("it starts");
        all_ready(&manager, 3);
        for _ in 0..50 {
            let made_here =
                deed(|cx| Ok((cx.session::<Noted>()?.made_on == thread::current().id()).to_string()));
            assert_eq!(manager.submit(made_here).expect("it is taken").wait().expect("it is done"), "true");
        }
        assert!(dropped.try_recv().is_err(), "they live as long as their threads");
        manager.close(policy).expect("it closes");
        // By now, not some time.
        let dropped: Vec<_> = dropped.try_iter().collect();
        assert_eq!(dropped.len(), 3);
        assert!(dropped.iter().all(|(made, dropped)| made == dropped));
    }
}

#[test]
fn the_session_of_an_abandoned_thread_goes_when_its_task_ends() {
    let _alone = alone();
    let (registry, dropped) = noted();
    let manager = builder_of(registry, 1).start().expect("it starts");
    manager.schedule_with(Gate::Ignore, NORMAL).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    assert_eq!(manager.close(ClosePolicy::Kill).expect("it closes").abandoned.len(), 1);
    drop(manager);
    assert!(dropped.try_recv().is_err(), "its task may use it");
    support::tasks::end_the_abandoned();
    let (made, dropped) = dropped.recv().expect("it is dropped");
    assert_eq!(made, dropped);
}

#[test]
fn a_close_does_not_wait_beyond_the_grace_for_a_session_that_is_never_made() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let (go, patience) = channel::<()>();
        let patience = Mutex::new(Some(patience));
        let (tell_waits, waits) = channel();
        let tell_waits = Mutex::new(tell_waits);
        let registry = deeds::registry().session(move || {
            // The other thread is the one that starts.
            let mine = patience.lock().map_err(|error| error.to_string())?.take();
            if let Some(patience) = mine {
                tell_waits.lock().map_err(|error| error.to_string())?.send(())?;
                let _ = patience.recv();
            }
            Ok(0_u32)
        });
        let grace = Duration::from_millis(20);
        let manager = builder_of(registry, 2).grace(grace).start().expect("one starts");
        waits.recv().expect("the other waits");
        assert_balanced(&manager.close(policy).expect("it closes"));
        drop(go);
    }
}

#[test]
fn a_panic_says_where_it_was_and_its_thread_lives_on() {
    let _alone = alone();
    let manager = start(1);
    let which = || {
        let which = deed(|_| Ok(format!("{:?}", thread::current().id())));
        manager.submit(which).expect("it is taken").wait().expect("it is done")
    };
    let fail = |panic: fn()| {
        let failure = manager.submit(deed(move |_| {
            panic();
            Ok(String::new())
        }));
        let failure = failure.expect("it is taken").wait().expect_err("it panics");
        match failure.into_report().cause {
            FailureCause::Panicked { message, location, .. } => (message, location),
            other => panic!("{other}"),
        }
    };
    let thread = which();
    let line = line!() + 1;
    let (message, location) = fail(|| panic!("out of luck"));
    assert_eq!(message, "out of luck");
    let location = location.expect("a location");
    assert!(location.contains(&format!("tests/threads.rs:{line}:")), "{location}");
    // One that runs no hook says nothing, and not where the one before was.
    let (message, location) = fail(|| panic::resume_unwind(Box::new("quiet")));
    assert_eq!((&*message, location), ("quiet", None));
    let (message, location) = fail(|| {
        let caught = panic::catch_unwind(|| panic!("caught"));
        assert!(caught.is_err());
        panic::resume_unwind(Box::new(7));
    });
    assert_eq!(message, "a value that is no text");
    assert!(location.is_none_or(|location| location.contains("tests/threads.rs")));
    assert_eq!(which(), thread);
    join(&manager);
}

#[test]
fn no_thread_is_handed_a_task_that_it_cannot_begin() {
    let _alone = alone();
    let manager = start(2);
    let (tell, order) = channel();
    let note = |what: &'static str| {
        let tell = tell.clone();
        deed(move |_| {
            tell.send(what)?;
            Ok(String::new())
        })
    };
    // Known to be short: a worker process would be handed many of them ahead.
    (0..100).for_each(|_| drop(manager.submit(deed(|_| Ok(String::new()))).expect("it is taken").wait()));
    let gates: Vec<_> = (0..2).map(|_| manager.submit(Gate::Finish).expect("it is taken")).collect();
    (0..2).for_each(|_| assert_eq!(next_text(&manager), "begun"));
    for _ in 0..50 {
        manager.schedule_with(note("normal"), NORMAL).expect("it is taken");
    }
    let stats = manager.stats();
    assert!(stats.workers.iter().all(|worker| worker.in_flight == 1), "{stats:?}");
    assert_eq!(stats.queued, 50);
    manager.schedule_with(note("urgent"), URGENT).expect("it is taken");
    // Whichever thread is free first: the other stays where it is.
    gates[1].cancel();
    assert_eq!(order.recv(), Ok("urgent"));
    (0..50).for_each(|_| assert_eq!(order.recv(), Ok("normal")));
    assert!(!gates[0].is_finished());
    gates[0].cancel();
    gates.into_iter().for_each(|gate| gate.wait().expect("it finishes"));
    join(&manager);
}

#[test]
fn a_hundred_managers_run_side_by_side() {
    let _alone = alone();
    let managers: Vec<_> = (0..100).map(|_| start(1)).collect();
    for round in 0..10 {
        let handles: Vec<_> = managers
            .iter()
            .map(|manager| manager.submit(deed(move |_| Ok(round.to_string()))).expect("it is taken"))
            .collect();
        handles
            .into_iter()
            .for_each(|handle| assert_eq!(handle.wait().expect("it is done"), round.to_string()));
    }
    for (manager, policy) in managers.iter().zip(ClosePolicy::ALL.into_iter().cycle()) {
        let report = manager.close(policy).expect("it closes");
        assert_balanced(&report);
        assert_eq!(report.tasks.done, 10);
    }
}

/// Counts how often it is run, schedules a child now and then, and asks whether it should stop.
static RUNS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Serialize, Deserialize)]
struct Run(u64);

impl TaskSpec for Run {
    const NAME: &'static str = "run";
    type Output = u64;
}

impl Task for Run {
    fn run(self, cx: &TaskContext) -> Result<u64, TaskError> {
        RUNS.fetch_add(1, Ordering::Relaxed);
        cx.send_message(&Text(String::new()))?;
        if self.0.is_multiple_of(5) {
            // It may have been abandoned meanwhile.
            let _ = cx.schedule_with(Run(self.0 + 1), URGENT);
        }
        cx.check_cancelled()?;
        Ok(self.0)
    }
}

#[test]
fn many_threads_schedule_cancel_read_and_close_at_once() {
    let _alone = alone();
    for (round, policy) in ClosePolicy::ALL.into_iter().cycle().take(60).enumerate() {
        let runs_before = RUNS.load(Ordering::Relaxed);
        let registry = deeds::registry().task::<Run>();
        let manager = builder_of(registry, 4).inbox_limit(1000).start().expect("it starts");
        let (begin, accepted, read) = (Barrier::new(6), AtomicU64::new(0), AtomicU64::new(0));
        let (handles, reports) = thread::scope(|scope| {
            let schedulers: Vec<_> = (0..3)
                .map(|scheduler| {
                    let (manager, begin, accepted) = (&manager, &begin, &accepted);
                    scope.spawn(move || {
                        begin.wait();
                        let mut handles = Vec::new();
                        for n in 0.. {
                            let Ok(handle) = manager.submit_with(Run(n), Priority((n % 2) as u8)) else {
                                break;
                            };
                            accepted.fetch_add(1, Ordering::Relaxed);
                            if n % 3 == scheduler {
                                handle.cancel();
                            }
                            handles.push((n, handle));
                        }
                        handles
                    })
                })
                .collect();
            let reader = scope.spawn(|| {
                begin.wait();
                read.fetch_add(
                    manager.messages::<Text>().filter(Result::is_ok).count() as u64,
                    Ordering::Relaxed,
                );
            });
            let closers: Vec<_> = [policy, ClosePolicy::ALL[round % 2]]
                .map(|policy| {
                    let (manager, begin, accepted) = (&manager, &begin, &accepted);
                    scope.spawn(move || {
                        begin.wait();
                        until(|| accepted.load(Ordering::Relaxed) > 200);
                        manager.close(policy).expect("it closes")
                    })
                })
                .into();
            let reports: Vec<_> =
                closers.into_iter().map(|closer| closer.join().expect("no panic")).collect();
            reader.join().expect("no panic");
            let handles = schedulers.into_iter().flat_map(|scheduler| scheduler.join().expect("no panic"));
            (handles.collect::<Vec<_>>(), reports)
        });
        reports.iter().for_each(assert_balanced);
        assert_eq!(handles.len() as u64, accepted.into_inner());
        for (n, handle) in handles {
            match handle.wait() {
                Ok(output) => assert_eq!(output, n),
                Err(failure) => assert!(
                    matches!(cause(&failure), FailureCause::Cancelled | FailureCause::Returned),
                    "{failure}"
                ),
            }
        }
        until(|| pool_threads().is_empty());
        let tasks = manager.stats().tasks;
        let runs = RUNS.load(Ordering::Relaxed) - runs_before;
        assert!(tasks.done <= runs && runs <= tasks.done + tasks.cancelled, "{runs} runs of {tasks}");
        let unread: u64 = reports.iter().map(|report| report.unread_messages).sum();
        assert!(tasks.done <= read.into_inner() + unread, "a task that is done has said so: {tasks}");
    }
}

#[test]
fn what_a_proxy_was_promised_while_its_task_ends_is_kept() {
    let _alone = alone();
    let manager = start(2);
    let (mut promised, mut refused) = (0, 0);
    for round in 0..300_u64 {
        let (tell, told) = mpsc::channel();
        let ended = Arc::new(AtomicU64::new(0));
        let child_runs = Arc::new(AtomicU64::new(0));
        let (sent, runs) = (Arc::clone(&ended), Arc::clone(&child_runs));
        let task = deed(move |cx| {
            let (proxy, said) = (cx.proxy(), Arc::clone(&sent));
            let speaker = thread::spawn(move || {
                let (mut messages, mut children) = (0_u64, 0_u64);
                loop {
                    match proxy.send_message(&Text(String::new())) {
                        Ok(()) => messages += 1,
                        Err(MessageSendError::AttemptEnded) => return (messages, children),
                        Err(error) => panic!("{error}"),
                    }
                    let runs = Arc::clone(&runs);
                    let child = deed(move |_| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        Ok(String::new())
                    });
                    match proxy.schedule_with(child, NORMAL) {
                        Ok(()) => children += 1,
                        Err(error) => {
                            assert!(matches!(error.kind(), ScheduleErrorKind::AttemptEnded), "{error}");
                            return (messages, children);
                        }
                    }
                    said.fetch_add(1, Ordering::Relaxed);
                }
            });
            tell.send(speaker)?;
            // It ends in the midst of what is said for it.
            while sent.load(Ordering::Relaxed) < round % 7 {
                thread::yield_now();
            }
            Ok(String::new())
        });
        manager.schedule_with(task, URGENT).expect("it is taken");
        let read = manager.messages::<Text>().inspect(|item| assert!(item.is_ok())).count() as u64;
        let (messages, children) = told.recv().expect("it has begun").join().expect("no panic");
        assert_eq!((read, child_runs.load(Ordering::Relaxed)), (messages, children));
        assert_eq!(manager.stats().inbox, 0, "nothing comes after the end");
        promised += messages;
        refused += 1;
    }
    assert!(promised > refused, "the race was run: {promised} messages");
    join(&manager);
}

/// Two threads of one task are slow to be told apart: neither's children may be taken for repetitions of the other's.
#[test]
fn all_children_are_run_that_the_threads_of_a_task_schedule_at_once() {
    const EACH: u64 = 2000;
    let _alone = alone();
    let manager = start(1);
    let runs = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&runs);
    let parent = deed(move |cx| {
        let together = Barrier::new(2);
        let schedules = || {
            together.wait();
            for _ in 0..EACH {
                let count = Arc::clone(&count);
                let child = deed(move |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok(String::new())
                });
                cx.schedule_with(child, NORMAL).expect("it is taken");
            }
        };
        thread::scope(|scope| {
            scope.spawn(schedules);
            schedules();
        });
        Ok(String::new())
    });
    manager.submit(parent).expect("it is taken").wait().expect("it is done");
    join(&manager);
    assert_eq!(runs.load(Ordering::Relaxed), 2 * EACH);
}

#[test]
fn a_waker_that_panics_costs_nobody_else_an_outcome() {
    struct Panics(AtomicU64);
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a waker that fails");
        }
    }
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let manager = start(1);
        let panics = Arc::new(Panics(AtomicU64::new(0)));
        let waker = std::task::Waker::from(Arc::clone(&panics));
        let mut cx = std::task::Context::from_waker(&waker);
        let (tell, told) = channel();
        let (let_go, is_let_go) = channel::<()>();
        let runs = deed(move |cx| {
            tell.send(())?;
            let _ = is_let_go.recv();
            cx.send_message(&Text(String::new()))?;
            Ok(String::new())
        });
        let mut runs = manager.submit(runs).expect("it is taken");
        told.recv().expect("it begins");
        let mut waits = manager.submit(deed(|_| Ok(String::new()))).expect("it is taken");
        let last = manager.submit(deed(|_| Ok(String::new()))).expect("it is taken");
        let mut stream = Box::pin(manager.message_stream::<Text>());
        assert!(std::pin::Pin::new(&mut runs).poll(&mut cx).is_pending());
        assert!(std::pin::Pin::new(&mut waits).poll(&mut cx).is_pending());
        assert!(futures_core::Stream::poll_next(stream.as_mut(), &mut cx).is_pending());
        if policy != ClosePolicy::Kill {
            drop(let_go);
        }
        assert_balanced(&manager.close(policy).expect("it closes"));
        assert!(runs.is_finished() && waits.is_finished() && last.is_finished());
        assert!(panics.0.load(Ordering::Relaxed) >= 3, "they were woken");
    }
}

#[test]
fn by_default_there_are_two_workers_for_each_core() {
    let _alone = alone();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let manager = ThreadManager::builder(deeds::registry()).start().expect("it starts");
    assert_eq!(manager.stats().workers.len(), 2 * cores);
    join(&manager);
}
