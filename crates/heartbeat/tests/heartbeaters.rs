//! Heartbeaters on real threads: callbacks that are slow, hang, panic or unregister themselves, executors that fail, and the
//! end of it all. Nothing here waits for a time to pass.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use workfleet_heartbeat::{
    Details, Event, Executor, HeartbeatError, HeartbeatSender, HeartbeatStats, HeartbeaterOptions,
    Heartbeaters, RegisterError, Report, Token, UnregisterError, WaitError,
};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Long enough for every machine.
const AGES: Duration = Duration::from_secs(600);

fn number(report: &Report) -> u64 {
    report.details().expect("it has details").decode().expect("they are a number")
}

/// A token whose reports come out of a channel.
fn listen(heartbeaters: &Heartbeaters, token: &str) -> Result<(HeartbeatSender, Receiver<Report>)> {
    let (told, reports) = channel();
    let sender = heartbeaters.register(token, move |report| {
        // Nobody may listen any more.
        let _ = told.send(report);
    })?;
    Ok((sender, reports))
}

/// A token whose callback says that it has begun, and hangs until it is let go.
fn hang(heartbeaters: &Heartbeaters, token: &str) -> Result<(HeartbeatSender, Receiver<Report>, Sender<()>)> {
    let ((told, reports), (let_go, wait)) = (channel(), channel());
    let sender = heartbeaters.register(token, move |report| {
        let _ = told.send(report);
        let _ = wait.recv();
    })?;
    Ok((sender, reports, let_go))
}

fn check_books(stats: &HeartbeatStats) {
    let known = stats.reported + stats.superseded + stats.ignored + stats.discarded + stats.pending;
    assert_eq!(stats.beats, known, "{stats:?}");
}

#[test]
fn a_flood_keeps_one_beat_and_the_last_arrives() -> Result {
    const BEATS: u64 = 1_000_000;
    let heartbeaters = Heartbeaters::new()?;
    let (sender, reports, let_go) = hang(&heartbeaters, "a")?;
    sender.send(&0_u64)?;
    assert_eq!(number(&reports.recv()?), 0);
    let last = Details::encode(&BEATS)?;
    for beat in 1..BEATS {
        sender.send(&beat)?;
        if beat % 10_000 == 0 {
            let stats = heartbeaters.stats();
            assert_eq!((stats.pending, stats.superseded, stats.reported), (1, beat - 1, 1));
        }
    }
    sender.send_encoded(last)?;
    drop(let_go);
    heartbeaters.blocking_unregister("a")?;
    assert_eq!(reports.iter().map(|report| number(&report)).collect::<Vec<_>>(), [BEATS]);
    let stats = heartbeaters.stats();
    assert_eq!((stats.beats, stats.reported, stats.superseded), (BEATS + 1, 2, BEATS - 1));
    Ok(())
}

#[test]
fn a_flood_that_goes_on_keeps_nobody_from_unregistering() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (sender, reports) = listen(&heartbeaters, "flood")?;
    let begun = Arc::new(Barrier::new(2));
    let flood = thread::spawn({
        let begun = Arc::clone(&begun);
        move || {
            for beat in 0_u64.. {
                if sender.send(&beat).is_err() {
                    return;
                }
                if beat == 1000 {
                    begun.wait();
                }
            }
        }
    });
    begun.wait();
    heartbeaters.blocking_unregister_timeout("flood", AGES)?;
    assert!(
        number(&reports.iter().last().expect("it has beaten")) >= 1000,
        "the callback is dropped: they end"
    );
    drop(heartbeaters);
    flood.join().expect("it ends when there is nobody left");
    Ok(())
}

