//! Each rule with its exact numbers.

use std::time::{Duration, Instant};

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn details(beat: u32) -> Details {
    Details::encode(&beat).expect("it encodes")
}

fn throttled(interval: u64) -> HeartbeaterOptions {
    HeartbeaterOptions::new().throttle(ms(interval))
}

fn with_timeout(timeout: u64) -> HeartbeaterOptions {
    HeartbeaterOptions::new().timeout(ms(timeout))
}

/// What a test reads of a report: the kind and the number of the beat.
#[derive(Debug, PartialEq)]
enum Said {
    Beat(u32),
    Late(u32),
    Missed(Option<u32>, u64),
}

use Said::{Beat as B, Late as L, Missed as M};

fn said(report: &Report) -> Said {
    let number = |details: &Details| details.decode().expect("it is a number");
    match report {
        Report::Beat(details) => B(number(details)),
        Report::Late(details) => L(number(details)),
        Report::Missed { last, silent_for } => {
            let silent_for_ms = u64::try_from(silent_for.as_millis()).expect("it is short");
            M(last.as_ref().map(number), silent_for_ms)
        }
    }
}

/// A table, the time, and what was reported when.
struct World {
    start: Instant,
    at_ms: u64,
    table: Table<()>,
    said: Vec<(u64, Said)>,
}

impl World {
    fn new() -> Self {
        Self { start: Instant::now(), at_ms: 0, table: Table::new(), said: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.start + ms(self.at_ms)
    }

    fn register(&mut self, token: &str, options: HeartbeaterOptions) -> Key {
        self.table.register(self.now(), token.into(), options, ()).expect("it is new")
    }

    fn beat(&mut self, key: Key, beat: u32) {
        self.table.beat(self.now(), key, details(beat));
    }

    /// Callbacks that return at once.
    fn report(&mut self) {
        while let Some(work) = self.table.poll_ready() {
            self.said.push((self.at_ms, said(&work.report)));
            assert!(self.table.finished(self.now(), work.key, (), None).is_none());
        }
    }

    /// Goes on to the time, serving each timer at its own.
    fn go_to(&mut self, at_ms: u64) {
        self.serve(at_ms, Self::report);
    }

    /// Nobody has a thread to report with.
    fn go_to_without_reports(&mut self, at_ms: u64) {
        self.serve(at_ms, |_| ());
    }

    fn serve(&mut self, at_ms: u64, then: fn(&mut Self)) {
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= self.start + ms(at_ms)) {
            let at_timer = (at - self.start).as_nanos().div_ceil(1_000_000);
            let at_timer = u64::try_from(at_timer).expect("it is soon");
            self.at_ms = self.at_ms.max(at_timer);
            self.table.handle_timeout(self.now());
            then(self);
        }
        self.at_ms = at_ms;
    }

    fn begin(&mut self) -> Work<()> {
        self.table.poll_ready().expect("something is ready")
    }

    fn finish(&mut self, key: Key) {
        assert!(self.table.finished(self.now(), key, (), None).is_none());
    }

    fn pending(&self) -> u64 {
        self.table.stats().pending
    }
}

#[test]
fn two_beats_20_ms_apart_under_a_50_ms_throttle_are_exactly_two_sends() {
    let mut world = World::new();
    let key = world.register("a", throttled(50));
    world.beat(key, 1);
    world.report();
    world.go_to(20);
    world.beat(key, 2);
    world.report();
    world.go_to(1000);
    assert_eq!(world.said, [(0, B(1)), (50, B(2))]);
    assert_eq!(world.table.poll_timeout(), None);
}

#[test]
fn fifty_beats_in_a_tight_loop_are_the_first_and_then_the_last() {
    // Also if nobody calls before the loop has ended, or the callback runs all the while.
    for (report_at_once, finish_late) in [(true, false), (false, false), (true, true)] {
        let mut world = World::new();
        let key = world.register("a", throttled(50));
        let mut running = None;
        for beat in 1..=50 {
            world.beat(key, beat);
            match finish_late && running.is_none() {
                true => running = Some(said(&world.begin().report)),
                false if report_at_once => world.report(),
                false => {}
            }
        }
        if let Some(first) = running {
            world.said.push((0, first));
            world.finish(key);
        }
        world.report();
        world.go_to(1000);
        assert_eq!(world.said, [(0, B(1)), (50, B(50))]);
        let stats = world.table.stats();
        assert_eq!((stats.beats, stats.reported, stats.superseded, stats.pending), (50, 2, 48, 0));
    }
}

