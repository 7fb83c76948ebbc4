//! Groups that are given many children at once: all of them become members, or none does.

mod support;

use std::{sync::Arc, time::Duration};

use support::{Act, Journal, Scripted, ends};
use tokio::sync::Notify;
use workfleet_worker_lifecycle::{
    AddAllError, AddError, ChildSpec, StartError, WorkerHandle, WorkerRef, WorkerState, Workers, start,
};

fn names(workers: &[WorkerRef]) -> Vec<&str> {
    workers.iter().map(WorkerRef::name).collect()
}

#[test]
fn a_group_that_is_given_no_name_has_that_of_its_type() {
    assert_eq!(WorkerHandle::new(Workers::default()).name(), "workers");
    assert_eq!(WorkerHandle::new(Workers::default().with_name("shards")).name(), "shards");
    assert_eq!(WorkerHandle::new(Workers::new("site").with_name("shards")).name(), "shards");
}

#[tokio::test(start_paused = true)]
async fn children_that_are_given_at_once_start_in_their_order() {
    let journal = Journal::default();
    let specs = ["a", "b"].map(|name| ChildSpec::once(Scripted::new(name, &journal)));
    let group = Workers::default()
        .with_child(Scripted::new("first", &journal))
        .with_children(specs)
        .with_children(["c", "d"].map(|name| Scripted::new(name, &journal)));
    assert_eq!(group.num_workers(), 5);
    let group = ends(start(group)).await.expect("it starts");
    assert_eq!(names(&group.workers()), ["first", "a", "b", "c", "d"]);
    let ups: Vec<_> = journal.lines().into_iter().filter(|line| line.ends_with(" up")).collect();
    assert_eq!(ups, ["first up", "a up", "b up", "c up", "d up"]);
}

#[tokio::test(start_paused = true)]
async fn all_are_added_once_the_last_is_up() {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let group = Workers::default();
    let control = group.control();
    let group = start(group).await.expect("it starts");
    let slow = Scripted::new("slow", &journal).on_startup(Act::Await(Arc::clone(&gate)));
    let late = ChildSpec::once(Scripted::new("late", &journal)).with_phase(1);
    let children = [late, ChildSpec::once(Scripted::new("quick", &journal)), ChildSpec::once(slow)];
    let (added, ()) = tokio::join!(ends(control.add_all(children)), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(journal.lines().contains(&"quick up".into()));
        assert!(!journal.lines().contains(&"late on_startup".into()), "its phase has not begun");
        gate.notify_one();
    });
    let added = added.expect("all come up");
    // As they were given, while they start, and stand, by phase.
    let given: Vec<&str> = added.iter().map(|child| child.worker.name()).collect();
    assert_eq!(given, ["late", "quick", "slow"]);
    assert_eq!(names(&group.workers()), ["quick", "slow", "late"]);
    ends(control.remove(added[0].id)).await.expect("it is a member");
    assert_eq!(names(&group.workers()), ["quick", "slow"]);
}

#[tokio::test(start_paused = true)]
async fn if_one_does_not_come_up_none_is_added() {
    let journal = Journal::default();
    let group = Workers::default().with_child(Scripted::new("old", &journal));
    let control = group.control();
    let group = start(group).await.expect("it starts");
    let children = [
        Scripted::new("up", &journal).on_shutdown(Act::Linger(Duration::from_secs(3))),
        Scripted::new("bad", &journal).on_startup(Act::Fail),
        Scripted::new("next", &journal),
    ];
    let error = ends(control.add_all(children)).await.expect_err("one does not come up");
    assert!(
        matches!(&error, AddAllError::Start(StartError::Failed { name, .. }) if name == "bad"),
        "{error:?}"
    );
    assert_eq!(format!("{error:?}"), "the worker `bad` did not start: on_startup failed: as told");
    // The one that was up has stopped, before the error is returned; the one behind was never started; the group goes on.
    let lines = journal.lines();
    assert!(lines.contains(&"up down".into()) && lines.contains(&"up dropped".into()), "{lines:?}");
    assert!(
        !lines.contains(&"next on_startup".into()) && lines.contains(&"next dropped".into()),
        "{lines:?}"
    );
    assert_eq!(names(&group.workers()), ["old"]);
    assert!(group.status().ready);
    // And takes others.
    let added = ends(control.add_all([Scripted::new("up", &journal)])).await.expect("it comes up");
    assert_eq!((added.len(), group.workers().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_ends_after_all_are_up_does_not_take_the_others_along() {
    let journal = Journal::default();
    let group = Workers::default();
    let control = group.control();
    let group = start(group).await.expect("it starts");
    let short = Scripted::new("short", &journal).run(Act::Last(Duration::from_secs(1), true));
    let children = [ChildSpec::once(short).may_end(), ChildSpec::once(Scripted::new("long", &journal))];
    let added = ends(control.add_all(children)).await.expect("both come up");
    ends(added[0].worker.wait_for_shutdown()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(added[1].worker.state(), WorkerState::Running);
    assert_eq!(group.workers().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn children_may_share_a_name_and_none_at_all_is_all_of_them() {
    let journal = Journal::default();
    let group = Workers::default();
    let control = group.control();
    let group = start(group).await.expect("it starts");
    let added = ends(control.add_all((0..3).map(|_| Scripted::new("twin", &journal)))).await;
    assert_eq!(added.expect("they come up").len(), 3);
    assert_eq!(names(&group.workers()), ["twin", "twin", "twin"]);
    assert_eq!(ends(control.add_all(Vec::<Scripted>::new())).await.expect("nobody fails").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_group_hands_all_back_and_one_that_stops_meanwhile_adds_none() {
    let journal = Journal::default();
    let group = Workers::default();
    let control = group.control();
    let group = start(group).await.expect("it starts");
    let waits = Scripted::new("waits", &journal).on_startup(Act::Await(Arc::default()));
    let (error, stopped) = tokio::join!(
        ends(control.add_all([
            Scripted::new("up", &journal),
            waits.grace(1),
            Scripted::new("next", &journal)
        ])),
        async {
            tokio::task::yield_now().await;
            ends(group.shutdown()).await
        }
    );
    assert!(matches!(error, Err(AddAllError::Start(StartError::Stopped { .. }))), "{error:?}");
    assert_eq!(stopped.expect("groups are not stuck").state(), WorkerState::ForceStopped);
    assert!(!journal.lines().contains(&"next on_startup".into()));

    let error = ends(control.add_all(["a", "b"].map(|name| Scripted::new(name, &journal)))).await;
    let Err(AddAllError::Stopped(back)) = error else { panic!("it has stopped: {error:?}") };
    assert_eq!(back.len(), 2);
    assert!(!journal.lines().contains(&"a dropped".into()), "they are whole");
    let error = ends(control.add(Scripted::new("c", &journal))).await;
    assert!(matches!(error, Err(AddError::Stopped(Some(_)))), "{error:?}");
}
