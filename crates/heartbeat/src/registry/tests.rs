//! The rules on paused time: the driver, the callbacks and who sends are tasks of the test's runtime.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, time::sleep};

use super::{driver, *};

/// Runs jobs as tasks of the runtime: callbacks that return at once.
struct Tasks(Handle);

impl Executor for Tasks {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        self.0.spawn(async move { job() });
    }
}

/// Keeps jobs and runs none.
#[derive(Default)]
struct Never(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl Executor for Never {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        self.0.lock().expect("nobody panics").push(job);
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

type Said = Arc<Mutex<Vec<(u64, Report)>>>;

struct World {
    start: Instant,
    heartbeaters: Heartbeaters,
    said: Said,
}

impl World {
    fn new(executor: impl Executor) -> Self {
        let shared = Shared::new(Some(Box::new(executor)), Handle::current(), now);
        let driven = Arc::clone(&shared);
        tokio::spawn(async move { driver::drive(&driven).await });
        Self { start: now(), heartbeaters: Heartbeaters(Arc::new(Owner(shared))), said: Said::default() }
    }

    fn at_ms(start: Instant) -> u64 {
        u64::try_from((now() - start).as_millis()).expect("it is soon")
    }

    fn register(&self, token: &str, options: HeartbeaterOptions) -> HeartbeatSender {
        let (said, start) = (Arc::clone(&self.said), self.start);
        let callback = move |report| said.lock().expect("nobody panics").push((Self::at_ms(start), report));
        self.heartbeaters.register_with(token, options, callback).expect("it is new")
    }

    fn said(&self) -> Vec<(u64, Report)> {
        self.said.lock().expect("nobody panics").clone()
    }
}

fn paused<F: Future>(test: impl FnOnce() -> F) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("it starts");
    runtime.block_on(async { test().await });
}

fn on_tasks() -> World {
    World::new(Tasks(Handle::current()))
}

fn details(beat: u32) -> Details {
    Details::encode(&beat).expect("it encodes")
}

fn beat(beat: u32) -> Report {
    Report::Beat(details(beat))
}

#[test]
fn heartbeaters_that_get_no_thread_can_be_given_up_inside_a_runtime() {
    paused(|| async {
        let runtime = driver::OwnRuntime::new().expect("it starts");
        drop(runtime);
    });
}

#[test]
fn two_beats_20_ms_apart_under_a_50_ms_throttle_are_exactly_two_calls() {
    paused(|| async {
        let world = on_tasks();
        let sender = world.register("a", HeartbeaterOptions::new().throttle(ms(50)));
        sender.send(&1_u32).expect("it is sent");
        sleep(ms(20)).await;
        assert_eq!(world.said(), [(0, beat(1))]);
        sender.send(&2_u32).expect("it is sent");
        sleep(ms(1000)).await;
        assert_eq!(world.said(), [(0, beat(1)), (50, beat(2))]);
    });
}

#[test]
fn fifty_beats_in_a_tight_loop_are_the_first_and_then_the_last() {
    paused(|| async {
        let world = on_tasks();
        let sender = world.register("a", HeartbeaterOptions::new().throttle(ms(50)));
        for number in 1..=50_u32 {
            sender.send(&number).expect("it is sent");
        }
        sleep(ms(1000)).await;
        assert_eq!(world.said(), [(0, beat(1)), (50, beat(50))]);
    });
}

#[test]
fn unregistering_passes_over_the_throttle() {
    paused(|| async {
        let world = on_tasks();
        let sender = world.register("a", HeartbeaterOptions::new().throttle(ms(60_000)));
        for number in 1..=3_u32 {
            sender.send(&number).expect("it is sent");
        }
        world.heartbeaters.unregister("a").await.expect("it is flushed");
        assert_eq!(world.said(), [(0, beat(1)), (0, beat(3))]);
        sender.send(&4_u32).expect("it is ignored");
        sleep(ms(100_000)).await;
        assert_eq!(world.said().len(), 2);
        assert_eq!(world.heartbeaters.stats().ignored, 1);
    });
}

#[test]
fn a_silence_is_missed_once_and_the_beat_after_it_is_late() {
    paused(|| async {
        let world = on_tasks();
        let sender = world.register("a", HeartbeaterOptions::new().timeout(ms(100)));
        // Each beat in time: the thread looks again, and finds nothing missed.
        for number in 1..=5_u32 {
            sender.send(&number).expect("it is sent");
            sleep(ms(60)).await;
        }
        sleep(ms(700)).await;
        sender.send(&6_u32).expect("it is sent");
        sleep(ms(50)).await;
        let missed = Report::Missed { last: Some(details(5)), silent_for: ms(100) };
        assert_eq!(world.said()[5..], [(340, missed), (1000, Report::Late(details(6)))]);
    });
}

#[test]
fn an_earlier_deadline_wakes_the_thread() {
    paused(|| async {
        let world = on_tasks();
        world.register("slow", HeartbeaterOptions::new().timeout(ms(10_000)));
        sleep(ms(10)).await;
        world.register("fast", HeartbeaterOptions::new().timeout(ms(100)));
        sleep(ms(200)).await;
        assert_eq!(world.said(), [(110, Report::Missed { last: None, silent_for: ms(100) })]);
    });
}

#[test]
fn a_flush_that_nobody_carries_out_ends_at_its_deadline() {
    paused(|| async {
        let world = World::new(Never::default());
        let sender = world.register("a", HeartbeaterOptions::new());
        sender.send(&1_u32).expect("it is sent");
        let error = world.heartbeaters.unregister("a").await.expect_err("nobody calls");
        let (token, workers, after) = ("a".into(), Vec::new(), DEFAULT_UNREGISTER_TIMEOUT);
        assert_eq!(error, UnregisterError::FlushTimedOut { token, workers, callback_runs: false, after });
        assert_eq!(World::at_ms(world.start), 5000);
        let stats = world.heartbeaters.stats();
        assert_eq!((stats.tokens, stats.discarded, stats.pending), (0, 1, 0));
        world.register("a", HeartbeaterOptions::new());
    });
}

#[test]
fn a_token_is_taken_and_in_progress_until_its_flush_has_ended() {
    paused(|| async {
        let world = World::new(Never::default());
        let sender = world.register("a", HeartbeaterOptions::new());
        sender.send(&1_u32).expect("it is sent");
        let first = world.heartbeaters.unregister_timeout("a", ms(200));
        let token = Token::from("a");
        let in_progress = UnregisterError::InProgress { token: token.clone() };
        assert_eq!(world.heartbeaters.unregister("a").await, Err(in_progress.clone()));
        assert_eq!(world.heartbeaters.discard("a"), Err(in_progress));
        let taken = world.heartbeaters.register("a", |_| ()).expect_err("it has not ended");
        assert_eq!(taken, RegisterError::Taken { token: token.clone() });
        first.await.expect_err("nobody calls");
        assert_eq!(world.heartbeaters.unregister("a").await, Err(UnregisterError::Unknown { token }));
    });
}

#[test]
fn the_work_goes_on_if_the_future_is_dropped() {
    paused(|| async {
        let world = on_tasks();
        let sender = world.register("a", HeartbeaterOptions::new().throttle(ms(60_000)));
        sender.send(&1_u32).expect("it is sent");
        sender.send(&2_u32).expect("it is sent");
        drop(world.heartbeaters.unregister("a"));
        sleep(ms(1)).await;
        assert_eq!(world.said(), [(0, beat(1)), (0, beat(2))]);
        assert_eq!(world.heartbeaters.stats().tokens, 0);
    });
}