#[test]
fn without_a_throttle_the_latest_wins_while_the_callback_runs() {
    let mut world = World::new();
    let key = world.register("a", HeartbeaterOptions::new());
    world.beat(key, 1);
    let first = world.begin();
    for beat in 2..=10 {
        world.beat(key, beat);
        assert!(!world.table.has_ready(), "one callback at a time");
        assert_eq!(world.pending(), 1);
    }
    assert_eq!(said(&first.report), B(1));
    world.finish(key);
    world.report();
    assert_eq!(world.said, [(0, B(10))]);
    assert_eq!(world.table.stats().superseded, 8);
}

#[test]
fn what_the_throttle_held_gives_way_to_what_comes_while_the_callback_runs() {
    let mut world = World::new();
    let key = world.register("a", throttled(50));
    world.beat(key, 1);
    world.beat(key, 2);
    assert_eq!(world.pending(), 2);
    drop(world.begin());
    world.go_to(20);
    world.beat(key, 3);
    assert_eq!(world.pending(), 1);
    world.go_to(60);
    world.beat(key, 4);
    world.go_to(70);
    world.finish(key);
    world.report();
    assert_eq!(world.said, [(70, B(4))], "the interval had passed");
}

#[test]
fn tokens_take_turns_in_the_order_in_which_they_became_ready() {
    let mut world = World::new();
    let keys = ["a", "b", "c"].map(|token| world.register(token, HeartbeaterOptions::new()));
    for (key, beat) in [(keys[1], 1), (keys[0], 2), (keys[2], 3), (keys[1], 4)] {
        world.beat(key, beat);
    }
    let first = world.begin();
    assert_eq!((first.key, said(&first.report)), (keys[1], B(4)));
    world.beat(keys[1], 5);
    world.finish(keys[1]);
    world.report();
    assert_eq!(world.said, [(0, B(2)), (0, B(3)), (0, B(5))]);
}

#[test]
fn a_silence_is_missed_once_with_the_last_details_and_the_beat_after_it_is_late() {
    let mut world = World::new();
    let key = world.register("a", with_timeout(100));
    world.go_to(30);
    world.beat(key, 1);
    world.report();
    world.go_to(500);
    world.beat(key, 2);
    world.report();
    world.beat(key, 3);
    world.report();
    assert_eq!(world.said, [(30, B(1)), (130, M(Some(1), 100)), (500, L(2)), (500, B(3))]);
    world.go_to(1000);
    assert_eq!(world.said.last(), Some(&(600, M(Some(3), 100))));
    let stats = world.table.stats();
    assert_eq!((stats.missed, stats.late, stats.reported), (2, 1, 3));
}

#[test]
fn a_token_that_never_beats_is_missed_without_details() {
    let mut world = World::new();
    world.register("a", with_timeout(100));
    world.go_to(1000);
    assert_eq!(world.said, [(100, M(None, 100))]);
}

#[test]
fn a_missed_silence_carries_what_was_not_reported_and_no_later_beat_takes_its_place() {
    let mut world = World::new();
    let key = world.register("a", with_timeout(100).throttle(ms(500)));
    world.beat(key, 1);
    world.report();
    world.go_to(10);
    world.beat(key, 2);
    world.go_to_without_reports(120);
    for beat in 3..=5 {
        world.beat(key, beat);
    }
    world.go_to_without_reports(220);
    world.report();
    world.go_to(510);
    assert_eq!(world.said, [(0, B(1)), (220, M(Some(5), 100))], "two silences, told as the later one");

    let mut world = World::new();
    let key = world.register("a", with_timeout(100));
    world.beat(key, 1);
    world.go_to_without_reports(100);
    for beat in 2..=4 {
        world.beat(key, beat);
    }
    world.report();
    assert_eq!(world.said, [(100, M(Some(1), 100)), (100, L(4))], "first missed, then late");
    let stats = world.table.stats();
    assert_eq!((stats.beats, stats.reported, stats.superseded), (4, 2, 2));
}

