//! Groups: their start, their ends and restarts, their stop.

mod support;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use support::{Act, Explosive, Journal, Scripted, blocker, ends, seconds, two_threads, watchdog};
use tokio::{sync::Notify, time::Instant};
use workfleet_worker_lifecycle::{
    AddError, Backoff, Budget, ChildSpec, Ending, RemoveError, Restart, RestartStrategy, StartError, Status,
    StatusSource, StopOrder, Worker, WorkerContext, WorkerError, WorkerHandle, WorkerRef, WorkerState,
    Workers, start, worker_fn,
};

/// Delays without jitter: 1, 2, 4, … seconds.
fn backoff() -> Backoff {
    Backoff::new(seconds(1), seconds(60)).with_spread(0)
}

fn group() -> Workers {
    Workers::new("group").with_grace(seconds(10)).with_backoff(backoff())
}

/// Only the lines that end with one of these words.
fn only(journal: &Journal, words: &[&str]) -> Vec<String> {
    journal.lines().into_iter().filter(|line| words.iter().any(|word| line.ends_with(word))).collect()
}

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_each_waits_for_the_one_before() {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let slow = Scripted::new("slow", &journal).on_startup(Act::Await(Arc::clone(&gate)));
    let group = group()
        .with_child(ChildSpec::once(Scripted::new("late", &journal)).with_phase(2))
        .with_child(slow)
        .with_child(Scripted::new("next", &journal));
    let handle = WorkerHandle::new(group);
    let (started, ()) = tokio::join!(ends(handle.startup()), async {
        tokio::time::sleep(seconds(5)).await;
        assert_eq!(journal.lines(), ["slow on_startup"]);
        assert!(!handle.status().ready);
        gate.notify_one();
    });
    started.expect("it starts");
    assert!(handle.status().ready);
    assert_eq!(
        only(&journal, &[" on_startup", " up"]),
        ["slow on_startup", "slow up", "next on_startup", "next up", "late on_startup", "late up"]
    );
    let names: Vec<String> = handle.workers().iter().map(|worker| worker.name().to_owned()).collect();
    assert_eq!(names, ["slow", "next", "late"]);
}

