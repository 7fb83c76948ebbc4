//! Sequences of commands, carried out by the table and by a model that is obviously right: it looks at every token
//! whenever something is asked, and keeps no timers.
//!
//! `WORKFLEET_PROPTEST_CASES=n` runs n sequences from fresh seeds instead of the few fixed ones.

use std::time::{Duration, Instant};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{cores::naive_wait::NaiveWait, testing::cases};

const TOKENS: usize = 4;

/// See [`AWAY`](crate::cores::AWAY).
const AWAY: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
enum Command {
    Register {
        token: usize,
        timeout: Option<u64>,
        throttle: u64,
    },
    Beat {
        token: usize,
    },
    /// With the key of an earlier registration.
    StaleBeat {
        which: usize,
    },
    Begin {
        token: usize,
    },
    Close {
        token: usize,
    },
    Discard {
        token: usize,
    },
    Remove {
        token: usize,
    },
    Call,
    Return {
        which: usize,
        panics: bool,
    },
    Advance {
        by_ms: u64,
    },
}

fn command() -> impl Strategy<Value = Command> {
    let token = 0..TOKENS;
    prop_oneof![
        2 => (token.clone(), prop_oneof![Just(None), (0_u64..8).prop_map(|eighths| Some(8 * eighths))], prop_oneof![Just(0), 0_u64..60])
            .prop_map(|(token, timeout, throttle)| Command::Register { token, timeout, throttle }),
        8 => token.clone().prop_map(|token| Command::Beat { token }),
        1 => (0_usize..9).prop_map(|which| Command::StaleBeat { which }),
        1 => token.clone().prop_map(|token| Command::Begin { token }),
        1 => token.clone().prop_map(|token| Command::Close { token }),
        1 => token.clone().prop_map(|token| Command::Discard { token }),
        1 => token.prop_map(|token| Command::Remove { token }),
        5 => Just(Command::Call),
        4 => (0..TOKENS, any::<bool>()).prop_map(|(which, panics)| Command::Return { which, panics }),
        5 => (0_u64..40).prop_map(|by_ms| Command::Advance { by_ms }),
    ]
}

/// What waits to be reported, in the order in which it will be.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Missed {
        last: Option<u64>,
        silent_ms: u64,
        carries: bool,
    },
    Passed {
        beat: u64,
        late: bool,
    },
    Held {
        beat: u64,
        late: bool,
        until: u64,
    },
    /// Came while the callback ran, and is still to be shown to the throttle.
    Unseen {
        beat: u64,
        late: bool,
    },
}

impl Item {
    fn is_missed(&self) -> bool {
        matches!(self, Item::Missed { .. })
    }

    fn is_late(&self) -> bool {
        matches!(
            self,
            Item::Passed { late: true, .. } | Item::Held { late: true, .. } | Item::Unseen { late: true, .. }
        )
    }
}

#[derive(Debug)]
struct Naive {
    token: usize,
    key: Key,
    timeout: Option<u64>,
    throttle: u64,
    passed_at: Option<u64>,
    heard_at: u64,
    /// What is left of its timeout.
    wait: Option<NaiveWait>,
    missed: bool,
    last: Option<u64>,
    items: Vec<Item>,
    running: bool,
    ending: bool,
    closing: bool,
    panicked: bool,
    /// When it became ready, in the order of all.
    ready_since: Option<u64>,
}

#[derive(Default)]
struct Books {
    beats: u64,
    reported: u64,
    superseded: u64,
    ignored: u64,
    discarded: u64,
    late: u64,
    missed: u64,
    panicked: u64,
}

struct Pair {
    start: Instant,
    at: u64,
    table: Table<usize>,
    naive: Vec<Naive>,
    closed: Vec<(Key, bool)>,
    /// Calls under way: the key, and the callback, which is the token's number.
    calls: Vec<(Key, usize)>,
    old_keys: Vec<Key>,
    books: Books,
    tick: u64,
    trace: Vec<String>,
}

/// A timeout is a multiple of eight.
fn wait(now: Instant, timeout_ms: u64) -> NaiveWait {
    NaiveWait::begin(now, Duration::from_millis(timeout_ms), AWAY)
}

impl Naive {
    fn is_ready(&self) -> bool {
        let reportable = |item: &Item| match item {
            Item::Missed { .. } | Item::Passed { .. } => true,
            Item::Held { .. } => self.closing,
            Item::Unseen { .. } => false,
        };
        !self.running && self.items.iter().any(reportable)
    }

