//! What a subscriber hears of locks: each request's begin, and exactly one end, with the reason where it was not granted.
#![cfg(feature = "tracing")]

mod support;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use support::Polled;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use workfleet_shared_lock::{DEFAULT_KEY_LIMIT_BYTES, LocalState, LockFailed, Mode};

use Mode::{Exclusive, Shared};

/// One event: its fields by their names, the message among them.
type Fields = BTreeMap<&'static str, String>;

/// Keeps the events of the one target. It wants what this level wants.
#[derive(Clone, Debug)]
struct Record {
    level: LevelFilter,
    events: Arc<Mutex<Vec<Fields>>>,
}

struct Reader(Fields);

impl Visit for Reader {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Record {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        assert_eq!((event.metadata().target(), *event.metadata().level()), ("workfleet::lock", Level::DEBUG));
        let mut reader = Reader(Fields::new());
        event.record(&mut reader);
        self.events.lock().expect("no test panics under it").push(reader.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn record_at(level: LevelFilter, run: impl FnOnce()) -> Vec<Fields> {
    let record = Record { level, events: Arc::default() };
    tracing::subscriber::with_default(record.clone(), run);
    std::mem::take(&mut *record.events.lock().expect("no test panics under it"))
}

/// What is said while `run` runs on this thread.
fn record(run: impl FnOnce()) -> Vec<Fields> {
    record_at(LevelFilter::DEBUG, run)
}

fn fields(of: &[(&'static str, &str)]) -> Fields {
    of.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// That one request failed for this reason, after it began, and that nothing else is said of it.
#[track_caller]
fn assert_failed(events: &[Fields], key: &str, mode: Mode, owner: Option<&str>, reason: &str) {
    let (mode, owner) = (mode.to_string(), owner.map(|owner| ("owner", owner)));
    let request = Vec::from_iter([("key", key), ("mode", &*mode)].into_iter().chain(owner));
    let begin = fields(&[&*request, &[("message", "acquiring")]].concat());
    let end = fields(&[&*request, &[("message", "failed"), ("reason", reason)]].concat());
    assert_eq!(events, [begin, end]);
}

#[test]
fn a_grant_and_a_release_are_said_with_key_mode_fence_and_owner() {
    let state = LocalState::new();
    let mut fence = String::new();
    let events = record(|| {
        let guard = state.owner("ann").blocking_lock("k", Shared).unwrap();
        fence = guard.fence().to_string();
        drop(guard);
    });
    let key = [("key", "k"), ("mode", "shared")];
    let expected = [
        fields(&[&key[..], &[("message", "acquiring"), ("owner", "ann")]].concat()),
        fields(&[&key[..], &[("message", "acquired"), ("owner", "ann"), ("fence", &fence)]].concat()),
        fields(&[&key[..], &[("message", "released"), ("fence", &fence)]].concat()),
    ];
    assert_eq!(events, expected);
}

#[test]
fn who_wants_no_debug_events_gets_none() {
    let state = LocalState::new();
    let events = record_at(LevelFilter::INFO, || {
        drop(state.blocking_lock("k", Exclusive).unwrap());
        assert!(state.blocking_lock("", Exclusive).is_err());
    });
    assert_eq!(events, [] as [Fields; 0]);
}

#[test]
fn a_request_of_a_closed_state_fails_as_closed() {
    let state = LocalState::new();
    let _guard = state.blocking_lock("k", Exclusive).unwrap();
    let ann = state.owner("ann");
    let events = record(|| {
        let mut waits = Polled::new(ann.lock("k", Shared));
        waits.assert_waits();
        state.close();
        assert_eq!(waits.assert_ready().unwrap_err(), LockFailed::Closed);
    });
    assert_failed(&events, "k", Shared, Some("ann"), "the lock state is closed");
    let events = record(|| assert!(state.blocking_lock("other", Exclusive).is_err()));
    assert_failed(&events, "other", Exclusive, None, "the lock state is closed");
    let events = record(|| assert!(state.blocking_try_lock("other", Exclusive).is_err()));
    assert_failed(&events, "other", Exclusive, None, "the lock state is closed");
}

#[test]
fn a_wait_that_would_deadlock_fails_with_the_cycle() {
    let state = LocalState::new();
    let ann = state.owner("ann");
    let _guard = ann.blocking_lock("k", Exclusive).unwrap();
    let events = record(|| assert!(ann.blocking_lock("k", Shared).is_err()));
    let reason = "waiting would deadlock: ann waits for \"k\", then for ann";
    assert_failed(&events, "k", Shared, Some("ann"), reason);
}

#[test]
fn a_future_that_is_dropped_while_it_waits_fails_also_if_its_grant_has_come() {
    let state = LocalState::new();
    let holder = state.blocking_lock("k", Exclusive).unwrap();
    let events = record(|| drop(state.lock("k", Shared)));
    assert_eq!(events, [] as [Fields; 0], "it has asked for nothing");
    let events = record(|| Polled::new(state.lock("k", Shared)).assert_waits());
    assert_failed(&events, "k", Shared, None, "its future was dropped");
    let mut granted = Polled::new(state.lock("k", Shared));
    granted.assert_waits();
    drop(holder);
    let events = record(|| drop(granted));
    let failed =
        [("key", "k"), ("mode", "shared"), ("message", "failed"), ("reason", "its future was dropped")];
    assert_eq!(events, [fields(&failed)]);
}

#[test]
fn a_try_for_a_key_that_is_taken_fails() {
    let state = LocalState::new();
    let _guard = state.blocking_lock("k", Exclusive).unwrap();
    let events = record(|| assert!(state.blocking_try_lock("k", Shared).unwrap().is_none()));
    assert_failed(&events, "k", Shared, None, "the key is taken");
    let events = record(|| assert!(state.blocking_try_lock_many([("k", Shared)]).unwrap().is_none()));
    assert_failed(&events, "k", Shared, None, "the key is taken");
}

#[test]
fn a_bad_key_fails_and_no_more_of_it_is_said_than_a_key_may_have() {
    let state = LocalState::new();
    let empty = "the request is refused: a key has 0 bytes, and at least 1 is needed";
    assert_failed(&record(|| assert!(state.blocking_lock("", Shared).is_err())), "", Shared, None, empty);
    let key = "é".repeat(DEFAULT_KEY_LIMIT_BYTES) + "x";
    let events = record(|| assert!(state.blocking_try_lock(&key, Shared).is_err()));
    let shown = &key[..DEFAULT_KEY_LIMIT_BYTES];
    let reason =
        format!("the request is refused: a key has {} bytes, and the limit is 4096 bytes", key.len());
    assert_failed(&events, shown, Shared, None, &reason);
}

#[test]
fn a_wait_that_blocks_beyond_its_limit_fails_as_timed_out() {
    let state = LocalState::new();
    let _guard = state.blocking_lock("k", Exclusive).unwrap();
    let ann = state.owner("ann");
    let late = "the lock was not granted within 0ns";
    let events = record(|| assert!(ann.blocking_lock_timeout("k", Shared, Duration::ZERO).is_err()));
    assert_failed(&events, "k", Shared, Some("ann"), late);
    let many = [("k", Exclusive)];
    let events = record(|| assert!(ann.blocking_lock_many_timeout(many, Duration::ZERO).is_err()));
    assert_failed(&events, "k", Exclusive, Some("ann"), late);
    // The reason belongs to that wait, and not to the next that is dropped.
    let events = record(|| Polled::new(state.lock("k", Shared)).assert_waits());
    assert_failed(&events, "k", Shared, None, "its future was dropped");
}

#[cfg(feature = "tokio")]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[cfg(feature = "tokio")]
#[test]
fn a_wait_beyond_its_limit_fails_as_timed_out_and_one_that_is_dropped_before_does_not() {
    let state = LocalState::new();
    let _guard = state.blocking_lock("k", Exclusive).unwrap();
    let hour = Duration::from_secs(3600);
    let late = "the lock was not granted within 3600s";
    let events = record(|| assert!(runtime().block_on(state.lock_timeout("k", Shared, hour)).is_err()));
    assert_failed(&events, "k", Shared, None, late);
    let many = [("k", Exclusive)];
    let events = record(|| assert!(runtime().block_on(state.lock_many_timeout(many, hour)).is_err()));
    assert_failed(&events, "k", Exclusive, None, late);
    let events = record(|| {
        let _runtime = runtime();
        let _entered = _runtime.enter();
        Polled::new(state.lock_timeout("k", Shared, hour)).assert_waits();
    });
    assert_failed(&events, "k", Shared, None, "its future was dropped");
}

#[cfg(feature = "tokio")]
#[test]
fn a_wait_with_a_limit_where_no_timer_is_fails_for_that_reason() {
    let state = LocalState::new();
    let _guard = state.blocking_lock("k", Exclusive).unwrap();
    let events = record(|| {
        let failed = Polled::new(state.lock_timeout("k", Shared, Duration::ZERO)).assert_ready();
        assert_eq!(failed.unwrap_err(), LockFailed::NoTimer);
    });
    assert_failed(&events, "k", Shared, None, &LockFailed::NoTimer.to_string());
}

/// What was taken before the wait failed is released, and that is said too.
#[test]
fn each_of_many_locks_is_said() {
    let state = LocalState::new();
    let _guard = state.blocking_lock("b", Exclusive).unwrap();
    let events = record(|| drop(state.blocking_try_lock_many([("a", Shared), ("b", Shared)])));
    let said = Vec::from_iter(events.iter().map(|event| (&*event["message"], &*event["key"])));
    assert_eq!(
        said,
        [("acquiring", "a"), ("acquired", "a"), ("acquiring", "b"), ("failed", "b"), ("released", "a")]
    );
}
