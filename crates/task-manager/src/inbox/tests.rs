//! The inbox against a naive model, which keeps one list of items and asks of each whom it is for; and the promises that
//! need no sequence of commands.

#[path = "../../tests/support/listener.rs"]
mod listener;

use std::{collections::BTreeSet, fmt::Write, sync::Arc};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngSeed},
};

use tracing::{Event, Level};

use self::listener::{Listener, fields};
use super::*;
use crate::{
    failure::{FailureCause, FailureReport},
    ids::{ManagerId, TaskId},
    message::{EncodedMessage, Kinds, NoMessage, TaskMessage as _},
};

/// Types of messages. Readers are opened for all but the last.
const TYPES: [&str; 4] = ["b", "a", "c", "never-read"];

fn message(name: &str, number: u32, len: usize) -> Item {
    let message = EncodedMessage { name: name.into(), payload: vec![0; len].into() };
    Item::Message { task: None, attempt: number, message }
}

fn failure(number: u32, text: String) -> Item {
    Item::Failure(
        FailureReport {
            task: TaskId::new(ManagerId::new(0, 0), 0),
            name: "a-task".into(),
            debug: "ATask".into(),
            attempt: number,
            worker: None,
            cause: FailureCause::Error { chain: vec![text], backtrace: None },
            links: Vec::new(),
            deaths: Vec::new(),
            last_heartbeat: None,
        }
        .into(),
    )
}

fn number(item: &Item) -> u32 {
    match item {
        Item::Message { attempt, .. } => *attempt,
        Item::Failure(failure) => failure.attempt,
    }
}

#[derive(Clone, Debug)]
enum Command {
    /// So many tasks are scheduled.
    Tasks(u8),
    /// Items come: `TYPES` by place, and failures beyond them; then tasks end.
    Deliver(Vec<(u8, u8)>, u8),
    /// A reader of a type, or beyond them one of failures only, and one of any type.
    Open(u8, bool),
    /// Somebody closes: by reading what is for no reader that lasts, everything, or nothing.
    OpenClosing(u8),
    /// One of the open readers is dropped.
    Shut(u8),
    /// One of the open readers reads, and waits if it finds nothing.
    Read(u8),
    /// The manager has closed.
    Close,
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => (1..3_u8).prop_map(Command::Tasks),
        6 => (vec((0..6_u8, any::<u8>()), 0..4), 0..3_u8).prop_map(|(items, ended)| Command::Deliver(items, ended)),
        3 => (0..5_u8, any::<bool>()).prop_map(|(of, lasts)| Command::Open(of, lasts)),
        1 => (0..3_u8).prop_map(Command::OpenClosing),
        2 => any::<u8>().prop_map(Command::Shut),
        9 => any::<u8>().prop_map(Command::Read),
        1 => Just(Command::Close),
    ]
}

/// What the naive model knows of an item.
#[derive(Clone, Debug)]
struct Known {
    number: u32,
    /// None of a failure.
    name: Option<&'static str>,
    len_bytes: usize,
    /// It stands for so many messages that were dropped: of `name`, or if that is none, of types that nobody had read.
    dropped: u64,
}

impl Known {
    fn is_message(&self) -> bool {
        self.dropped == 0 && self.name.is_some()
    }
}

struct Model {
    core: Core<ReaderId>,
    limit_bytes: usize,
    overflow: InboxOverflow,
    dropped: u64,
    overflow_reported: bool,
    items: Vec<Known>,
    next_number: u32,
    pending: u64,
    closed: bool,
    full: bool,
    /// It has just become so.
    fills: bool,
    reported: bool,
    ever_opened: BTreeSet<&'static str>,
    any_was_opened: bool,
    readers: Vec<(ReaderId, Reads)>,
    /// Those that found nothing and were not woken since.
    waiting: BTreeSet<ReaderId>,
}