    /// A beat is put behind what is there, with everything that it supersedes taken away.
    fn add(&mut self, at: u64, beat: u64, mut late: bool, books: &mut Books) {
        let opens = self.passed_at.map_or(0, |passed| passed + self.throttle);
        let replaced: fn(&Item) -> bool = if self.running {
            |item| !item.is_missed()
        } else if at >= opens {
            |item| !item.is_missed()
        } else {
            |item| matches!(item, Item::Held { .. })
        };
        let had_passed = self.items.iter().any(|item| matches!(item, Item::Passed { .. }));
        for item in self.items.iter().filter(|item| replaced(item)) {
            books.superseded += 1;
            late |= item.is_late();
        }
        self.items.retain(|item| !replaced(item));
        self.items.push(if self.running {
            if had_passed { Item::Passed { beat, late } } else { Item::Unseen { beat, late } }
        } else if at >= opens {
            self.passed_at = Some(at);
            Item::Passed { beat, late }
        } else {
            Item::Held { beat, late, until: opens }
        });
    }

    fn pass_time(&mut self, at: u64, now: Instant, books: &mut Books) {
        if self.closing {
            return;
        }
        if let Some(Item::Held { beat, late, until }) = self.items.last().cloned()
            && at >= until
        {
            self.items.pop();
            self.passed_at = Some(at);
            let older = self.items.iter().filter(|item| !item.is_missed()).cloned().collect::<Vec<_>>();
            books.superseded += older.len() as u64;
            let late = late || older.iter().any(Item::is_late);
            self.items.retain(Item::is_missed);
            self.items.push(Item::Passed { beat, late });
        }
        if !self.missed && self.wait.as_mut().is_some_and(|wait| wait.is_over(now)) {
            self.missed = true;
            books.missed += 1;
            let carrying = |item: &Item| !matches!(item, Item::Missed { carries: false, .. });
            let beats = self.items.iter().filter(|item| !item.is_missed()).count();
            let waiting = self.items.iter().filter(|item| carrying(item)).count() as u64;
            books.superseded += waiting.saturating_sub(u64::from(beats > 0));
            let silent_ms = at - self.heard_at;
            self.items = vec![Item::Missed { last: self.last, silent_ms, carries: beats > 0 }];
        }
    }

    fn discard(&self, books: &mut Books) -> Option<u64> {
        let beats = self.items.iter().filter_map(|item| match item {
            Item::Missed { carries: false, .. } => None,
            Item::Missed { last, .. } => *last,
            Item::Passed { beat, .. } | Item::Held { beat, .. } | Item::Unseen { beat, .. } => Some(*beat),
        });
        let beats: Vec<u64> = beats.collect();
        books.discarded += beats.len() as u64;
        beats.last().copied()
    }
}

fn details(beat: u64) -> Details {
    Details::encode(&beat).expect("it encodes")
}

fn number(details: Details) -> u64 {
    details.decode().expect("it is a number")
}

fn name(token: usize) -> Token {
    token.to_string().into()
}