#[test]
fn a_late_beat_that_gives_way_makes_the_later_one_late() {
    let mut world = World::new();
    let key = world.register("a", with_timeout(100).throttle(ms(300)));
    world.beat(key, 1);
    world.report();
    world.go_to(150);
    world.beat(key, 2);
    world.go_to(200);
    world.beat(key, 3);
    world.go_to(299);
    assert_eq!(world.said, [(0, B(1)), (100, M(Some(1), 100))]);
    world.beat(key, 4);
    world.go_to(301);
    assert_eq!(world.said[2..], [(300, L(4))]);
    assert_eq!(world.table.stats().late, 1);
}

#[test]
fn closing_passes_over_the_throttle_reports_everything_and_takes_no_more() {
    let mut world = World::new();
    let key = world.register("a", throttled(60_000));
    world.beat(key, 1);
    world.beat(key, 2);
    let token = Token::from("a");
    assert_eq!(world.table.begin_unregister(&token), Ok(key));
    assert_eq!(world.table.begin_unregister(&token), Err(Refused::InProgress));
    assert!(matches!(world.table.discard(&token), Err(Refused::InProgress)));
    world.beat(key, 3);
    world.table.close(key);
    assert!(world.table.poll_closed().is_none());
    world.beat(key, 4);
    world.report();
    assert_eq!(world.said, [(0, B(1)), (0, B(3))]);
    assert_eq!(world.table.poll_closed().expect("it has ended").key, key);
    world.beat(key, 5);
    let stats = world.table.stats();
    assert_eq!((stats.tokens, stats.ignored, stats.pending), (0, 2, 0));
    assert_eq!(world.table.begin_unregister(&token), Err(Refused::Unknown));
    assert_eq!(world.table.poll_timeout(), None);
}

#[test]
fn a_token_whose_callback_runs_is_closed_when_it_has_reported_the_rest() {
    let mut world = World::new();
    let key = world.register("a", throttled(60_000));
    world.beat(key, 1);
    drop(world.begin());
    world.beat(key, 2);
    world.table.begin_unregister(&"a".into()).expect("it is there");
    world.table.close(key);
    assert!(world.table.poll_closed().is_none() && !world.table.has_ready());
    world.finish(key);
    assert!(world.table.poll_closed().is_none());
    world.report();
    assert_eq!(world.said, [(0, B(2))]);
    assert!(world.table.poll_closed().is_some());
}

#[test]
fn closing_keeps_a_missed_silence_and_watches_for_no_other() {
    let mut world = World::new();
    let key = world.register("a", with_timeout(100));
    world.go_to_without_reports(100);
    world.beat(key, 1);
    world.table.begin_unregister(&"a".into()).expect("it is there");
    world.table.close(key);
    assert_eq!(world.table.poll_timeout(), None);
    world.report();
    assert_eq!(world.said, [(100, M(None, 100)), (100, L(1))]);
}

#[test]
fn discarding_hands_back_the_last_details_that_were_not_reported() {
    let mut world = World::new();
    let key = world.register("a", throttled(50));
    world.beat(key, 1);
    world.beat(key, 2);
    let removed = world.table.discard(&"a".into()).expect("it is there");
    assert_eq!((removed.callback, removed.unreported), (Some(()), Some(details(2))));
    let key = world.register("a", throttled(50));
    world.beat(key, 3);
    world.report();
    let removed = world.table.discard(&"a".into()).expect("it is there again");
    assert_eq!(removed.unreported, None, "it was reported");
    let stats = world.table.stats();
    assert_eq!((stats.beats, stats.reported, stats.discarded, stats.pending), (3, 1, 2, 0));
    assert!(!world.table.has_ready(), "nothing is reported after the end");
    assert_eq!((world.table.poll_ready().is_none(), world.table.poll_timeout()), (true, None));
}

#[test]
fn what_is_removed_while_its_callback_runs_gives_it_back_when_it_returns() {
    let mut world = World::new();
    let key = world.register("a", HeartbeaterOptions::new());
    world.beat(key, 1);
    drop(world.begin());
    world.beat(key, 2);
    let removed = world.table.discard(&"a".into()).expect("it is there");
    assert_eq!((removed.callback, removed.unreported), (None, Some(details(2))));
    let again = world.register("a", HeartbeaterOptions::new());
    assert_ne!(key, again);
    world.beat(key, 3);
    assert_eq!(world.table.finished(world.now(), key, (), None), Some(()));
    assert!(world.table.remove(key).is_none());
    world.report();
    assert_eq!(world.said, [], "the new one has not beaten");
}