impl Model {
    fn new(limit_bytes: usize, overflow: InboxOverflow) -> Self {
        Self {
            core: Core::new(limit_bytes, overflow),
            limit_bytes,
            overflow,
            dropped: 0,
            overflow_reported: false,
            items: Vec::new(),
            next_number: 0,
            pending: 0,
            closed: false,
            full: false,
            fills: false,
            reported: false,
            ever_opened: BTreeSet::new(),
            any_was_opened: false,
            readers: Vec::new(),
            waiting: BTreeSet::new(),
        }
    }

    fn is_for(&self, item: &Known, reads: Reads) -> bool {
        let lasting = |reads: &Reads| matches!(reads, Reads::UntilClose(_));
        let of_failures = |reads: Reads| matches!(reads, Reads::WithTheWork(kinds) | Reads::UntilClose(kinds) if kinds == Kinds::One(NoMessage::NAME));
        match reads {
            Reads::Nothing => false,
            Reads::ClosingAll => true,
            Reads::Closing => {
                !self.readers.iter().any(|&(_, other)| lasting(&other) && self.is_for(item, other))
            }
            Reads::WithTheWork(of) | Reads::UntilClose(of) => match item.name {
                None if item.dropped > 0 => of == Kinds::Any || !self.any_was_opened,
                None => of_failures(reads) || !self.readers.iter().any(|&(_, other)| of_failures(other)),
                Some(name) if self.ever_opened.contains(name) => Kinds::One(name) == of,
                Some(_) => of == Kinds::Any || !self.any_was_opened,
            },
        }
    }

    fn has_ended(&self, reads: Reads) -> bool {
        match reads {
            Reads::UntilClose(_) => self.closed,
            _ => self.pending == 0,
        }
    }

    fn len_bytes(&self) -> usize {
        self.items.iter().map(|item| item.len_bytes).sum()
    }

    /// What no open reader takes.
    fn unread(&self) -> Vec<&Known> {
        let is_read = |item: &Known| self.readers.iter().any(|&(_, reads)| self.is_for(item, reads));
        self.items.iter().filter(|item| !is_read(item)).collect()
    }