#[test]
fn a_callback_that_hangs_affects_its_own_token_alone() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let hanging: Vec<_> =
        (0..5).map(|n| hang(&heartbeaters, &format!("hangs/{n}"))).collect::<Result<_>>()?;
    for (sender, reports, _) in &hanging {
        sender.send(&1_u64)?;
        reports.recv()?;
    }
    let (sender, reports) = listen(&heartbeaters, "well")?;
    for beat in 0..100_u64 {
        sender.send(&beat)?;
        assert_eq!(number(&reports.recv()?), beat);
    }
    heartbeaters.blocking_unregister_timeout("well", AGES)?;

    hanging[0].0.send(&2_u64)?;
    let after = Duration::from_millis(20);
    let error = heartbeaters.blocking_unregister_timeout("hangs/0", after).expect_err("it hangs");
    let UnregisterError::FlushTimedOut { token, workers, callback_runs: true, after: given, .. } = error
    else {
        panic!("{error}");
    };
    assert_eq!((token, workers, given), (Token::from("hangs/0"), Vec::new(), after));
    // The name is free, the old callback never called again.
    let (again, reports) = listen(&heartbeaters, "hangs/0")?;
    hanging[0].0.send(&3_u64)?;
    again.send(&4_u64)?;
    assert_eq!(number(&reports.recv()?), 4);
    for n in 1..5 {
        heartbeaters.discard(format!("hangs/{n}"))?;
    }
    for (sender, reports, let_go) in hanging {
        drop((sender, let_go));
        assert!(reports.recv().is_err(), "it is not called again, and dropped");
    }
    let stats = heartbeaters.stats();
    check_books(&stats);
    assert_eq!((stats.discarded, stats.ignored), (1, 1));
    Ok(())
}

#[test]
fn a_slow_callback_keeps_no_other_waiting() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (other, heard) = listen(&heartbeaters, "other")?;
    let mut beat = 0_u64;
    // Its callback returns only after the other's has been called, again and again.
    let sender = heartbeaters.register("slow", move |_| {
        beat += 1;
        other.send(&beat).expect("it is sent");
        assert_eq!(number(&heard.recv().expect("it is reported")), beat);
    })?;
    for beat in 0..5_u64 {
        sender.send(&beat)?;
    }
    heartbeaters.blocking_unregister_timeout("slow", AGES)?;
    assert_eq!(heartbeaters.stats().panicked, 0);
    Ok(())
}

/// A payload whose destructor panics, with one that does.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        std::panic::panic_any(Explosive);
    }
}

#[test]
fn a_callback_that_panics_is_told_at_the_end_and_goes_on_until_then() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (told, reports) = channel();
    let sender = heartbeaters.register("a", move |report| {
        told.send(number(&report)).expect("it is heard");
        match number(&report) {
            1 => panic!("it {}", "broke"),
            2 => std::panic::panic_any(Explosive),
            _ => {}
        }
    })?;
    for beat in 1..=3_u64 {
        sender.send(&beat)?;
        assert_eq!(reports.recv()?, beat);
    }
    let error = heartbeaters.blocking_unregister_timeout("a", AGES).expect_err("it has panicked");
    let UnregisterError::CallbackPanicked { message, .. } = &error else { panic!("{error}") };
    assert_eq!(message, "it broke");
    assert_eq!(heartbeaters.stats().panicked, 2);
    Ok(())
}

#[test]
fn a_callback_whose_destructor_panics_is_nobodys_harm() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let explosive = || {
        let inside = Explosive;
        move |_: Report| {
            let _ = &inside;
        }
    };
    heartbeaters.register("a", explosive())?.send(&1_u64)?;
    heartbeaters.blocking_unregister_timeout("a", AGES)?;
    heartbeaters.register("b", explosive())?;
    let taken = heartbeaters.register("b", explosive()).expect_err("it is there");
    assert!(matches!(taken, RegisterError::Taken { .. }));
    assert_eq!(heartbeaters.discard("b")?, None);
    heartbeaters.register("c", explosive())?;
    drop(heartbeaters);
    Ok(())
}

#[test]
fn a_callback_whose_destructor_hangs_after_its_token_was_discarded_keeps_nobody_waiting() -> Result {
    struct Hangs(Receiver<()>);
    impl Drop for Hangs {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }
    let heartbeaters = Heartbeaters::new()?;
    let (other, reports) = listen(&heartbeaters, "b")?;
    let (let_go, wait) = channel();
    let (hangs, handle) = (Hangs(wait), heartbeaters.clone());
    let sender = heartbeaters.register("a", move |_| {
        let _hangs = &hangs;
        // Next, this thread drops this callback, and calls the other.
        handle.discard("a").expect("it is there");
        other.send(&1_u64).expect("they are there");
    })?;
    sender.send(&0_u64)?;
    assert_eq!(number(&reports.recv()?), 1);
    drop(let_go);
    Ok(())
}