impl Pair {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            at: 0,
            table: Table::new(),
            naive: Vec::new(),
            closed: Vec::new(),
            calls: Vec::new(),
            old_keys: Vec::new(),
            books: Books::default(),
            tick: 0,
            trace: Vec::new(),
        }
    }

    fn run(commands: &[Command]) -> Vec<String> {
        let mut pair = Self::new();
        for command in commands {
            pair.carry_out(command);
            pair.settle();
            pair.compare();
        }
        pair.drain();
        pair.trace
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.at)
    }

    fn place(&self, token: usize) -> Option<usize> {
        self.naive.iter().position(|naive| naive.token == token)
    }

    fn carry_out(&mut self, command: &Command) {
        let now = self.now();
        match *command {
            Command::Register { token, timeout, throttle } => {
                let mut options = HeartbeaterOptions::new().throttle(Duration::from_millis(throttle));
                if let Some(timeout) = timeout {
                    options = options.timeout(Duration::from_millis(timeout));
                }
                let registered = self.table.register(now, name(token), options, token);
                assert_eq!(registered.is_err(), self.place(token).is_some());
                if let Ok(key) = registered {
                    assert!(!self.old_keys.contains(&key));
                    self.old_keys.push(key);
                    self.naive.push(Naive {
                        token,
                        key,
                        timeout,
                        throttle,
                        passed_at: None,
                        heard_at: self.at,
                        wait: timeout.map(|timeout| wait(now, timeout)),
                        missed: false,
                        last: None,
                        items: Vec::new(),
                        running: false,
                        ending: false,
                        closing: false,
                        panicked: false,
                        ready_since: None,
                    });
                    self.serve_timers();
                }
            }
            Command::Beat { token } => {
                if let Some(place) = self.place(token) {
                    self.beat(self.naive[place].key);
                }
            }
            Command::StaleBeat { which } => {
                if let Some(key) = self.old_keys.get(which).copied() {
                    self.beat(key);
                }
            }
            Command::Begin { token } => {
                let begun = self.table.begin_unregister(&name(token));
                let expected = match self.place(token) {
                    None => Err(Refused::Unknown),
                    Some(place) if self.naive[place].ending => Err(Refused::InProgress),
                    Some(place) => {
                        self.naive[place].ending = true;
                        Ok(self.naive[place].key)
                    }
                };
                assert_eq!(begun, expected);
            }
            Command::Close { token } => {
                if let Some(place) = self.place(token).filter(|place| self.naive[*place].ending) {
                    self.table.close(self.naive[place].key);
                    self.naive[place].closing = true;
                }
            }
            Command::Discard { token } => {
                let discarded = self.table.discard(&name(token));
                match self.place(token) {
                    None => assert_eq!(discarded.err(), Some(Refused::Unknown)),
                    Some(place) if self.naive[place].ending => {
                        assert_eq!(discarded.err(), Some(Refused::InProgress));
                    }
                    Some(place) => self.removed(place, discarded.expect("it is there")),
                }
            }
            Command::Remove { token } => {
                if let Some(place) = self.place(token) {
                    let removed = self.table.remove(self.naive[place].key).expect("it is there");
                    self.removed(place, removed);
                }
            }
            Command::Call => {
                self.call();
            }
            Command::Return { which, panics } => {
                if which < self.calls.len() {
                    self.finish(which, panics);
                }
            }
            Command::Advance { by_ms } => {
                self.at += by_ms;
                self.serve_timers();
            }
        }
    }

    fn beat(&mut self, key: Key) {
        self.books.beats += 1;
        let beat = self.books.beats;
        self.table.beat(self.now(), key, details(beat));
        let (at, now) = (self.at, self.now());
        match self.naive.iter_mut().find(|naive| naive.key == key && !naive.closing) {
            None => self.books.ignored += 1,
            Some(naive) => {
                let late = std::mem::take(&mut naive.missed);
                self.books.late += u64::from(late);
                (naive.heard_at, naive.last) = (at, Some(beat));
                naive.wait = naive.timeout.map(|timeout| wait(now, timeout));
                naive.add(at, beat, late, &mut self.books);
            }
        }
        // With a timeout of zero it is silent at once.
        self.serve_timers();
    }

    fn removed(&mut self, place: usize, removed: Removed<usize>) {
        let naive = self.naive.remove(place);
        assert_eq!(removed.callback, (!naive.running).then_some(naive.token));
        assert_eq!(removed.unreported.map(number), naive.discard(&mut self.books));
    }

    fn serve_timers(&mut self) {
        let now = self.now();
        while self.table.poll_timeout().is_some_and(|at| at <= now) {
            self.table.handle_timeout(now);
        }
        for naive in &mut self.naive {
            naive.pass_time(self.at, now, &mut self.books);
        }
        // The order in which timers make tokens ready is the table's own; the model takes it over.
        let ready = self.table.ready.clone();
        for key in ready {
            if let Some(naive) = self.naive.iter_mut().find(|naive| naive.key == key)
                && naive.is_ready()
                && naive.ready_since.is_none()
            {
                self.tick += 1;
                naive.ready_since = Some(self.tick);
            }
        }
    }

    /// True if something was ready.
    fn call(&mut self) -> bool {
        let work = self.table.poll_ready();
        let first = self.naive.iter_mut().filter(|naive| naive.ready_since.is_some());
        let Some(naive) = first.min_by_key(|naive| naive.ready_since) else {
            assert!(work.is_none());
            return false;
        };
        let work = work.expect("the model has something");
        assert_eq!((work.key, work.callback), (naive.key, naive.token));
        (naive.running, naive.ready_since) = (true, None);
        let expected = naive.items.remove(0);
        self.books.reported += u64::from(!matches!(expected, Item::Missed { carries: false, .. }));
        self.trace.push(format!("{} {} {:?}", self.at, naive.token, work.report));
        match (work.report, expected) {
            (
                Report::Beat(details),
                Item::Passed { beat, late: false } | Item::Held { beat, late: false, .. },
            )
            | (
                Report::Late(details),
                Item::Passed { beat, late: true } | Item::Held { beat, late: true, .. },
            ) => {
                assert_eq!(number(details), beat);
            }
            (Report::Missed { last, silent_for }, Item::Missed { last: expected, silent_ms, .. }) => {
                assert_eq!(last.map(number), expected);
                assert_eq!(silent_for, Duration::from_millis(silent_ms));
            }
            (report, expected) => panic!("{report:?} instead of {expected:?}"),
        }
        self.calls.push((work.key, work.callback));
        true
    }

    fn finish(&mut self, which: usize, panics: bool) {
        let (key, callback) = self.calls.remove(which);
        let given_back = self.table.finished(self.now(), key, callback, panics.then(|| "it broke".into()));
        self.books.panicked += u64::from(panics);
        let at = self.at;
        let Some(naive) = self.naive.iter_mut().find(|naive| naive.key == key) else {
            assert_eq!(given_back, Some(callback));
            return;
        };
        assert_eq!(given_back, None);
        naive.running = false;
        naive.panicked |= panics;
        if let Some(Item::Unseen { beat, late }) = naive.items.last().cloned() {
            naive.items.pop();
            match naive.closing {
                true => naive.items.push(Item::Passed { beat, late }),
                false => naive.add(at, beat, late, &mut self.books),
            }
        }
    }

    /// What becomes ready, and what ends.
    fn settle(&mut self) {
        for naive in &mut self.naive {
            if naive.is_ready() && naive.ready_since.is_none() {
                self.tick += 1;
                naive.ready_since = Some(self.tick);
            }
        }
        let (ended, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.naive)
            .into_iter()
            .partition(|naive| naive.closing && !naive.running && naive.items.is_empty());
        self.naive = open;
        self.closed.extend(ended.iter().map(|naive| (naive.key, naive.panicked)));
        for (key, panicked) in std::mem::take(&mut self.closed) {
            let closed = self.table.poll_closed().expect("the model has ended it");
            assert_eq!((closed.key, closed.panicked.is_some()), (key, panicked));
        }
        assert!(self.table.poll_closed().is_none());
    }

    fn compare(&mut self) {
        let (stats, books) = (self.table.stats(), &self.books);
        assert_eq!(stats.tokens, self.naive.len());
        assert_eq!(
            [stats.beats, stats.reported, stats.superseded, stats.ignored, stats.discarded],
            [books.beats, books.reported, books.superseded, books.ignored, books.discarded]
        );
        assert_eq!([stats.late, stats.missed, stats.panicked], [books.late, books.missed, books.panicked]);
        let waits = |item: &&Item| !matches!(item, Item::Missed { carries: false, .. });
        let pending = self.naive.iter().flat_map(|naive| &naive.items).filter(waits).count();
        assert_eq!(stats.pending, pending as u64);
        assert_eq!(self.table.has_ready(), self.naive.iter().any(|naive| naive.ready_since.is_some()));
        for naive in &self.naive {
            let beats = naive.items.iter().filter(|item| !item.is_missed()).count();
            assert!(beats <= 1 + usize::from(naive.throttle > 0), "{:?}", naive.items);
        }
        // Who sleeps until the table's next timer misses none of the model's.
        let next = self.naive.iter().filter(|naive| !naive.closing).flat_map(|naive| {
            let held = naive.items.iter().filter_map(|item| match item {
                Item::Held { until, .. } => Some(self.start + Duration::from_millis(*until)),
                _ => None,
            });
            let silence = naive.wait.filter(|_| !naive.missed).map(|wait| wait.next_look());
            held.chain(silence)
        });
        if let Some(next) = next.min() {
            let at = self.table.poll_timeout().expect("the model has a timer");
            assert!(at <= next);
        }
    }

    /// Everything can be ended, and nothing is left then.
    fn drain(&mut self) {
        for token in 0..TOKENS {
            for command in [Command::Begin { token }, Command::Close { token }] {
                self.carry_out(&command);
                self.settle();
            }
        }
        loop {
            while !self.calls.is_empty() {
                self.finish(0, false);
                self.settle();
            }
            if !self.call() {
                break;
            }
            self.settle();
        }
        self.compare();
        assert!(self.naive.is_empty());
        let stats = self.table.stats();
        assert_eq!((stats.tokens, stats.pending), (0, 0));
        assert_eq!(stats.beats, stats.reported + stats.superseded + stats.ignored + stats.discarded);
        assert_eq!(self.table.poll_timeout(), None);
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_it_does_what_the_model_says(commands in vec(command(), 0..200)) {
        Pair::run(&commands);
    }

    #[test]
    fn one_sequence_of_calls_gives_one_trace(commands in vec(command(), 0..100)) {
        prop_assert_eq!(Pair::run(&commands), Pair::run(&commands));
    }
}