    /// Checks and notes who is woken, and what is said.
    fn followed(&mut self, follows: Follows<ReaderId>) {
        assert_eq!(follows.filled, std::mem::take(&mut self.fills));
        for woken in follows.wake {
            assert!(self.waiting.remove(&woken), "{woken:?} is woken and did not wait");
        }
        let unread: Vec<_> = self.unread().into_iter().filter(|item| item.dropped == 0).collect();
        let bytes: usize = unread.iter().map(|item| item.len_bytes).sum();
        let report = self.full && !self.reported && !self.closed && bytes > self.limit_bytes / 2;
        assert_eq!(follows.unread.is_some(), report);
        if let Some(Unread { limit_bytes, waiting }) = follows.unread {
            assert_eq!(limit_bytes, self.limit_bytes);
            for (name, count) in &waiting {
                let of = |item: &&&Known| item.name == name.as_deref();
                assert_eq!(unread.iter().filter(of).count(), *count);
            }
            let types: BTreeSet<_> = unread.iter().map(|item| item.name).collect();
            assert_eq!(waiting.len(), types.len());
        }
        self.reported |= report;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Tasks(count) if !self.closed => {
                (0..count).for_each(|_| self.core.task_added());
                self.pending += u64::from(count);
            }
            Command::Deliver(items, ended) if !self.closed => {
                let items: Vec<_> = items.into_iter().map(|(of, len)| self.item(of, len)).collect();
                let ended = u64::from(ended).min(self.pending);
                self.pending -= ended;
                let dropped_before = self.dropped;
                // They are the last of the list, and come one by one.
                let come = self.items.split_off(self.items.len() - items.len());
                for item in come {
                    self.items.push(item);
                    self.drop_oldest();
                }
                if self.len_bytes() > self.limit_bytes && !self.full {
                    (self.full, self.reported, self.fills) = (true, false, true);
                    self.overflow_reported = false;
                }
                let room = self.full && self.len_bytes() <= self.limit_bytes / 2;
                self.full &= !room;
                let too_much = match self.overflow {
                    InboxOverflow::Grow => self.full && self.len_bytes() / 2 > self.limit_bytes,
                    InboxOverflow::DropOldest { .. } => self.dropped > dropped_before,
                };
                let reports = too_much && !self.overflow_reported;
                self.overflow_reported |= reports;
                let follows = self.core.deliver(items, ended);
                assert_eq!((follows.room, follows.overflowed.is_some()), (room, reports));
                self.followed(follows);
            }
            Command::Open(of, lasts) => {
                let kinds = match of {
                    4.. => Kinds::Any,
                    _ => Kinds::One(TYPES[..3].get(usize::from(of)).unwrap_or(&NoMessage::NAME)),
                };
                match kinds {
                    Kinds::One(name) => _ = self.ever_opened.insert(name),
                    Kinds::Any => self.any_was_opened = true,
                }
                self.open(if lasts { Reads::UntilClose(kinds) } else { Reads::WithTheWork(kinds) });
            }
            Command::OpenClosing(how) => {
                self.open([Reads::Closing, Reads::ClosingAll, Reads::Nothing][usize::from(how)]);
            }
            Command::Shut(which) if !self.readers.is_empty() => {
                let (id, _) = self.readers.remove(usize::from(which) % self.readers.len());
                self.waiting.remove(&id);
                let lost = self.unread().iter().filter(|item| item.dropped == 0).count() as u64;
                let (dropped, follows) = self.core.shut(id);
                self.followed(follows);
                assert_eq!(dropped, if self.closed { lost } else { 0 });
                if self.closed {
                    let kept = self
                        .items
                        .iter()
                        .filter(|&item| self.readers.iter().any(|&(_, reads)| self.is_for(item, reads)));
                    self.items = kept.cloned().collect();
                }
            }
            Command::Read(which) if !self.readers.is_empty() => {
                let (id, reads) = self.readers[usize::from(which) % self.readers.len()];
                self.read(id, reads);
            }
            Command::Close if self.pending == 0 && !self.closed => {
                let (left, gone): (Vec<_>, Vec<_>) =
                    self.items.iter().cloned().partition(|item| !self.is_for(item, Reads::Closing));
                self.items = left;
                self.closed = true;
                let (items, follows) = self.core.close();
                let numbers: Vec<_> = items.iter().map(number).collect();
                let gone = gone.iter().filter(|item| item.dropped == 0);
                assert_eq!(numbers, gone.map(|item| item.number).collect::<Vec<_>>());
                self.followed(follows);
            }
            _ => {}
        }
        self.check();
    }

    fn item(&mut self, of: u8, len: u8) -> Item {
        let (number, len) = (self.next_number, usize::from(len));
        self.next_number += 1;
        let name = TYPES.get(usize::from(of)).copied();
        let item = match name {
            Some(name) => message(name, number, len),
            None => failure(number, "x".repeat(len)),
        };
        self.items.push(Known { number, name, len_bytes: item.len_bytes(), dropped: 0 });
        item
    }

    /// Replaces the oldest messages by gaps, one for each type that is read, and one for all others.
    fn drop_oldest(&mut self) {
        let InboxOverflow::DropOldest { beyond } = self.overflow else { return };
        while self.len_bytes() > self.limit_bytes + beyond
            && self.items.iter().filter(|item| item.is_message()).count() > 1
        {
            let at = self.items.iter().position(Known::is_message).expect("there are two");
            let name = self.items[at].name.filter(|name| self.ever_opened.contains(name));
            self.dropped += 1;
            let gap = self.items.iter_mut().find(|item| item.dropped > 0 && item.name == name);
            if let Some(gap) = gap {
                gap.dropped += 1;
                self.items.remove(at);
            } else {
                self.items[at] = Known { number: self.items[at].number, name, len_bytes: 0, dropped: 1 };
            }
        }
    }

    fn open(&mut self, reads: Reads) {
        let (id, follows) = self.core.open(reads);
        self.readers.push((id, reads));
        self.followed(follows);
    }

    fn read(&mut self, id: ReaderId, reads: Reads) {
        let mine = self.items.iter().position(|item| self.is_for(item, reads));
        match (self.core.take(id), mine) {
            (Some((Taken::Item(item), room)), Some(at)) => {
                let expected = self.items.remove(at);
                assert_eq!(expected.dropped, 0);
                assert_eq!((number(&item), item.len_bytes()), (expected.number, expected.len_bytes));
                assert_eq!(room, self.full && self.len_bytes() <= self.limit_bytes / 2);
                self.full &= !room;
            }
            (Some((Taken::Dropped { name, count }, room)), Some(at)) => {
                let expected = self.items.remove(at);
                assert_eq!((name, count), (expected.name, expected.dropped));
                assert_eq!(room, self.full && self.len_bytes() <= self.limit_bytes / 2);
                self.full &= !room;
            }
            (Some((Taken::End, room)), None) => assert!(self.has_ended(reads) && !room),
            (None, None) => {
                assert!(!self.has_ended(reads));
                let before = self.core.wait(id, id);
                assert_eq!(before.is_some(), !self.waiting.insert(id));
            }
            (taken, mine) => panic!("{reads:?} took {taken:?} where {mine:?} was expected"),
        }
    }

    fn check(&self) {
        let len = self.items.iter().filter(|item| item.dropped == 0).count();
        assert_eq!((self.core.len(), self.core.len_bytes()), (len, self.len_bytes()));
        assert_eq!(self.core.dropped(), self.dropped);
        assert_eq!((self.core.is_full(), self.core.pending()), (self.full, self.pending));
        assert!(self.core.types() <= TYPES.len(), "one queue for each type that is read");
        // No wake is lost: a reader that still waits would still find nothing.
        for &(id, reads) in &self.readers {
            assert_eq!(self.core.waits(id).is_some(), self.waiting.contains(&id));
            if self.waiting.contains(&id) {
                assert!(!self.has_ended(reads), "{reads:?} waits beyond its end");
                let mine = self.items.iter().find(|item| self.is_for(item, reads));
                assert!(mine.is_none(), "{reads:?} waits, and {mine:?} is for it");
            }
        }
    }
}

