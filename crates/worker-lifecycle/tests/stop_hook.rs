//! Groups whose children stop in an order of somebody's own.

mod support;

use std::{future::pending, io, sync::Arc, time::Duration};

use support::{Act, Explosive, Journal, Scripted, ends, watchdog};
use tokio::{sync::Notify, time::Instant};
use workfleet_worker_lifecycle::{
    StatusReason, StopHookFailure, StoppedBy, StoppingChild, StuckError, WorkerContext, WorkerHandle,
    WorkerState, Workers, start, worker_fn,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Three that take a second each to stop.
fn group(journal: &Journal) -> Workers {
    let child = |name| Scripted::new(name, journal).run(Act::Linger(seconds(1)));
    Workers::new("group").with_grace(seconds(10)).with_children(["a", "b", "c"].map(child))
}

fn downs(journal: &Journal) -> Vec<String> {
    journal.lines().into_iter().filter(|line| line.ends_with(" down")).collect()
}

#[tokio::test(start_paused = true)]
async fn children_stop_as_the_hook_asks_them_to() {
    let journal = Journal::default();
    let group = group(&journal).with_stop_hook({
        let journal = journal.clone();
        |children: Vec<StoppingChild>| async move {
            let names: Vec<&str> = children.iter().map(StoppingChild::name).collect();
            assert_eq!(names, ["a", "b", "c"]);
            for index in [1, 2, 0] {
                let outcome = children[index].stop().await?;
                assert_eq!(outcome.state(), WorkerState::Stopped);
            }
            journal.add("hook down");
            Ok::<(), StuckError>(())
        }
    });
    let group = start(group).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!((outcome.state(), begun.elapsed()), (WorkerState::Stopped, seconds(3)));
    assert_eq!(downs(&journal), ["b down", "c down", "a down", "hook down"]);
    let report = outcome.report().expect("it has stopped");
    assert_eq!((report.children.len(), &report.stop_hook), (3, &None));
    let reasons = group.workers().iter().map(|worker| worker.status().reason).collect::<Vec<_>>();
    assert_eq!(reasons, vec![StatusReason::StopRequested(StoppedBy::Group("group".into())); 3]);
}

#[tokio::test(start_paused = true)]
async fn what_the_hook_leaves_is_stopped_at_once_when_it_has_ended() {
    let journal = Journal::default();
    let group = group(&journal).with_stop_hook(|children: Vec<StoppingChild>| async move {
        children[2].ask_to_stop();
        children[2].ask_to_stop();
        children[2].stop().await.expect("it is not stuck");
    });
    let group = start(group).await.expect("it starts");
    let begun = Instant::now();
    ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!((downs(&journal)[0].as_str(), begun.elapsed()), ("c down", seconds(2)));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_or_panics_stops_all_that_is_left_and_is_reported() {
    type Hook = Box<dyn FnOnce(Vec<StoppingChild>) -> Result<(), String> + Send>;
    let hooks: [(Hook, StopHookFailure); 2] = [
        (Box::new(|_| Err("no order".into())), StopHookFailure::Failed("no order".into())),
        (Box::new(|_| panic!("as told")), StopHookFailure::Panicked("as told".into())),
    ];
    for (hook, expected) in hooks {
        let journal = Journal::default();
        let group = group(&journal).with_stop_hook(move |children: Vec<StoppingChild>| async move {
            children[1].stop().await.expect("it is not stuck");
            hook(children)
        });
        let group = start(group).await.expect("it starts");
        let begun = Instant::now();
        let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
        assert_eq!((outcome.state(), begun.elapsed()), (WorkerState::Failed, seconds(2)));
        assert_eq!(outcome.to_string(), format!("on_shutdown failed: {expected}"));
        assert_eq!((downs(&journal).len(), downs(&journal)[0].as_str()), (3, "b down"));
        let report = outcome.report().expect("it has stopped");
        assert!(report.to_string().contains(&expected.to_string()), "{report}");
        assert_eq!(report.stop_hook, Some(expected));
    }
}

/// Its child fails while the hook runs, and before the hook has asked it for anything.
#[tokio::test(start_paused = true)]
async fn a_child_that_fails_before_its_turn_has_failed_the_group() {
    let stops = Arc::new(Notify::new());
    let failing = worker_fn({
        let stops = Arc::clone(&stops);
        |_: WorkerContext| async move {
            stops.notified().await;
            Err::<(), _>(io::Error::from(io::ErrorKind::NotFound))
        }
    });
    let group = Workers::new("group").with_child(failing.with_name("failing"));
    let group = group.with_stop_hook(|children: Vec<StoppingChild>| async move {
        stops.notify_one();
        children[0].worker().wait_for_shutdown().await;
    });
    let group = start(group).await.expect("it starts");
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!(outcome.state(), WorkerState::Failed);
    let said = format!("{:?}", outcome.failures()[0]);
    assert!(said.contains("the child `failing` failed: run failed: entity not found"), "{said}");
    let report = outcome.report().expect("it has stopped");
    assert_eq!(report.children.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_does_not_end_is_cut_off_at_the_deadline() {
    let journal = Journal::default();
    let group = group(&journal).with_stop_hook(|children: Vec<StoppingChild>| async move {
        let _explosive = Explosive;
        children[0].stop().await.expect("it is not stuck");
        pending::<()>().await;
    });
    let group = start(group).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    // What it was in the middle of has panicked when it was dropped: a failure like any.
    assert_eq!((outcome.state(), begun.elapsed().as_secs()), (WorkerState::Failed, 10));
    assert_eq!(outcome.report().expect("it has stopped").held_up_by().len(), 2);

    let group = self::group(&journal).with_stop_hook(|_| pending::<()>());
    let group = start(group).await.expect("it starts");
    let outcome = ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!(outcome.state(), WorkerState::ForceStopped);
    let report = outcome.report().expect("it has stopped");
    assert_eq!((&report.stop_hook, report.held_up_by().len()), (&Some(StopHookFailure::CutOff), 3));
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_the_group_waits_for_its_hook_until_it_gets_one() {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let hook = {
        let gate = Arc::clone(&gate);
        |children: Vec<StoppingChild>| async move {
            for child in &children {
                child.stop().await.expect("it is not stuck");
            }
            gate.notified().await;
        }
    };
    let group = start(group(&journal).with_stop_hook(hook)).await.expect("it starts");
    group.gracefully_stop();
    assert!(
        ends(group.wait_timeout(seconds(100))).await.is_none(),
        "its children have ended, the hook has not"
    );
    assert_eq!(downs(&journal).len(), 3);
    gate.notify_one();
    assert_eq!(ends(group.wait_for_shutdown()).await.state(), WorkerState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn the_hook_runs_also_if_a_child_stops_the_group_and_not_if_it_is_aborted() {
    for is_aborted in [false, true] {
        let journal = Journal::default();
        let noted = journal.clone();
        let short = Scripted::new("short", &journal).run(Act::Last(seconds(1), false));
        let group = group(&journal).with_child(short).with_stop_hook(move |children: Vec<StoppingChild>| {
            noted.add(format!("hook of {}", children.len()));
            async {}
        });
        let group = start(group).await.expect("it starts");
        if is_aborted {
            group.abort();
        }
        ends(group.wait_for_shutdown()).await;
        assert_eq!(journal.lines().contains(&"hook of 3".into()), !is_aborted, "{:?}", journal.lines());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_is_never_called_is_dropped_with_its_group() {
    let explosive = Explosive;
    let hook = move |_: Vec<StoppingChild>| {
        drop(explosive);
        async {}
    };
    let group = start(Workers::default().with_stop_hook(hook)).await.expect("it starts");
    assert_eq!(ends(group.shutdown()).await.expect("it stops").state(), WorkerState::Stopped);
}

#[test]
fn a_stuck_child_does_not_hold_up_the_hook() {
    let _watchdog = watchdog();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let stuck = worker_fn(|cx: WorkerContext| async move {
        cx.stopping().await;
        let _ = blocked.recv();
    });
    let group = Workers::new("group")
        .with_grace(seconds(60))
        .with_child(stuck.with_name("stuck").with_grace(Duration::from_millis(20)))
        .with_child(Scripted::new("polite", &Journal::default()))
        .with_stop_hook(|children: Vec<StoppingChild>| async move {
            let error = children[0].stop().await.expect_err("it is stuck");
            assert_eq!(error.name, "stuck");
            children[1].stop().await.expect("it is not stuck");
        });
    let handle: WorkerHandle = runtime.block_on(start(group)).expect("it starts");
    let outcome = runtime.block_on(handle.shutdown()).expect("groups are not stuck");
    let report = outcome.report().expect("it has stopped");
    assert_eq!((&report.stop_hook, report.held_up_by().len()), (&None, 1));
    drop(release);
}