#[test]
fn a_callback_has_been_dropped_when_its_token_is_unregistered() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    for beats in 0..50_u64 {
        let captured = Arc::new(());
        let inside = Arc::clone(&captured);
        let sender = heartbeaters.register("a", move |_| drop(Arc::clone(&inside)))?;
        for beat in 0..beats {
            sender.send(&beat)?;
        }
        heartbeaters.blocking_unregister_timeout("a", AGES)?;
        assert_eq!(Arc::strong_count(&captured), 1);
    }
    Ok(())
}

#[test]
fn who_unregisters_a_token_inside_its_callback_is_told_and_it_is_done() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (told, outcome) = channel();
    let inner = heartbeaters.clone();
    let sender = heartbeaters.register("a", move |_| {
        let _ = told.send(inner.blocking_unregister_timeout("a", AGES));
    })?;
    sender.send(&1_u64)?;
    assert_eq!(
        outcome.recv()?.expect_err("it would wait for itself").to_string(),
        "the callback of the token a cannot wait for its own end"
    );
    assert!(outcome.recv().is_err(), "the callback was dropped");
    assert_eq!(heartbeaters.stats().tokens, 0);
    Ok(())
}

#[test]
fn a_callback_may_unregister_another_token() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (other, reports) = listen(&heartbeaters, "other")?;
    let (told, outcome) = channel();
    let inner = heartbeaters.clone();
    let sender = heartbeaters.register("a", move |_| {
        other.send(&7_u64).expect("it is sent");
        let _ = told.send(inner.blocking_unregister_timeout("other", AGES));
    })?;
    sender.send(&1_u64)?;
    outcome.recv()??;
    assert_eq!(reports.iter().map(|report| number(&report)).collect::<Vec<_>>(), [7]);
    heartbeaters.blocking_unregister("a")?;
    Ok(())
}

#[test]
fn details_that_cannot_be_sent_are_the_senders_error_alone() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (sender, reports) = listen(&heartbeaters, "a")?;
    let error = sender.send(&vec![1_u8; 65 * 1024]).expect_err("they are too large");
    assert!(matches!(error, HeartbeatError::Details(_)), "{error}");
    assert_eq!(heartbeaters.stats().beats, 0);
    sender.send(&1_u64)?;
    assert_eq!(number(&reports.recv()?), 1);
    Ok(())
}

#[test]
fn what_is_unknown_is_an_error_and_harms_nobody() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let is_unknown =
        |error| matches!(error, UnregisterError::Unknown { token, .. } if token == Token::from("a"));
    assert!(is_unknown(heartbeaters.blocking_unregister("a").expect_err("it is not there")));
    assert!(is_unknown(heartbeaters.discard("a").expect_err("it is not there")));
    let (sender, _reports) = listen(&heartbeaters, "a")?;
    heartbeaters.blocking_unregister("a")?;
    assert!(is_unknown(heartbeaters.blocking_unregister("a").expect_err("it is gone")));
    sender.send(&1_u64)?;
    assert_eq!(heartbeaters.stats().ignored, 1);
    Ok(())
}

#[test]
fn discarding_hands_back_what_was_not_reported() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (sender, reports, let_go) = hang(&heartbeaters, "a")?;
    sender.send(&1_u64)?;
    reports.recv()?;
    sender.send(&2_u64)?;
    sender.send(&3_u64)?;
    assert_eq!(heartbeaters.discard("a")?, Some(Details::encode(&3_u64)?));
    drop(let_go);
    assert!(reports.recv().is_err(), "it is not called again, and dropped");
    Ok(())
}

