//! Owners that are known, and the cycles that they would close.

mod support;

use support::Polled;
use workfleet_shared_lock::{LocalState, LockFailed, Mode};

use Mode::{Exclusive, Shared};

/// The labels and keys of the cycle that was refused.
#[track_caller]
fn cycle<G>(result: Result<G, LockFailed>) -> Vec<(String, String)> {
    match result.map(drop) {
        Err(LockFailed::WouldDeadlock(cycle)) => {
            cycle.links().iter().map(|link| (link.owner.to_string(), link.key.to_string())).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn links(links: &[(&str, &str)]) -> Vec<(String, String)> {
    links.iter().map(|(owner, key)| ((*owner).to_owned(), (*key).to_owned())).collect()
}

#[test]
fn the_youngest_waiter_of_a_cycle_is_refused_and_the_others_go_on() {
    let state = LocalState::new();
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|label| state.owner(label));
    let a = ann.blocking_lock("a", Exclusive).unwrap();
    let b = bob.blocking_lock("b", Exclusive).unwrap();
    let c = cid.blocking_lock("c", Shared).unwrap();
    let mut ann_waits = Polled::new(ann.lock("b", Shared));
    ann_waits.assert_waits();
    let mut bob_waits = Polled::new(bob.lock("c", Exclusive));
    bob_waits.assert_waits();
    let refused = cycle(cid.blocking_lock("a", Exclusive));
    assert_eq!(refused, links(&[("cid", "a"), ("ann", "b"), ("bob", "c")]));
    assert_eq!(ann_waits.wakes.count() + bob_waits.wakes.count(), 0);
    drop(c);
    drop((bob_waits.assert_ready().unwrap(), b));
    drop((ann_waits.assert_ready().unwrap(), a));
    assert_eq!(state.blocking_snapshot().unwrap().keys, []);
}

#[test]
fn who_waits_behind_a_waiter_waits_for_it_too() {
    let state = LocalState::new();
    let [ann, bob] = ["ann", "bob"].map(|label| state.owner(label));
    let stranger = state.blocking_lock("a", Shared).unwrap();
    let b = bob.blocking_lock("b", Exclusive).unwrap();
    let mut ann_waits = Polled::new(ann.lock("a", Exclusive)); // for the stranger
    ann_waits.assert_waits();
    let mut bob_waits = Polled::new(bob.lock("a", Shared)); // behind ann
    bob_waits.assert_waits();
    assert_eq!(cycle(ann.blocking_lock("b", Shared)), links(&[("ann", "b"), ("bob", "a")]));
    drop(stranger);
    drop(ann_waits.assert_ready().unwrap());
    drop((bob_waits.assert_ready().unwrap(), b));
}

#[test]
fn a_cycle_over_a_reader_that_was_granted_with_others_is_found() {
    let state = LocalState::new();
    let [ann, bob] = ["ann", "bob"].map(|label| state.owner(label));
    let writer = state.blocking_lock("a", Exclusive).unwrap();
    let mut readers = [&state, &ann, &bob].map(|who| Polled::new(who.lock("a", Shared)));
    readers.iter_mut().for_each(Polled::assert_waits);
    drop(writer);
    let [stranger, anns, bobs] = readers.map(|mut reader| reader.assert_ready().unwrap());
    // Now all three hold it: who waits for it exclusively waits for ann, by her grant.
    let b = bob.blocking_lock("b", Exclusive).unwrap();
    let mut ann_waits = Polled::new(ann.lock("b", Exclusive));
    ann_waits.assert_waits();
    drop(bobs);
    assert_eq!(cycle(bob.blocking_lock("a", Exclusive)), links(&[("bob", "a"), ("ann", "b")]));
    drop((stranger, anns, b));
    drop(ann_waits.assert_ready().unwrap());
}

/// Readers of one run do not wait for each other; without the writer between them, two readers are of one run.
#[test]
fn a_cancelled_writer_leaves_no_edge_between_the_readers_around_it() {
    let state = LocalState::new();
    let [ann, bob] = ["ann", "bob"].map(|label| state.owner(label));
    for known in [false, true] {
        let writers = if known { state.owner("writer") } else { state.clone() };
        let holder = state.blocking_lock("a", Exclusive).unwrap();
        let b = ann.blocking_lock("b", Exclusive).unwrap();
        let mut bob_reads = Polled::new(bob.lock("a", Shared));
        bob_reads.assert_waits();
        let mut writer = Polled::new(writers.lock("a", Exclusive));
        writer.assert_waits();
        let mut ann_reads = Polled::new(ann.lock("a", Shared));
        ann_reads.assert_waits();
        // With the writer: ann waits for it, and it for bob.
        assert_eq!(cycle(bob.blocking_lock("b", Shared)), links(&[("bob", "b"), ("ann", "a")]));
        drop(writer);
        // Without it: ann and bob wait for the holder alone, and will be granted together.
        let mut bob_waits = Polled::new(bob.lock("b", Shared));
        bob_waits.assert_waits();
        drop(holder);
        drop((bob_reads.assert_ready().unwrap(), ann_reads.assert_ready().unwrap()));
        drop(b);
        drop(bob_waits.assert_ready().unwrap());
    }
}

#[test]
fn strangers_and_owners_of_the_same_name_take_no_part() {
    let state = LocalState::new();
    let (ann, other_ann) = (state.owner("ann"), state.owner("ann"));
    let a = ann.blocking_lock("a", Exclusive).unwrap();
    let mut waits = Polled::new(other_ann.lock("a", Exclusive));
    waits.assert_waits(); // another ann
    let b = state.blocking_lock("b", Exclusive).unwrap();
    let mut stranger = Polled::new(state.lock("a", Exclusive));
    stranger.assert_waits();
    let mut ann_waits = Polled::new(ann.lock("b", Exclusive)); // for a stranger, who may be anybody
    ann_waits.assert_waits();
    drop((ann_waits, waits, stranger, a, b));
    assert_eq!(state.counters().deadlocks, 0);
}

#[test]
fn a_wait_that_ended_closes_no_cycle() {
    let state = LocalState::new();
    let [ann, bob] = ["ann", "bob"].map(|label| state.owner(label));
    let a = ann.blocking_lock("a", Exclusive).unwrap();
    let b = bob.blocking_lock("b", Exclusive).unwrap();
    for _ in 0..3 {
        let mut bob_waits = Polled::new(bob.lock("a", Exclusive));
        bob_waits.assert_waits();
    }
    let mut ann_waits = Polled::new(ann.lock("b", Exclusive));
    ann_waits.assert_waits();
    drop(a);
    drop(bob.blocking_lock("a", Exclusive).unwrap()); // ann holds it no longer
    drop(b);
    drop(ann_waits.assert_ready().unwrap());
}

#[test]
fn clones_are_the_same_owner_and_many_locks_are_watched_too() {
    let state = LocalState::new();
    let ann = state.owner("ann");
    let guard = ann.clone().blocking_lock("b", Exclusive).unwrap();
    let many = ann.blocking_lock_many([("a", Exclusive), ("b", Shared)]);
    assert_eq!(cycle(many), links(&[("ann", "b")]));
    assert_eq!(state.blocking_is_free("a", Exclusive), Ok(true), "all or nothing");
    let entry = state.blocking_snapshot().unwrap().keys.remove(0);
    assert_eq!(entry.holders[0].owner.as_deref(), Some("ann"));
    drop(guard);
}