fn config() -> Config {
    let cases = std::env::var("WORKFLEET_PROPTEST_CASES");
    let cases = cases.ok().map(|cases| cases.parse().expect("WORKFLEET_PROPTEST_CASES is a number"));
    Config {
        cases: cases.unwrap_or(1000),
        rng_seed: if cases.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) },
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_inbox_does_what_one_list_would(
        limit_bytes in 0..1500_usize,
        beyond in proptest::option::of(0..500_usize),
        commands in vec(command(), 1..80),
    ) {
        let overflow = beyond.map_or(InboxOverflow::Grow, |beyond| InboxOverflow::DropOldest { beyond });
        let mut model = Model::new(limit_bytes, overflow);
        commands.into_iter().for_each(|command| model.obey(command));
    }
}

fn read(core: &mut Core<()>, reader: ReaderId) -> Option<u32> {
    match core.take(reader) {
        Some((Taken::Item(item), _)) => Some(number(&item)),
        Some((Taken::Dropped { .. } | Taken::End, _)) | None => None,
    }
}

#[test]
fn the_text_of_a_failure_counts() {
    let mut core = Core::<()>::new(10_000, InboxOverflow::Grow);
    (0..2).for_each(|_| core.task_added());
    let (reader, _) = core.open(Reads::WithTheWork(Kinds::One("a")));
    let _ = core.deliver([failure(0, "short".into())], 1);
    assert!(!core.is_full());
    let _ = core.deliver([failure(1, "x".repeat(10_000))], 1);
    assert!(core.is_full());
    // Not at once: or dispatching would stop and start with every item.
    assert!(matches!(core.take(reader), Some((Taken::Item(_), false))));
    assert!(matches!(core.take(reader), Some((Taken::Item(_), true))));
    assert!(!core.is_full());
    assert!(matches!(core.take(reader), Some((Taken::End, false))));
}