// aio-fluid: one child stopping stops the group, a deaf child included.
#[tokio::test(start_paused = true)]
async fn a_child_that_ends_by_itself_stops_the_group() {
    let journal = Journal::default();
    let group = group()
        .with_child(Scripted::new("short", &journal).run(Act::Last(seconds(3), false)))
        .with_child(Scripted::new("polite", &journal))
        .with_child(Scripted::new("deaf", &journal).run(Act::Deaf).grace(4));
    let group = start(group).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(group.wait_for_shutdown()).await;
    assert_eq!((outcome.state(), outcome.failures().len()), (WorkerState::ForceStopped, 0));
    assert_eq!(begun.elapsed().as_secs(), 7);
    let report = outcome.report().expect("it has stopped");
    assert_eq!(report.to_string().lines().next(), Some(&*format!("stopped in {:?}", report.took)));
    let held_up = report.held_up_by();
    assert_eq!((held_up.len(), held_up[0].path[0].as_str(), held_up[0].is_stuck), (1, "deaf", false));
    assert_eq!(report.slowest().expect("two have stopped").name, "deaf");
    assert_eq!(report.children.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_leaves_the_group_stopped() {
    let short = |cx: WorkerContext| async move {
        cx.until_stopping(tokio::time::sleep(seconds(1))).await;
    };
    let group = start(group().with_child(short)).await.expect("it starts");
    assert_eq!(ends(group.wait_for_shutdown()).await.state(), WorkerState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn aio_fluid_fault_a_group_with_a_failed_child_ends_stopped() {
    for act in [Act::Last(seconds(1), true), Act::PanicAfter(seconds(1))] {
        let journal = Journal::default();
        let group = group()
            .with_child(Scripted::new("bad", &journal).run(act))
            .with_child(Scripted::new("ok", &journal));
        let group = start(group).await.expect("it starts");
        let outcome = ends(group.wait_for_shutdown()).await;
        assert_eq!((outcome.state(), outcome.code()), (WorkerState::Failed, 2));
        let shown = outcome.into_result().expect_err("it failed").to_string();
        assert!(shown.starts_with("run failed: the child `bad` failed: run "), "{shown}");
        // The other was stopped properly.
        journal.assert_has("ok after_shutdown 0 normal shutdown");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_while_it_is_stopped_fails_the_group() {
    let group = group().with_child(Scripted::new("bad", &Journal::default()).run(Act::ObeyAndFail));
    let group = start(group).await.expect("it starts");
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    let shown = outcome.into_result().expect_err("it failed").to_string();
    assert_eq!(shown, "on_shutdown failed: the child `bad` failed: run failed: as told");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_start_fails_the_start_and_stops_the_others() {
    let journal = Journal::default();
    let group = group()
        .with_child(Scripted::new("first", &journal))
        // Restarts are for what was up.
        .with_child(ChildSpec::new({
            let journal = journal.clone();
            move || Scripted::new("bad", &journal).on_startup(Act::Fail)
        }))
        .with_child(Scripted::new("never", &journal));
    let handle = WorkerHandle::new(group);
    let error = ends(handle.startup()).await.expect_err("a child did not start");
    assert!(matches!(error, StartError::Failed { .. }), "{error}");
    assert_eq!(
        format!("{error:?}"),
        "the worker `group` did not start: on_startup failed: the child `bad` did not start: on_startup failed: as told"
    );
    assert_eq!(handle.state(), WorkerState::Failed);
    let lines = journal.lines();
    assert!(
        lines.contains(&"first down".into()) && !lines.iter().any(|line| line.starts_with("never on")),
        "{lines:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_while_the_group_is_starting_stops_it() {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let group = group()
        .with_child(Scripted::new("dies", &journal).run(Act::Fail))
        .with_child(Scripted::new("slow", &journal).on_startup(Act::Await(gate)));
    let error = ends(start(group)).await.expect_err("a child died");
    assert!(format!("{error:?}").contains("the child `dies` failed: run failed: as told"), "{error}");
    // The slow one was asked, did not listen, and was aborted at the deadline.
    journal.assert_has("slow after_shutdown 1 forced shutdown");
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_start_stops_who_is_up_and_starts_nobody_more() {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let group = group()
        .with_child(Scripted::new("up", &journal))
        .with_child(Scripted::new("slow", &journal).on_startup(Act::Await(Arc::clone(&gate))))
        .with_child(Scripted::new("never", &journal));
    let handle = WorkerHandle::new(group);
    let (started, outcome) = tokio::join!(ends(handle.startup()), async {
        tokio::time::sleep(seconds(1)).await;
        let shutdown = handle.shutdown();
        gate.notify_one();
        ends(shutdown).await.expect("groups are not stuck")
    });
    assert!(matches!(started, Err(StartError::Stopped { .. })), "{started:?}");
    assert_eq!(outcome.state(), WorkerState::Stopped);
    assert_eq!(only(&journal, &["dropped"]).len(), 3);
    assert!(!journal.lines().iter().any(|line| line.starts_with("never on")));
}

// aio-fluid: children with a longer grace than their parent do not outlive it.
#[tokio::test(start_paused = true)]
async fn aio_fluid_fault_a_force_stopped_parent_leaves_a_child_alive() {
    let journal = Journal::default();
    let deaf = |name| Scripted::new(name, &journal).run(Act::Deaf).grace(100);
    let inner = Workers::new("inner").with_grace(seconds(50)).with_child(deaf("deep"));
    let group = Workers::new("outer").with_grace(seconds(5)).with_child(deaf("shallow")).with_child(inner);
    let group = start(group).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    // One deadline for the whole tree.
    assert_eq!((outcome.state(), begun.elapsed().as_secs()), (WorkerState::ForceStopped, 5));
    assert_eq!(only(&journal, &["dropped"]).len(), 2);
    let mut held_up: Vec<String> =
        outcome.report().expect("it has stopped").held_up_by().iter().map(|one| one.path.join("/")).collect();
    held_up.sort();
    assert_eq!(held_up, ["inner/deep", "shallow"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_with_a_shorter_grace_is_aborted_before_the_group_is() {
    let journal = Journal::default();
    let group = group()
        .with_child(Scripted::new("deaf", &journal).run(Act::Deaf).grace(2))
        .with_child(Scripted::new("slow", &journal).run(Act::Linger(seconds(6))));
    let group = start(group).await.expect("it starts");
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    let report = outcome.report().expect("it has stopped");
    let took: Vec<_> =
        report.children.iter().map(|child| (child.name.as_str(), child.took.as_secs())).collect();
    assert_eq!(took, [("deaf", 2), ("slow", 6)]);
}

#[tokio::test(start_paused = true)]
async fn an_abort_reaches_every_child_at_once() {
    let journal = Journal::default();
    let inner = Workers::new("inner").with_child(Scripted::new("deep", &journal).run(Act::Deaf));
    let group = start(group().with_child(inner)).await.expect("it starts");
    group.gracefully_stop();
    assert!(group.wait_timeout(seconds(5)).await.is_none());
    let begun = Instant::now();
    group.abort();
    assert_eq!(ends(group.wait_for_shutdown()).await.state(), WorkerState::ForceStopped);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn phases_stop_in_reverse() {
    let journal = Journal::default();
    let child = |name, phase| {
        ChildSpec::once(Scripted::new(name, &journal).run(Act::Linger(seconds(1)))).with_phase(phase)
    };
    let group = group().with_stop_order(StopOrder::ReversePhases);
    let group = group
        .with_child(child("a0", 0))
        .with_child(child("b1", 1))
        .with_child(child("c1", 1))
        .with_child(child("d2", 2));
    let group = start(group).await.expect("it starts");
    let begun = Instant::now();
    ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(only(&journal, &[" down"]), ["d2 down", "b1 down", "c1 down", "a0 down"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_group_runs_until_it_is_stopped() {
    let group = start(group()).await.expect("it starts");
    assert!(group.wait_timeout(seconds(3600)).await.is_none());
    assert!(group.status().ready);
    assert_eq!(ends(group.shutdown()).await.expect("groups are not stuck").state(), WorkerState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn two_children_of_one_name_stay_two() {
    let journal = Journal::default();
    let inner = Workers::new("twins")
        .with_child(Scripted::new("x", &journal))
        .with_child(Scripted::new("x", &journal));
    let group = start(group().with_child(inner)).await.expect("it starts");
    let status = group.status();
    let names = |status: &Status| status.children.iter().map(|child| child.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&status), names(&status.children[0])),
        (vec!["twins".into()], vec!["x".into(), "x".into()])
    );
    let lines =
        "group running for 0ms\n  twins running for 0ms\n    x running for 0ms\n    x running for 0ms";
    assert_eq!(status.to_string(), lines);
}

/// A child that can be restarted, whose lives are counted.
fn restarted(name: &'static str, journal: &Journal, run: Act) -> (ChildSpec, Arc<AtomicU32>) {
    let lives = Arc::new(AtomicU32::new(0));
    let (count, journal) = (Arc::clone(&lives), journal.clone());
    let spec = ChildSpec::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Scripted::new(name, &journal).run(run.clone())
    });
    (spec, lives)
}

#[tokio::test(start_paused = true)]
async fn a_child_is_restarted_with_growing_delays_until_the_budget_is_spent() {
    let (spec, lives) = restarted("flaky", &Journal::default(), Act::Fail);
    let group = group().with_budget(Budget::new(3, seconds(60))).with_child(spec);
    let group = start(group).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(group.wait_for_shutdown()).await;
    assert_eq!((lives.load(Ordering::Relaxed), begun.elapsed().as_secs()), (4, 1 + 2 + 4));
    assert_eq!(
        outcome.into_result().expect_err("the budget is spent").to_string(),
        "run failed: the child `flaky` ended, and the budget of 3 restarts within 60s is spent: run failed: as told"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_storm_on_a_paused_clock_ends() {
    let (spec, lives) = restarted("flaky", &Journal::default(), Act::Panic);
    let none = Backoff::new(Duration::ZERO, Duration::ZERO);
    let group = group().with_backoff(none).with_budget(Budget::new(1000, seconds(1))).with_child(spec);
    let group = start(group).await.expect("it starts");
    assert_eq!(ends(group.wait_for_shutdown()).await.state(), WorkerState::Failed);
    assert_eq!(lives.load(Ordering::Relaxed), 1001);
}

#[tokio::test(start_paused = true)]
async fn who_is_restarted_depends_on_the_policy() {
    for (restart, act, expected) in [
        (Restart::OnFailure, Act::Last(seconds(1), true), None),
        (Restart::OnFailure, Act::Last(seconds(1), false), Some(WorkerState::Stopped)),
        (Restart::Always, Act::Last(seconds(1), false), None),
        (Restart::Never, Act::Last(seconds(1), true), Some(WorkerState::Failed)),
    ] {
        let (spec, lives) = restarted("child", &Journal::default(), act.clone());
        let group = group().with_budget(Budget::new(1000, seconds(1))).with_child(spec.with_restart(restart));
        let group = start(group).await.expect("it starts");
        let ended = group.wait_timeout(seconds(100)).await;
        assert_eq!(ended.map(|outcome| outcome.state()), expected, "{restart:?} {act:?}");
        assert_eq!(lives.load(Ordering::Relaxed) > 1, expected.is_none());
        if expected.is_none() {
            assert!(group.status().children[0].restarts > 0);
            ends(group.shutdown()).await.expect("groups are not stuck");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_may_end_stops_nothing() {
    for fails in [true, false] {
        let job = Scripted::new("job", &Journal::default()).run(Act::Last(seconds(1), fails));
        let group = start(group().with_child(ChildSpec::once(job).may_end())).await.expect("it starts");
        assert!(group.wait_timeout(seconds(100)).await.is_none());
        let status = group.status();
        assert!(status.ready);
        let ended = if fails { WorkerState::Failed } else { WorkerState::Stopped };
        assert_eq!(status.children[0].state, ended);
        assert_eq!(ends(group.shutdown()).await.expect("groups are not stuck").state(), WorkerState::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn strategies_restart_the_others_too() {
    for (strategy, expected) in [
        (RestartStrategy::OneForOne, [1, 2, 1]),
        (RestartStrategy::OneForAll, [2, 2, 2]),
        (RestartStrategy::RestForOne, [1, 2, 2]),
    ] {
        let journal = Journal::default();
        let (before, lives_before) = restarted("before", &journal, Act::Obey);
        let (after, lives_after) = restarted("after", &journal, Act::Obey);
        let lives = Arc::new(AtomicU32::new(0));
        let (count, noted) = (Arc::clone(&lives), journal.clone());
        let failing = ChildSpec::new(move || {
            // Only its first life fails.
            let act = if count.fetch_add(1, Ordering::Relaxed) == 0 {
                Act::Last(seconds(1), true)
            } else {
                Act::Obey
            };
            Scripted::new("failing", &noted).run(act)
        });
        let group = group().with_strategy(strategy).with_child(before).with_child(failing).with_child(after);
        let group = start(group.with_child(Scripted::new("once", &journal))).await.expect("it starts");
        journal.take();
        tokio::time::sleep(seconds(30)).await;
        let counted = [lives_before, lives, lives_after].map(|lives| lives.load(Ordering::Relaxed));
        assert_eq!(counted, expected, "{strategy:?}");
        assert!(group.status().ready, "{}", group.status());
        // They came up again in order, and who cannot be made anew was left alone.
        let ups = only(&journal, &[" up"]);
        let order = ["before up", "failing up", "after up"];
        let expected_ups: Vec<&str> =
            order.into_iter().zip(expected).filter(|(_, lives)| *lives == 2).map(|(up, _)| up).collect();
        assert_eq!(ups, expected_ups, "{strategy:?}");
        assert!(!journal.lines().iter().any(|line| line.starts_with("once")));
        ends(group.shutdown()).await.expect("groups are not stuck");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_child_waits_to_be_restarted_does_not_wait_for_it() {
    let (spec, lives) = restarted("flaky", &Journal::default(), Act::Fail);
    let group = group().with_backoff(Backoff::new(seconds(1000), seconds(1000))).with_child(spec);
    let group = start(group).await.expect("it starts");
    tokio::time::sleep(seconds(1)).await;
    assert!(!group.status().ready);
    let begun = Instant::now();
    assert_eq!(ends(group.shutdown()).await.expect("groups are not stuck").state(), WorkerState::Stopped);
    assert_eq!((begun.elapsed(), lives.load(Ordering::Relaxed)), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn children_are_added_while_running() {
    let journal = Journal::default();
    let workers = group();
    let control = workers.control();
    let group = start(workers).await.expect("it starts");
    let added = ends(control.add(Scripted::new("new", &journal))).await.expect("it comes up");
    assert!(added.worker.state().is_running());
    assert_eq!(group.workers().len(), 1);
    assert_eq!(ends(group.shutdown()).await.expect("groups are not stuck").state(), WorkerState::Stopped);
    journal.assert_has("new dropped");
}

#[tokio::test(start_paused = true)]
async fn a_child_added_before_the_start_waits_for_it() {
    let workers = group();
    let control = workers.control();
    let handle = WorkerHandle::new(workers);
    let added = tokio::spawn(async move { control.add(Scripted::new("new", &Journal::default())).await });
    tokio::task::yield_now().await;
    handle.startup().await.expect("it starts");
    ends(added).await.expect("no panic").expect("it comes up");
}

#[tokio::test(start_paused = true)]
async fn an_added_child_that_does_not_start_is_no_member() {
    let workers = group();
    let control = workers.control();
    let group = start(workers).await.expect("it starts");
    let bad = Scripted::new("bad", &Journal::default()).on_startup(Act::Fail);
    let error = ends(control.add(bad)).await.expect_err("it does not start");
    assert_eq!(format!("{error:?}"), "the worker `bad` did not start: on_startup failed: as told");
    let factory = || -> Scripted { panic!("as told") };
    let error = ends(control.add(ChildSpec::new(factory))).await.expect_err("there is nothing to start");
    assert!(format!("{error:?}").ends_with("its factory panicked: as told"), "{error}");
    struct Nameless;
    impl workfleet_worker_lifecycle::Worker for Nameless {
        fn name(&self) -> std::borrow::Cow<'static, str> {
            panic!("as told")
        }

        async fn run(&mut self, _cx: &WorkerContext) -> Result<(), workfleet_worker_lifecycle::WorkerError> {
            Ok(())
        }
    }
    let error = ends(control.add(ChildSpec::new(|| Nameless))).await.expect_err("it does not start");
    assert!(format!("{error:?}").ends_with("its factory panicked: as told"), "{error}");
    assert!(group.state().is_running() && group.workers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_add_that_races_the_stop_is_started_and_stopped_or_handed_back() {
    for yields in 0..20 {
        let journal = Journal::default();
        let workers = group();
        let control = workers.control();
        let group = start(workers).await.expect("it starts");
        let noted = journal.clone();
        let adding = tokio::spawn(async move { control.add(Scripted::new("new", &noted)).await });
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        ends(group.shutdown()).await.expect("groups are not stuck");
        match ends(adding).await.expect("no panic") {
            Ok(child) => assert!(child.worker.state().is_stopped()),
            // It never began.
            Err(AddError::Stopped(Some(child))) => {
                assert!(!journal.lines().contains(&"new on_startup".into()));
                drop(child);
            }
            Err(AddError::Start(StartError::Stopped { .. })) => {}
            Err(error) => panic!("{error:?}"),
        }
        journal.assert_has("new dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_gone_hands_the_child_back() {
    let workers = group();
    let control = workers.control();
    let waiting = tokio::spawn({
        let control = control.clone();
        async move { control.add(Scripted::new("new", &Journal::default())).await }
    });
    tokio::task::yield_now().await;
    // Never started.
    drop(workers);
    assert!(matches!(ends(waiting).await.expect("no panic"), Err(AddError::Stopped(Some(_)))));
    let late = control.add(Scripted::new("late", &Journal::default())).await;
    assert!(matches!(late, Err(AddError::Stopped(Some(_)))), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn children_are_removed_in_every_state() {
    let journal = Journal::default();
    let workers = group().with_backoff(Backoff::new(seconds(1000), seconds(1000)));
    let control = workers.control();
    let group = start(workers).await.expect("it starts");

    // Up.
    let up = ends(control.add(Scripted::new("up", &journal))).await.expect("it comes up");
    assert_eq!(ends(control.remove(up.id)).await.expect("it stops").ending(), Ending::Requested);
    assert_eq!(control.remove(up.id).await.expect_err("it is gone"), RemoveError::Unknown(up.id));

    // Waiting to be restarted.
    let (flaky, lives) = restarted("flaky", &journal, Act::Fail);
    let flaky = ends(control.add(flaky)).await.expect("it comes up");
    tokio::time::sleep(seconds(1)).await;
    let begun = Instant::now();
    assert_eq!(ends(control.remove(flaky.id)).await.expect("at once").state(), WorkerState::Failed);
    assert_eq!((begun.elapsed(), lives.load(Ordering::Relaxed)), (Duration::ZERO, 1));

    // Deaf: aborted after its own grace period, asked for twice.
    let deaf = ends(control.add(Scripted::new("deaf", &journal).run(Act::Deaf).grace(3)))
        .await
        .expect("it comes up");
    let (one, two) = tokio::join!(ends(control.remove(deaf.id)), ends(control.remove(deaf.id)));
    assert_eq!(one.expect("it is aborted").state(), WorkerState::ForceStopped);
    assert_eq!(two.expect("it is aborted").state(), WorkerState::ForceStopped);

    // Nothing of that has stopped the group.
    assert!(group.state().is_running() && group.workers().is_empty());
    ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!(control.remove(deaf.id).await.expect_err("it has stopped"), RemoveError::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_child_sees_the_root_of_its_tree_and_can_stop_it() {
    let child = |cx: WorkerContext| async move {
        assert_eq!(cx.root().name(), "group");
        tokio::time::sleep(seconds(1)).await;
        cx.root().gracefully_stop();
        cx.stopping().await;
    };
    let inner = Workers::new("inner").with_child(child);
    let group = start(group().with_child(inner)).await.expect("it starts");
    let outcome = ends(group.wait_for_shutdown()).await;
    assert_eq!((outcome.state(), outcome.ending()), (WorkerState::Stopped, Ending::Requested));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_stops_the_tree() {
    let journal = Journal::default();
    let group = start(group().with_child(Scripted::new("w", &journal))).await.expect("it starts");
    let watched = group.worker();
    drop(group);
    assert_eq!(ends(watched.wait_for_shutdown()).await.state(), WorkerState::Stopped);
    journal.assert_has("w dropped");
}

#[test]
fn a_runtime_that_is_shut_down_takes_the_tree_with_it() {
    let journal = Journal::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let group = group().with_child(Scripted::new("w", &journal).run(Act::Deaf));
    let group = runtime.block_on(start(group)).expect("it starts");
    drop(runtime);
    assert_eq!(group.outcome().expect("it has ended").ending(), Ending::RuntimeGone);
    journal.assert_has("w down");
    journal.assert_has("w dropped");
}

/// The group was woken by the board before the flag said that it was to stop, and slept on.
#[test]
fn a_stop_from_another_thread_is_never_overheard() {
    let _watchdog = watchdog();
    let runtime = two_threads();
    for _ in 0..2_000 {
        let child = |cx: WorkerContext| async move { cx.stopping().await };
        let group = runtime.block_on(start(group().with_child(child))).expect("it starts");
        // On this thread, while the group waits on one of the runtime's.
        group.gracefully_stop();
        assert_eq!(runtime.block_on(group.wait_for_shutdown()).state(), WorkerState::Stopped);
    }
}

#[test]
fn a_child_that_blocks_its_thread_is_reported_and_the_group_ends() {
    let _watchdog = watchdog();
    let runtime = two_threads();
    let (blocker, release) = blocker();
    runtime.block_on(async {
        let inner = Workers::new("inner").with_child(blocker);
        let workers = Workers::new("group").with_grace(Duration::ZERO).with_child(inner);
        let group = start(workers).await.expect("it starts");
        let outcome = group.shutdown().await.expect("groups are not stuck");
        assert_eq!(outcome.state(), WorkerState::ForceStopped);
        let held_up = outcome.report().expect("it has stopped").held_up_by();
        assert_eq!((held_up[0].path.join("/").as_str(), held_up[0].is_stuck), ("inner/blocker", true));
        drop(release);
    });
}

#[tokio::test(start_paused = true)]
async fn a_group_that_a_worker_owns_goes_with_it() {
    let journal = Journal::default();
    let noted = journal.clone();
    let (names, mut named) = tokio::sync::mpsc::unbounded_channel();
    let owner = start(move |_cx: WorkerContext| async move {
        let owned = start(Workers::new("owned").with_child(Scripted::new("w", &noted))).await?;
        names.send(owned.worker()).expect("the test waits");
        pending::<()>().await;
        Ok::<(), StartError>(())
    });
    let owner = owner.await.expect("it starts");
    let owned = ends(named.recv()).await.expect("a group");
    owner.abort();
    assert_eq!(ends(owned.wait_for_shutdown()).await.state(), WorkerState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn what_a_past_life_leaves_behind_may_look_at_the_group_when_it_is_dropped() {
    let _watchdog = watchdog();

    #[derive(Clone, Default)]
    struct Group(Arc<std::sync::OnceLock<WorkerRef>>, Arc<AtomicU32>);
    struct Source(Group);
    impl StatusSource for Source {
        fn add_to(&self, _status: &mut Status) {}
    }
    impl Drop for Source {
        fn drop(&mut self) {
            let Group(group, dropped) = &self.0;
            assert_eq!(group.get().expect("it was started").status().name, "group");
            dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
    struct Child(Group);
    impl Worker for Child {
        fn status(&self) -> Option<Arc<dyn StatusSource>> {
            Some(Arc::new(Source(self.0.clone())))
        }

        async fn run(&mut self, _cx: &WorkerContext) -> Result<(), WorkerError> {
            tokio::time::sleep(seconds(1)).await;
            Err("as told".into())
        }
    }

    let seen = Group::default();
    let made = seen.clone();
    let group = group().with_child(ChildSpec::new(move || Child(made.clone())));
    let group = start(group).await.expect("it starts");
    seen.0.set(group.worker()).expect("it is set once");
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(seen.1.load(Ordering::SeqCst), 1);
    assert_eq!(group.status().children[0].restarts, 1);
}

/// An error that panics when it is shown.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("as told")
    }
}

impl std::error::Error for Unspeakable {}

#[tokio::test(start_paused = true)]
async fn a_child_whose_error_cannot_be_shown_does_not_cut_the_stop_short() {
    let journal = Journal::default();
    let bad = |cx: WorkerContext| async move {
        cx.stopping().await;
        Err::<(), _>(Unspeakable)
    };
    let slow = Scripted::new("slow", &journal).run(Act::Linger(seconds(5)));
    let group = start(group().with_child(bad).with_child(slow)).await.expect("it starts");
    let slow = group.workers()[1].clone();
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!(slow.state(), WorkerState::Stopped);
    assert_eq!(outcome.state(), WorkerState::Failed);
    assert_eq!(outcome.report().expect("it has stopped").children.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_added_worker_that_panics_for_its_name_harms_only_itself() {
    struct Nameless;
    impl Worker for Nameless {
        fn name(&self) -> std::borrow::Cow<'static, str> {
            panic!("as told")
        }

        async fn run(&mut self, _cx: &WorkerContext) -> Result<(), WorkerError> {
            Ok(())
        }
    }
    let group = group();
    let control = group.control();
    let group = start(group).await.expect("it starts");
    let error = ends(control.add(Nameless)).await.expect_err("it does not start");
    assert_eq!(format!("{error:?}"), "the worker `nameless` did not start: its factory panicked: as told");
    assert!(group.state().is_running() && group.workers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_no_clock_reaches_is_waited_for() {
    let journal = Journal::default();
    let (child, made) = restarted("w", &journal, Act::Fail);
    let group =
        Workers::new("group").with_backoff(Backoff::new(Duration::MAX, Duration::MAX)).with_child(child);
    let group = start(group).await.expect("it starts");
    tokio::time::sleep(seconds(1)).await;
    assert!(group.state().is_running(), "{:?}", group.outcome());
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!((outcome.state(), made.load(Ordering::SeqCst)), (WorkerState::Stopped, 1));
}

#[tokio::test]
async fn a_factory_that_panics_without_end_does_not_keep_the_group_from_stopping() {
    let _watchdog = watchdog();
    let mut is_made = false;
    let child = ChildSpec::new(move || {
        assert!(!std::mem::replace(&mut is_made, true), "as told");
        |_cx: WorkerContext| async { Err::<(), _>("as told") }
    });
    let group = Workers::new("group")
        .with_backoff(Backoff::new(Duration::ZERO, Duration::ZERO))
        .with_budget(Budget::new(u32::MAX, seconds(3600)))
        .with_child(child);
    let group = start(group).await.expect("it starts");
    while group.status().children[0].restarts == 0 && group.status().children[0].running {
        tokio::task::yield_now().await;
    }
    let outcome = group.shutdown().await.expect("groups are not stuck");
    assert_eq!(outcome.state(), WorkerState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_job_waits_to_be_restarted_is_not_ready() {
    let journal = Journal::default();
    let (job, _) = restarted("job", &journal, Act::Last(seconds(1), true));
    let group = start(group().with_child(job.may_end())).await.expect("it starts");
    assert!(group.status().ready);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!group.status().ready, "it waits for its restart");
    tokio::time::sleep(seconds(1)).await;
    assert!(group.status().ready);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_while_it_is_removed_does_not_fail_the_stop_that_overtakes_it() {
    let journal = Journal::default();
    let child = Scripted::new("w", &journal).on_shutdown(Act::Linger(seconds(1))).run(Act::ObeyAndFail);
    let group = group();
    let control = group.control();
    let group = start(group).await.expect("it starts");
    let id = control.add(child).await.expect("it starts").id;
    let (removed, outcome) = tokio::join!(control.remove(id), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        group.shutdown().await
    });
    assert_eq!(removed.expect("it is removed").state(), WorkerState::Failed);
    assert_eq!(outcome.expect("groups are not stuck").state(), WorkerState::Stopped);
}

/// Ends by itself after so many milliseconds; 0: at once, without having waited for anything.
fn short(millis: u64) -> impl FnOnce(WorkerContext) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    move |_cx| {
        Box::pin(async move {
            if millis > 0 {
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
        })
    }
}

/// Whether a group starts, how it ends, and because of whom, if a child ends by itself after so long and the next takes so
/// long to come up.
async fn end_by_itself(short_ms: u64, next_ms: Option<u64>) -> (WorkerState, Ending, Option<String>, String) {
    let journal = Journal::default();
    let group = group().with_child(worker_fn(short(short_ms)).with_name("short"));
    let group = match next_ms {
        None => group,
        Some(0) => group.with_child(Scripted::new("next", &journal)),
        Some(next_ms) => {
            let gate = Arc::new(Notify::new());
            let opens = Arc::clone(&gate);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(next_ms)).await;
                opens.notify_one();
            });
            group.with_child(Scripted::new("next", &journal).on_startup(Act::Await(gate)))
        }
    };
    let group = ends(start(group)).await.expect("every child came up");
    let outcome = ends(group.wait_for_shutdown()).await;
    let report = outcome.report().expect("it has stopped").clone();
    (outcome.state(), outcome.ending(), report.ended_by.clone(), report.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_child_ends_by_itself_starts_and_ends_alike_whenever_that_is() {
    for short_ms in [0, 1, 9, 10, 11, 50, 1000] {
        for next_ms in [None, Some(0), Some(1), Some(10), Some(50), Some(500)] {
            let (state, ending, ended_by, report) = end_by_itself(short_ms, next_ms).await;
            assert_eq!(
                (state, ended_by.as_deref()),
                (WorkerState::Stopped, Some("short")),
                "{short_ms} {next_ms:?}"
            );
            assert_eq!(ending, Ending::Requested, "{short_ms} {next_ms:?}");
            for name in ["the child `short` ended by itself", "may_end", "Restart::Always"] {
                assert!(report.contains(name), "{report}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_child_ends_at_once_starts_whichever_thread_is_faster() {
    let _watchdog = watchdog();
    for round in 0..200 {
        let (state, _, ended_by, _) = end_by_itself(0, [None, Some(0)][round % 2]).await;
        assert_eq!((state, ended_by.as_deref()), (WorkerState::Stopped, Some("short")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_once_all_are_up_fails_the_group_and_not_its_start() {
    for millis in [0, 1, 50] {
        let bad = move |_cx: WorkerContext| async move {
            if millis > 0 {
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            Err::<(), WorkerError>("as told".into())
        };
        let group = group().with_child(worker_fn(bad).with_name("bad"));
        let group = ends(start(group)).await.expect("it came up");
        let error = ends(group.wait_for_shutdown()).await.into_result().expect_err("it failed").to_string();
        assert_eq!(error, "run failed: the child `bad` failed: run failed: as told");
    }
}

#[tokio::test(start_paused = true)]
async fn a_nested_group_and_an_added_child_that_end_at_once_come_up_too() {
    let inner = Workers::new("inner").with_child(worker_fn(short(0)).with_name("short"));
    let outer = ends(start(group().with_child(inner))).await.expect("both came up");
    let outcome = ends(outer.wait_for_shutdown()).await;
    assert_eq!(outcome.report().expect("it has stopped").ended_by.as_deref(), Some("inner"));

    let group = group();
    let control = group.control();
    let group = ends(start(group)).await.expect("it starts");
    let child = ends(control.add(worker_fn(short(0)).with_name("short"))).await.expect("it came up");
    assert_eq!(ends(child.worker.wait_for_shutdown()).await.ending(), Ending::ByItself);
    let outcome = ends(group.wait_for_shutdown()).await;
    assert_eq!(outcome.report().expect("it has stopped").ended_by.as_deref(), Some("short"));
}

/// As the status says: names and states, nested in brackets.
fn shown(children: &[Status]) -> Vec<String> {
    let one = |child: &Status| match &child.children[..] {
        [] => format!("{} {}", child.name, child.state),
        below => format!("{} {} {:?}", child.name, child.state, shown(below)),
    };
    children.iter().map(one).collect()
}

#[tokio::test(start_paused = true)]
async fn before_its_start_a_group_shows_its_children_and_they_are_those_that_live_then() {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let inner = Workers::new("inner").with_child(Scripted::new("leaf", &journal));
    let (renewed, made) = restarted("renewed", &journal, Act::Obey);
    let group = group()
        .with_child(ChildSpec::once(inner).with_phase(1))
        .with_child(Scripted::new("first", &journal).on_startup(Act::Await(Arc::clone(&gate))))
        .with_child(renewed);
    let handle = WorkerHandle::new(group);
    let before = shown(&handle.status().children);
    assert_eq!(before, ["first init", "scripted init", r#"inner init ["leaf init"]"#]);
    let workers = handle.workers();
    let names: Vec<&str> = workers.iter().map(WorkerRef::name).collect();
    assert_eq!(names, ["first", "scripted", "inner"]);
    assert_eq!(made.load(Ordering::SeqCst), 0, "it is not made before its turn");
    assert!(workers.iter().all(|worker| worker.state() == WorkerState::Init));
    assert!(!handle.status().ready && !workers[0].gracefully_stop());

    let others: Vec<WorkerRef> = workers[1..].to_vec();
    let (started, ()) = tokio::join!(ends(handle.startup()), async {
        // Its turn has not come.
        assert!(tokio::time::timeout(seconds(5), others[1].wait_for_startup()).await.is_err());
        assert_eq!(shown(&handle.status().children)[..2], ["first running", "scripted init"]);
        gate.notify_one();
        for worker in &others {
            ends(worker.wait_for_startup()).await.expect("it starts");
        }
    });
    started.expect("it starts");
    let names: Vec<&str> = workers.iter().map(WorkerRef::name).collect();
    assert_eq!(names, ["first", "renewed", "inner"]);
    assert!(workers.iter().all(|worker| worker.state().is_running()));
    assert_eq!(handle.workers().len(), 3);
    ends(handle.shutdown()).await.expect("groups are not stuck");
    for worker in workers {
        assert_eq!(ends(worker.wait_for_shutdown()).await.state(), WorkerState::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_forever_for_a_child_whose_turn_never_comes() {
    let journal = Journal::default();
    let two = |first: Act| {
        let first = Scripted::new("first", &journal).on_startup(first);
        WorkerHandle::new(group().with_child(first).with_child(Scripted::new("second", &journal)))
    };
    // The group's start fails.
    let handle = two(Act::Fail);
    let second = handle.workers()[1].clone();
    let mut states = second.watch_state();
    let (started, waited, changed) =
        tokio::join!(ends(handle.startup()), ends(second.wait_for_startup()), ends(states.changed()));
    started.expect_err("its first child fails");
    assert!(matches!(waited, Err(StartError::Stopped { ref name }) if name == "second"), "{waited:?}");
    assert_eq!(changed, None);
    assert_eq!(ends(second.wait_for_shutdown()).await.ending(), Ending::NeverStarted);
    // The group is never started.
    let handle = two(Act::Return);
    let second = handle.workers()[1].clone();
    let (waited, ()) = tokio::join!(ends(second.wait_for_startup()), async { drop(handle) });
    assert!(matches!(waited, Err(StartError::Stopped { .. })), "{waited:?}");
    // A worker by itself, and one whose factory panics.
    let handle = WorkerHandle::new(Scripted::new("alone", &journal));
    let alone = handle.worker();
    let (waited, ()) = tokio::join!(ends(alone.wait_for_startup()), async { drop(handle.detach()) });
    assert!(matches!(waited, Err(StartError::Stopped { .. })), "{waited:?}");
    let unmade = ChildSpec::new(|| -> Scripted { panic!("as told") });
    let handle = WorkerHandle::new(group().with_child(unmade));
    let unmade = handle.workers()[0].clone();
    let (started, waited) = tokio::join!(ends(handle.startup()), ends(unmade.wait_for_startup()));
    started.expect_err("its child is not made");
    assert!(matches!(waited, Err(StartError::Stopped { .. })), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_factory_panics_when_it_is_dropped_is_removed_and_its_group_goes_on() {
    let workers = group();
    let control = workers.control();
    let group = start(workers).await.expect("it starts");
    let explosive = Explosive;
    let factory = move || {
        let _held = &explosive;
        Scripted::new("w", &Journal::default())
    };
    let added = ends(control.add(ChildSpec::new(factory))).await.expect("it comes up");
    ends(control.remove(added.id)).await.expect("it is there");
    tokio::task::yield_now().await;
    assert!(group.state().is_running() && group.workers().is_empty());
    ends(control.add(Scripted::new("w", &Journal::default()))).await.expect("the group runs");
}