#[test]
fn the_first_panic_is_kept_for_the_end_and_the_token_goes_on() {
    let mut world = World::new();
    let key = world.register("a", HeartbeaterOptions::new());
    for message in ["first", "second"] {
        world.beat(key, 1);
        drop(world.begin());
        assert!(world.table.finished(world.now(), key, (), Some(message.into())).is_none());
    }
    world.table.begin_unregister(&"a".into()).expect("it is there");
    world.table.close(key);
    let closed = world.table.poll_closed().expect("there is nothing to report");
    assert_eq!(closed.panicked.as_deref(), Some("first"));
    assert_eq!(world.table.stats().panicked, 2);
}

#[test]
fn a_taken_token_hands_the_callback_back() {
    let mut table = Table::new();
    let now = Instant::now();
    let register = |table: &mut Table<u8>, callback| {
        table.register(now, "a".into(), HeartbeaterOptions::new(), callback)
    };
    let key = register(&mut table, 1).expect("it is new");
    assert_eq!(register(&mut table, 2).expect_err("it is taken").0, 2);
    table.begin_unregister(&"a".into()).expect("it is there");
    assert_eq!(register(&mut table, 3).expect_err("it has not ended").0, 3);
    table.close(key);
    assert_eq!(table.poll_closed().expect("it has ended").callback, 1);
    register(&mut table, 4).expect("it has ended");
}

#[test]
fn removed_tokens_leave_nothing_in_the_queue_or_among_the_timers() {
    let mut world = World::new();
    for beat in 0..1000 {
        let key = world.register("a", with_timeout(3_600_000).throttle(ms(3_600_000)));
        world.beat(key, beat);
        world.beat(key, beat);
        world.table.discard(&"a".into()).expect("it is there");
        assert!(world.table.ready.len() <= 1);
    }
    assert_eq!((world.table.slots.len(), world.table.poll_timeout()), (1, None));
}

#[test]
fn beats_move_no_timer_and_many_timers_are_served_bit_by_bit() {
    let mut world = World::new();
    let tokens = 3 * TIMERS_AT_ONCE;
    let keys: Vec<Key> = (0..tokens).map(|n| world.register(&n.to_string(), with_timeout(100))).collect();
    world.at_ms = 30;
    for key in &keys[1..] {
        world.beat(*key, 1);
    }
    assert_eq!(world.table.poll_timeout(), Some(world.start + ms(50)));
    world.at_ms = 50;
    assert_eq!(world.table.would_miss(world.now()), None, "it has not looked at all");
    while world.table.would_miss(world.now()).is_none() {}
    assert_eq!(world.table.would_miss(world.now()), Some(false));
    assert_eq!(world.table.poll_timeout(), Some(world.start + ms(75)), "the first");
    world.go_to_without_reports(99);
    world.at_ms = 100;
    assert_eq!(world.table.would_miss(world.now()), Some(true), "the first");
    world.go_to_without_reports(129);
    assert_eq!(world.table.stats().missed, 1);
    world.at_ms = 130;
    let mut turns = 0;
    while world.table.poll_timeout().is_some() {
        world.table.handle_timeout(world.now());
        turns += 1;
    }
    assert_eq!((turns, world.table.stats().missed), (3, tokens as u64));
}

#[test]
fn more_superseded_elsewhere_than_can_be_counted_leave_the_books_right() {
    let mut table = Table::<()>::new();
    let key = table.register(Instant::now(), "a".into(), HeartbeaterOptions::new(), ()).expect("it is new");
    for _ in 0..3 {
        table.superseded_elsewhere(u64::MAX);
        table.beat(Instant::now(), key, details(1));
    }
    let stats = table.stats();
    assert_eq!((stats.pending, stats.beats), (1, stats.superseded + 1));
}

#[test]
fn a_part_of_a_timeout_whose_end_nobody_saw_begins_again() {
    let mut world = World::new();
    let key = world.register("a", with_timeout(100));
    world.beat(key, 1);
    world.report();
    for _ in 0..3 {
        // Stopped for 2 s; then it beats in time, or rather says nothing.
        world.at_ms += 2000;
        assert_eq!(world.table.would_miss(world.now()), Some(false));
        world.table.handle_timeout(world.now());
        assert_eq!(world.table.poll_timeout(), Some(world.now() + ms(50)));
    }
    world.go_to(6099);
    assert_eq!((world.table.stats().missed, world.said.len()), (0, 1));
    world.go_to(6100);
    assert_eq!(world.said[1..], [(6100, M(Some(1), 6100))]);
}