#[test]
fn what_came_before_its_type_was_claimed_is_for_its_reader_in_order() {
    let mut core = Core::<()>::new(10_000, InboxOverflow::Grow);
    core.task_added();
    let _ = core
        .deliver([message("a", 0, 0), message("b", 1, 0), message("a", 2, 0), failure(3, String::new())], 0);
    let (a, _) = core.open(Reads::WithTheWork(Kinds::One("a")));
    let (b, _) = core.open(Reads::WithTheWork(Kinds::One("b")));
    assert_eq!([read(&mut core, b), read(&mut core, b), read(&mut core, b)], [Some(1), Some(3), None]);
    assert_eq!([read(&mut core, a), read(&mut core, a), read(&mut core, a)], [Some(0), Some(2), None]);
}

#[test]
fn a_pause_is_reported_once_and_names_what_waits() {
    let mut core = Core::<()>::new(200, InboxOverflow::Grow);
    core.task_added();
    let (reader, _) = core.open(Reads::UntilClose(Kinds::One("a")));
    // A slow reader is not reported.
    assert_eq!(core.deliver([message("a", 0, 300)], 0).unread, None);
    assert!(core.is_full());
    // Nobody else reads what comes beside it, and so much that the pause would last.
    let (b, _) = core.open(Reads::UntilClose(Kinds::One("b")));
    assert_eq!(core.shut(b).1.unread, None);
    let unread =
        core.deliver([message("b", 1, 300), message("b", 2, 0)], 0).unread.expect("nobody reads them");
    assert_eq!((unread.limit_bytes, unread.waiting), (200, vec![(Some("b".into()), 2)]));
    assert_eq!(core.deliver([message("b", 3, 300)], 0).unread, None, "once for each pause");
    assert_eq!(core.shut(reader).1.unread, None, "once for each pause");
}

#[test]
fn a_reader_that_goes_away_while_the_inbox_is_full_leaves_a_report() {
    let mut core = Core::<()>::new(100, InboxOverflow::Grow);
    core.task_added();
    let (reader, _) = core.open(Reads::WithTheWork(Kinds::One("a")));
    assert_eq!(core.deliver([message("a", 0, 300), failure(1, String::new())], 0).unread, None);
    let unread = core.shut(reader).1.unread.expect("nobody reads it");
    assert_eq!(unread.waiting, [(Some("a".into()), 1), (None, 1)]);
}

/// Keeps what is said of the inbox.
#[derive(Default)]
struct Keeper(Arc<Mutex<Vec<(Level, String)>>>);

impl Keeper {
    fn hears(&self) -> Listener<impl Fn(&Event<'_>) + use<>> {
        let said = Arc::clone(&self.0);
        let hears = move |event: &Event<'_>| {
            let mut text = String::new();
            fields(event, |name, value| write!(text, "{name}: {value:?}; ").expect("a string takes all"));
            said.lock().expect("nobody panics").push((*event.metadata().level(), text));
        };
        Listener { up_to: Level::TRACE, hears }
    }
}

fn deliver<const N: usize>(inbox: &Inbox, items: [Item; N]) {
    assert!(!inbox.deliver(items, 0), "nothing has made room");
}

#[test]
fn one_warning_says_that_running_tasks_have_doubled_a_full_inbox() {
    let keeper = Keeper::default();
    let inbox = Inbox::new(1000, InboxOverflow::Grow);
    tracing::subscriber::with_default(keeper.hears(), || {
        inbox.task_added();
        // It reads, and too slowly.
        let reader = inbox.open(Reads::UntilClose(Kinds::One("a")));
        (0..20).for_each(|number| deliver(&inbox, [message("a", number, 400)]));
        inbox.shut(reader);
    });
    let said = keeper.0.lock().expect("nobody panics");
    let warned: Vec<_> =
        said.iter().filter(|(level, text)| *level == Level::WARN && text.contains("twice")).collect();
    assert_eq!(warned.len(), 1, "{said:?}");
    for part in ["limit_bytes: 1000", "goes on growing", "inbox_overflow"] {
        assert!(warned[0].1.contains(part), "{part} in {warned:?}");
    }
    assert_eq!((inbox.len(), inbox.dropped()), (20, 0));
}