#[test]
fn dropping_the_last_handle_stops_them() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (sender, reports, let_go) = hang(&heartbeaters, "a")?;
    sender.send(&1_u64)?;
    reports.recv()?;
    let pending = heartbeaters.unregister_timeout("a", AGES);
    let (idle, idle_reports) = listen(&heartbeaters, "idle")?;
    drop(heartbeaters.clone());
    idle.send(&1_u64)?;
    assert_eq!(number(&idle_reports.recv()?), 1);

    drop(heartbeaters);
    assert_eq!(sender.send(&2_u64), Err(HeartbeatError::NotConnected));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    assert_eq!(runtime.block_on(pending), Err(UnregisterError::Stopped));
    assert!(idle_reports.recv().is_err(), "its callback was dropped");
    drop(let_go);
    assert!(reports.recv().is_err(), "and so is that which ran, when it has returned");
    Ok(())
}

#[test]
fn they_can_be_dropped_inside_a_runtime_and_inside_their_own_callback() -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let heartbeaters = Heartbeaters::new()?;
        let (sender, reports) = listen(&heartbeaters, "a")?;
        sender.send(&1_u64)?;
        heartbeaters.unregister("a").await?;
        assert_eq!(number(&reports.recv()?), 1);
        let (_sender, reports) = listen(&heartbeaters, "b")?;
        drop(heartbeaters);
        assert!(reports.recv().is_err());
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;

    let heartbeaters = Heartbeaters::new()?;
    let (told, done) = channel();
    let mut inner = Some(heartbeaters.clone());
    let sender = heartbeaters.register("a", move |_| {
        drop(inner.take());
        let _ = told.send(());
    })?;
    drop(heartbeaters);
    sender.send(&1_u64)?;
    done.recv()?;
    assert!(done.recv().is_err(), "the callback was dropped");
    assert_eq!(sender.send(&1_u64), Err(HeartbeatError::NotConnected));
    Ok(())
}

/// Drops the first jobs, or panics instead of running them.
struct Fails {
    jobs: AtomicUsize,
    panics: bool,
}

impl Executor for Fails {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        if self.jobs.fetch_add(1, Ordering::Relaxed) >= 3 {
            thread::spawn(job);
        } else if self.panics {
            panic!("no room");
        }
    }
}

#[test]
fn an_executor_that_drops_jobs_or_panics_loses_nothing() -> Result {
    for panics in [false, true] {
        let heartbeaters =
            Heartbeaters::builder().executor(Fails { jobs: AtomicUsize::new(0), panics }).build()?;
        let (sender, reports) = listen(&heartbeaters, "a")?;
        for beat in 0..20_u64 {
            sender.send(&beat)?;
            assert_eq!(number(&reports.recv()?), beat);
        }
        heartbeaters.blocking_unregister_timeout("a", AGES)?;
    }
    Ok(())
}

#[test]
fn callbacks_run_on_the_runtime_that_was_given_until_it_is_shut_down() -> Result {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).thread_name("theirs").build()?;
    let heartbeaters = Heartbeaters::builder().executor(runtime.handle().clone()).build()?;
    let (told, names) = channel();
    let sender = heartbeaters.register("a", move |_| {
        let _ = told.send(thread::current().name().map(str::to_owned));
    })?;
    sender.send(&1_u64)?;
    assert_eq!(names.recv()?.as_deref(), Some("theirs"));
    // Its jobs have ended, or end with it.
    drop(runtime);
    sender.send(&2_u64)?;
    assert_eq!(names.recv()?.as_deref(), Some("workfleet-heartbeat-callbacks"));
    Ok(())
}

#[test]
fn a_silence_is_missed_on_the_real_clock() -> Result {
    let heartbeaters = Heartbeaters::new()?;
    let (told, reports) = channel();
    let options = HeartbeaterOptions::new().timeout(Duration::from_millis(20));
    let sender = heartbeaters.register_with("a", options, move |report| {
        let _ = told.send(report);
    })?;
    sender.send(&1_u64)?;
    // On a machine that is busy for longer, it is missed before the beat was sent, or reported.
    let missed = reports.iter().find(|report| matches!(report, Report::Missed { last: Some(_), .. }));
    assert_eq!(number(&missed.expect("it is missed")), 1);
    sender.send(&2_u64)?;
    let late = reports.recv()?;
    assert!(matches!(late, Report::Late(_) | Report::Missed { .. }), "{late:?}");
    assert_eq!(number(&late), 2);
    Ok(())
}

#[test]
fn whatever_many_threads_do_the_books_are_right() -> Result {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 300;
    const BEATS: u64 = 40;
    let heartbeaters = Heartbeaters::new()?;
    let called = Arc::new(AtomicU64::new(0));
    let shared = {
        let called = Arc::clone(&called);
        heartbeaters.register("shared", move |_| {
            called.fetch_add(1, Ordering::Relaxed);
        })?
    };
    let (sent, flushed) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for number_of_thread in 0..THREADS {
            let (heartbeaters, shared, called) = (heartbeaters.clone(), shared.clone(), Arc::clone(&called));
            let (sent, flushed) = (&sent, &flushed);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    // Two threads share each name.
                    let token = format!("token/{}", number_of_thread / 2);
                    let throttle = Duration::from_millis(if round % 2 == 0 { 0 } else { 60_000 });
                    let options = HeartbeaterOptions::new().throttle(throttle).timeout(AGES);
                    let last = Arc::new(AtomicU64::new(u64::MAX));
                    let registered = heartbeaters.register_with(token.as_str(), options, {
                        let (called, last) = (Arc::clone(&called), Arc::clone(&last));
                        move |report| {
                            called.fetch_add(1, Ordering::Relaxed);
                            last.store(number(&report), Ordering::Relaxed);
                        }
                    });
                    let Ok(sender) = registered else {
                        shared.send(&round).expect("they live");
                        sent.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    for beat in 0..BEATS {
                        sender.send(&beat).expect("they live");
                        shared.send(&beat).expect("they live");
                        sent.fetch_add(2, Ordering::Relaxed);
                        if beat % 16 == 0 {
                            check_books(&heartbeaters.stats());
                        }
                    }
                    if round % 3 == 0 {
                        heartbeaters.discard(token.as_str()).expect("it is ours");
                    } else {
                        heartbeaters.blocking_unregister_timeout(token.as_str(), AGES).expect("it is ours");
                        assert_eq!(last.load(Ordering::Relaxed), BEATS - 1);
                        flushed.fetch_add(1, Ordering::Relaxed);
                    }
                    sender.send(&0_u64).expect("it is ignored");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    heartbeaters.blocking_unregister_timeout("shared", AGES)?;
    assert!(flushed.load(Ordering::Relaxed) > 0);
    let stats = heartbeaters.stats();
    check_books(&stats);
    assert_eq!((stats.beats, stats.pending, stats.tokens), (sent.load(Ordering::Relaxed), 0, 0));
    drop(shared);
    Ok(())
}

#[test]
fn without_a_timer_a_wait_with_a_limit_is_an_error_and_an_event_that_is_set_needs_none() {
    let limit = Duration::from_secs(3600);
    let event = Event::new();
    let timeless = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let outside = |event: &Event| {
        let mut waiting = std::pin::pin!(event.wait_timeout(limit));
        waiting.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
    assert_eq!(timeless.block_on(event.wait_timeout(limit)), Err(WaitError::NoTimer));
    assert_eq!(outside(&event), std::task::Poll::Ready(Err(WaitError::NoTimer)));
    event.set().expect("it is at home");
    assert_eq!(timeless.block_on(event.wait_timeout(limit)), Ok(()));
    assert_eq!(outside(&event), std::task::Poll::Ready(Ok(())));
}

#[test]
fn heartbeaters_need_nothing_of_the_runtime_that_they_are_used_in() {
    let timeless = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    timeless.block_on(async {
        let heartbeaters = Heartbeaters::new().expect("a thread");
        let sender = heartbeaters.register("token", |_: Report| {}).expect("a new token");
        sender.send(&1).expect("it is here");
        heartbeaters.unregister("token").await.expect("everything is reported");
    });
}