#[test]
fn one_warning_says_that_messages_are_dropped() {
    let keeper = Keeper::default();
    let inbox = Inbox::new(1000, InboxOverflow::DropOldest { beyond: 500 });
    tracing::subscriber::with_default(keeper.hears(), || {
        inbox.task_added();
        let _reader = inbox.open(Reads::UntilClose(Kinds::One("a")));
        (0..20).for_each(|number| deliver(&inbox, [message("a", number, 400)]));
    });
    let said = keeper.0.lock().expect("nobody panics");
    let warned: Vec<_> = said.iter().filter(|(level, _)| *level == Level::WARN).collect();
    assert_eq!(warned.len(), 1, "{said:?}");
    for part in ["limit_bytes: 1000", "beyond_bytes: 500", "drops its oldest messages"] {
        assert!(warned[0].1.contains(part), "{part} in {warned:?}");
    }
}

#[test]
fn what_is_dropped_leaves_one_gap_and_neither_a_failure_nor_the_last_message_goes() {
    let mut core = Core::<()>::new(100, InboxOverflow::DropOldest { beyond: 0 });
    core.task_added();
    let (a, _) = core.open(Reads::WithTheWork(Kinds::One("a")));
    let _ = core.deliver([failure(0, String::new()), message("a", 1, 200), message("a", 2, 200)], 0);
    let follows = core.deliver([message("a", 3, 200)], 0);
    assert!(!follows.room && core.is_full());
    assert_eq!((core.len(), core.dropped()), (2, 2));
    assert_eq!(read(&mut core, a), Some(0), "a failure");
    assert!(matches!(core.take(a), Some((Taken::Dropped { name: Some("a"), count: 2 }, false))));
    assert_eq!((read(&mut core, a), read(&mut core, a)), (Some(3), None));
}

#[test]
fn a_pause_ends_when_what_is_dropped_makes_room() {
    let mut core = Core::<()>::new(1000, InboxOverflow::DropOldest { beyond: 0 });
    core.task_added();
    assert!(core.deliver([message("a", 0, 5000)], 0).filled);
    assert!(core.deliver([message("a", 1, 10)], 0).room);
    assert!(!core.is_full());
}

#[test]
fn the_warning_names_the_limit_the_types_that_wait_and_what_to_do() {
    let keeper = Keeper::default();
    let inbox = Inbox::new(200, InboxOverflow::Grow);
    tracing::subscriber::with_default(keeper.hears(), || {
        inbox.task_added();
        let reader = inbox.open(Reads::UntilClose(Kinds::One("a")));
        deliver(&inbox, [message("a", 0, 150), message("b", 1, 0)]);
        inbox.shut(reader);
        deliver(&inbox, [message("b", 2, 0)]);
    });
    let said = keeper.0.lock().expect("nobody panics");
    let levels: Vec<_> = said.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::DEBUG, Level::WARN], "{said:?}");
    for part in
        ["limit_bytes: 200", "1 \"a\", 1 \"b\"", "no task is begun", "messages_until_close", "inbox_limit"]
    {
        assert!(said[1].1.contains(part), "{part} in {said:?}");
    }
}

#[test]
fn what_a_reader_drops_after_the_close_is_counted() {
    let keeper = Keeper::default();
    let inbox = Inbox::new(200, InboxOverflow::Grow);
    tracing::subscriber::with_default(keeper.hears(), || {
        let reader = inbox.open(Reads::UntilClose(Kinds::One("a")));
        deliver(&inbox, [message("a", 0, 0), message("a", 1, 0)]);
        assert!(inbox.close().is_empty());
        inbox.shut(reader);
    });
    let said = keeper.0.lock().expect("nobody panics");
    assert!(matches!(&said[..], [(Level::WARN, text)] if text.contains("lost: 2")), "{said:?}");
    assert_eq!(inbox.len(), 0);
}
