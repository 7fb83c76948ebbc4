//! The items in the inbox, its readers, and which reader gets which item.
//!
//! The rule, which the documentation of [`Pool::messages`](crate::Pool::messages) states for users:
//!
//! | an item | is for |
//! |---|---|
//! | a message of a type that a reader was ever opened for (a *claimed* type) | readers of that type |
//! | a message of any other type | readers of any type, if one was ever opened; otherwise every reader |
//! | the failure of a task without a handle | readers of [`NoMessage`]; every reader while none of those is open |
//!
//! Invariants:
//! - A reader gets its items in the order of arrival.
//! - A change wakes every waiting reader that would now get an item, or would end. So if a reader is woken and leaves
//!   without reading, no other reader misses anything.
//! - A gap stands where messages were dropped from the front of a queue, and is taken like an item, once.
//! - The table of claimed types has one entry for each type of message that the program reads.
//! - There is no clock, lock or waker here: `W` is the caller's waker of a reader, and the caller wakes it.

use std::collections::VecDeque;

use super::{
    item::Item,
    overflow::{Gap, InboxOverflow, Overflowed},
};
use crate::message::{Kinds, NoMessage, TaskMessage};

/// At most this many types of messages are named where a full inbox is reported.
const NAMED_TYPES: usize = 8;
/// At most this many messages of unclaimed types are looked at for that.
const LOOKED_AT: usize = 1000;

/// Who reads, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Messages of these kinds, until every task has ended and nothing is left for this reader.
    WithTheWork(Kinds),
    /// The same, until the manager has closed and nothing is left for this reader.
    UntilClose(Kinds),
    /// The closing manager: what is for no open reader that lasts until the manager closes.
    Closing,
    /// The closing manager: everything, because readers do not read.
    ClosingAll,
    /// Nothing: it ends when every task has ended.
    Nothing,
}

impl Reads {
    /// The messages that it was opened for; none for a reader that closes the manager.
    fn kinds(self) -> Option<Kinds> {
        match self {
            Self::WithTheWork(kinds) | Self::UntilClose(kinds) => Some(kinds),
            Self::Closing | Self::ClosingAll | Self::Nothing => None,
        }
    }

    fn reads_failures_only(self) -> bool {
        self.kinds() == Some(Kinds::One(NoMessage::NAME))
    }

    fn reads_any(self) -> bool {
        self.kinds() == Some(Kinds::Any)
    }

    fn lasts(self) -> bool {
        matches!(self, Self::UntilClose(_))
    }
}

/// A number that stands for an open reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReaderId(u64);

/// What a reader got.
#[derive(Debug)]
pub(crate) enum Taken {
    Item(Item),
    /// Messages were dropped here: of this type, or of types that no reader was ever opened for.
    Dropped {
        name: Option<&'static str>,
        count: u64,
    },
    /// There is nothing for it, and nothing will come.
    End,
}

/// Whom to wake, and what to say, once no lock is held.
#[derive(Debug)]
#[must_use]
pub(crate) struct Follows<W> {
    pub(crate) wake: Vec<W>,
    /// The inbox has become full.
    pub(crate) filled: bool,
    /// There is room in it again, because something was dropped.
    pub(crate) room: bool,
    pub(crate) unread: Option<Unread>,
    pub(crate) overflowed: Option<Overflowed>,
}

impl<W> Follows<W> {
    fn nothing() -> Self {
        Self { wake: Vec::new(), filled: false, room: false, unread: None, overflowed: None }
    }
}

/// A full inbox pauses the pool, and no open reader takes what waits in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) limit_bytes: usize,
    /// The types of messages that wait for a reader, and how many of each. `None` stands for failures.
    pub(crate) waiting: Vec<(Option<Box<str>>, usize)>,
}

/// Which items, as far as that decides who takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Claimed(usize),
    Unclaimed,
    Failures,
}

#[derive(Debug)]
struct Reader<W> {
    id: ReaderId,
    reads: Reads,
    /// The queue of the type that it reads; none if it reads any, or closes.
    claimed: Option<usize>,
    /// It found nothing.
    waits: Option<W>,
}

/// Items in the order of arrival, each with its number in that order.
#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<(u64, Item)>,
    len_bytes: usize,
    /// What was dropped before the first of them.
    gap: Option<Gap>,
}

impl Queue {
    /// The number of what is to be taken first.
    fn first(&self) -> Option<u64> {
        let gap = self.gap.map(|gap| gap.arrival);
        gap.or_else(|| self.items.front().map(|&(arrival, _)| arrival))
    }
}

#[derive(Debug)]
pub(crate) struct Core<W> {
    /// One queue for each type of message that a reader was ever opened for.
    claimed: Vec<Queue>,
    /// Which type has which queue, in the order of names.
    names: Vec<(&'static str, usize)>,
    unclaimed: Queue,
    /// A reader of any type was opened: the unclaimed are for such readers.
    any_was_opened: bool,
    failures: Queue,
    arrivals: u64,
    len: usize,
    len_bytes: usize,
    limit_bytes: usize,
    overflow: InboxOverflow,
    /// How many messages were dropped.
    dropped: u64,
    /// How many queues have a gap.
    gaps: usize,
    /// It was said of this pause that running tasks send too much.
    overflow_reported: bool,
    /// Dispatching stops until readers have made room.
    full: bool,
    /// It was said of this pause that nobody reads.
    reported: bool,
    /// Tasks that were scheduled and have not ended.
    pending: u64,
    /// The manager has closed.
    closed: bool,
    /// In the order of their numbers.
    readers: Vec<Reader<W>>,
    next_reader: u64,
    /// How many readers wait.
    waiting: usize,
    /// How many readers of nothing but failures are open.
    failure_readers: usize,
    /// How many items readers have taken, the closing manager not counted.
    taken: u64,
}

impl<W> Core<W> {
    pub(crate) fn new(limit_bytes: usize, overflow: InboxOverflow) -> Self {
        Self {
            claimed: Vec::new(),
            names: Vec::new(),
            unclaimed: Queue::default(),
            any_was_opened: false,
            failures: Queue::default(),
            arrivals: 0,
            len: 0,
            len_bytes: 0,
            limit_bytes,
            overflow,
            dropped: 0,
            gaps: 0,
            overflow_reported: false,
            full: false,
            reported: false,
            pending: 0,
            closed: false,
            readers: Vec::new(),
            next_reader: 0,
            waiting: 0,
            failure_readers: 0,
            taken: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// How many messages were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// How many types of messages have a queue of their own.
    #[cfg(test)]
    pub(crate) fn types(&self) -> usize {
        self.claimed.len()
    }

    #[cfg(test)]
    pub(crate) fn pending(&self) -> u64 {
        self.pending
    }

    /// How many items readers have taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    pub(crate) fn task_added(&mut self) {
        self.pending += 1;
    }

    /// Items have come, and tasks have ended, in this order.
    pub(crate) fn deliver(&mut self, items: impl IntoIterator<Item = Item>, ended: u64) -> Follows<W> {
        let mut follows = Follows::nothing();
        let dropped_before = self.dropped;
        for item in items {
            let place = self.push(item);
            self.drop_oldest();
            if self.waiting > 0 {
                self.wake(&mut follows.wake, |core, reader| core.is_for(place, reader));
            }
        }
        debug_assert!(self.pending >= ended, "a task ends once");
        self.pending = self.pending.saturating_sub(ended);
        if self.pending == 0 && self.waiting > 0 {
            self.wake(&mut follows.wake, |core, reader| core.ends(reader.reads));
        }
        if self.len_bytes > self.limit_bytes && !self.full {
            self.full = true;
            self.reported = false;
            self.overflow_reported = false;
            follows.filled = true;
            self.wake(&mut follows.wake, |_, reader| reader.reads == Reads::Closing);
        }
        follows.room = self.has_room_again();
        follows.unread = self.report();
        follows.overflowed = self.overflowed(self.dropped > dropped_before);
        follows
    }

    /// The manager has closed: what is for no open reader that lasts until now, in the order of arrival. The rest is left
    /// to those readers.
    pub(crate) fn close(&mut self) -> (Vec<Item>, Follows<W>) {
        let id = self.insert(Reads::Closing);
        let mut items = Vec::new();
        while let Some(taken) = self.pop(id) {
            // What was dropped stands in the report by its number.
            if let Taken::Item(item) = taken {
                items.push(item);
            }
        }
        self.remove(id);
        self.closed = true;
        let mut follows = Follows::nothing();
        self.wake(&mut follows.wake, |core, reader| core.ends(reader.reads));
        (items, follows)
    }

    /// Opens a reader. From now on the type of its messages is claimed; or, if it reads any, what no other claims.
    pub(crate) fn open(&mut self, reads: Reads) -> (ReaderId, Follows<W>) {
        let id = self.insert(reads);
        let mut follows = Follows::nothing();
        // What was for every reader before, also for one that lasts, may be for this one only: failures, or its type.
        self.wake(&mut follows.wake, |_, reader| reader.reads == Reads::Closing);
        (id, follows)
    }

    /// Closes a reader. Also returns how many items were for this reader alone, if the manager has closed: nobody will
    /// read them.
    pub(crate) fn shut(&mut self, reader: ReaderId) -> (u64, Follows<W>) {
        let mut follows = Follows::nothing();
        let Some(shut) = self.remove(reader) else { return (0, follows) };
        if shut.reads.reads_failures_only() && self.failure_readers == 0 {
            // Failures are for every reader again.
            self.wake(&mut follows.wake, |_, _| true);
        } else if shut.reads.lasts() {
            // What was left to it is for the closing manager now.
            self.wake(&mut follows.wake, |_, reader| reader.reads == Reads::Closing);
        }
        follows.unread = self.report();
        (if self.closed { self.drop_unreadable() } else { 0 }, follows)
    }

    /// The oldest item that is for this reader, or its end; `None` if it has to wait. The flag says that there is room in
    /// the inbox again.
    pub(crate) fn take(&mut self, reader: ReaderId) -> Option<(Taken, bool)> {
        match self.pop(reader) {
            Some(taken) => Some((taken, self.has_room_again())),
            None => {
                let reads = self.reader(reader).map(|reader| reader.reads);
                let ends = reads.is_none_or(|reads| self.ends(reads));
                ends.then_some((Taken::End, false))
            }
        }
    }

    /// A reader that found nothing is to be woken by this. What was to wake it before is returned.
    pub(crate) fn wait(&mut self, reader: ReaderId, by: W) -> Option<W> {
        let Ok(place) = self.place_of(reader) else { return Some(by) };
        let before = self.readers[place].waits.replace(by);
        self.waiting += usize::from(before.is_none());
        before
    }

    /// What is to wake this reader.
    pub(crate) fn waits(&self, reader: ReaderId) -> Option<&W> {
        self.reader(reader)?.waits.as_ref()
    }

    fn push(&mut self, item: Item) -> Place {
        let place = match &item {
            Item::Failure(_) => Place::Failures,
            Item::Message { message, .. } => {
                let found = self.names.binary_search_by_key(&&*message.name, |&(name, _)| name);
                found.map_or(Place::Unclaimed, |at| Place::Claimed(self.names[at].1))
            }
        };
        self.len += 1;
        let len_bytes = item.len_bytes();
        self.len_bytes += len_bytes;
        let arrived = (self.arrivals, item);
        self.arrivals += 1;
        let queue = self.queue(place);
        queue.len_bytes += len_bytes;
        queue.items.push_back(arrived);
        place
    }

    fn queue(&mut self, place: Place) -> &mut Queue {
        match place {
            Place::Claimed(queue) => &mut self.claimed[queue],
            Place::Unclaimed => &mut self.unclaimed,
            Place::Failures => &mut self.failures,
        }
    }

    /// Whether items of this place are for this reader.
    fn is_for(&self, place: Place, reader: &Reader<W>) -> bool {
        match reader.reads {
            Reads::Nothing => false,
            Reads::ClosingAll => true,
            Reads::Closing => {
                !self.readers.iter().any(|other| other.reads.lasts() && self.is_for(place, other))
            }
            Reads::WithTheWork(_) | Reads::UntilClose(_) => match place {
                Place::Claimed(queue) => reader.claimed == Some(queue),
                Place::Unclaimed => !self.any_was_opened || reader.reads.reads_any(),
                Place::Failures => self.failure_readers == 0 || reader.reads.reads_failures_only(),
            },
        }
    }

    /// Whether a reader that finds nothing has come to its end.
    fn ends(&self, reads: Reads) -> bool {
        match reads {
            Reads::UntilClose(_) => self.closed,
            Reads::WithTheWork(_) | Reads::Closing | Reads::ClosingAll | Reads::Nothing => self.pending == 0,
        }
    }

    /// The oldest item that is for this reader, or the gap before it.
    fn pop(&mut self, id: ReaderId) -> Option<Taken> {
        if self.len == 0 && self.gaps == 0 {
            return None;
        }
        let reader = self.reader(id)?;
        let mut oldest: Option<(u64, Place)> = None;
        let mut look_at = |place, queue: &Queue| {
            if let Some(arrival) = queue.first()
                && oldest.is_none_or(|(oldest, _)| arrival < oldest)
                && self.is_for(place, reader)
            {
                oldest = Some((arrival, place));
            }
        };
        look_at(Place::Unclaimed, &self.unclaimed);
        look_at(Place::Failures, &self.failures);
        match reader.claimed {
            Some(queue) => look_at(Place::Claimed(queue), &self.claimed[queue]),
            None => {
                for (queue, items) in self.claimed.iter().enumerate() {
                    look_at(Place::Claimed(queue), items);
                }
            }
        }
        let counts = reader.reads.kinds().is_some();
        let (_, place) = oldest?;
        self.taken += u64::from(counts);
        if let Some(Gap { count, .. }) = self.queue(place).gap.take() {
            self.gaps -= 1;
            let name = self.names.iter().find(|&&(_, queue)| place == Place::Claimed(queue));
            return Some(Taken::Dropped { name: name.map(|&(name, _)| name), count });
        }
        self.pop_front(place).map(|(_, item)| Taken::Item(item))
    }

    /// The oldest item of this place, and its number.
    fn pop_front(&mut self, place: Place) -> Option<(u64, Item)> {
        let queue = self.queue(place);
        let (arrival, item) = queue.items.pop_front()?;
        let len_bytes = item.len_bytes();
        queue.len_bytes -= len_bytes;
        self.len -= 1;
        self.len_bytes -= len_bytes;
        Some((arrival, item))
    }

    /// Drops the oldest messages, but for the last, while more waits than may.
    fn drop_oldest(&mut self) {
        let InboxOverflow::DropOldest { beyond } = self.overflow else { return };
        let bound_bytes = self.limit_bytes.saturating_add(beyond);
        while self.len_bytes > bound_bytes && self.len - self.failures.items.len() > 1 {
            let claimed = self.claimed.iter().enumerate().map(|(at, queue)| (Place::Claimed(at), queue));
            let fronts = claimed.chain([(Place::Unclaimed, &self.unclaimed)]);
            let oldest = fronts
                .filter_map(|(place, queue)| queue.items.front().map(|&(arrival, _)| (arrival, place)))
                .min_by_key(|&(arrival, _)| arrival);
            let Some((arrival, place)) = oldest else { return };
            drop(self.pop_front(place));
            self.dropped += 1;
            let gap = &mut self.queue(place).gap;
            let is_new = gap.is_none();
            gap.get_or_insert(Gap { arrival, count: 0 }).count += 1;
            self.gaps += usize::from(is_new);
        }
    }

    /// Whether it has to be said how much running tasks send: once for each pause.
    fn overflowed(&mut self, has_dropped: bool) -> Option<Overflowed> {
        let Self { limit_bytes, len_bytes, overflow, .. } = *self;
        let too_much = match overflow {
            InboxOverflow::Grow => self.full && len_bytes / 2 > limit_bytes,
            InboxOverflow::DropOldest { .. } => has_dropped,
        };
        if !too_much || self.overflow_reported {
            return None;
        }
        self.overflow_reported = true;
        Some(Overflowed { limit_bytes, len_bytes, overflow })
    }

    /// Half empty after having been full: not at once, or dispatching would stop and start with every item.
    fn has_room_again(&mut self) -> bool {
        let again = self.full && self.len_bytes <= self.limit_bytes / 2;
        self.full &= !again;
        again
    }

    fn insert(&mut self, reads: Reads) -> ReaderId {
        let id = ReaderId(self.next_reader);
        self.next_reader += 1;
        self.failure_readers += usize::from(reads.reads_failures_only());
        self.any_was_opened |= reads.reads_any();
        let claimed = match reads.kinds() {
            Some(Kinds::One(name)) => Some(self.claim(name)),
            Some(Kinds::Any) | None => None,
        };
        self.readers.push(Reader { id, reads, claimed, waits: None });
        id
    }

    fn remove(&mut self, id: ReaderId) -> Option<Reader<W>> {
        let place = self.place_of(id).ok()?;
        let reader = self.readers.remove(place);
        self.failure_readers -= usize::from(reader.reads.reads_failures_only());
        self.waiting -= usize::from(reader.waits.is_some());
        Some(reader)
    }

    /// The queue of a type of messages, which has one from now on.
    fn claim(&mut self, name: &'static str) -> usize {
        match self.names.binary_search_by_key(&name, |&(name, _)| name) {
            Ok(at) => self.names[at].1,
            Err(at) => {
                let is_of =
                    |item: &Item| matches!(item, Item::Message { message, .. } if *message.name == *name);
                let unclaimed = std::mem::take(&mut self.unclaimed);
                let mut own = Queue::default();
                // Nobody has noted which of the types were dropped: the next reader of unclaimed messages finds the gap.
                self.unclaimed.gap = unclaimed.gap;
                for (arrival, item) in unclaimed.items {
                    let queue = if is_of(&item) { &mut own } else { &mut self.unclaimed };
                    queue.len_bytes += item.len_bytes();
                    queue.items.push_back((arrival, item));
                }
                self.claimed.push(own);
                let queue = self.claimed.len() - 1;
                self.names.insert(at, (name, queue));
                queue
            }
        }
    }

    fn place_of(&self, id: ReaderId) -> Result<usize, usize> {
        self.readers.binary_search_by_key(&id, |reader| reader.id)
    }

    fn reader(&self, id: ReaderId) -> Option<&Reader<W>> {
        self.readers.get(self.place_of(id).ok()?)
    }

    /// Takes those who wait and of whom this is true.
    fn wake(&mut self, woken: &mut Vec<W>, is_so: impl Fn(&Self, &Reader<W>) -> bool) {
        if self.waiting == 0 {
            return;
        }
        for place in 0..self.readers.len() {
            if self.readers[place].waits.is_some() && is_so(self, &self.readers[place]) {
                woken.extend(self.readers[place].waits.take());
                self.waiting -= 1;
            }
        }
    }

    /// Whether a full inbox has to be reported: once for each pause, and only if what no open reader takes is so much
    /// that the pause would last.
    fn report(&mut self) -> Option<Unread> {
        if !self.full || self.reported || self.closed {
            return None;
        }
        let is_unread = |place| !self.readers.iter().any(|reader| self.is_for(place, reader));
        let claimed =
            self.names.iter().map(|&(name, queue)| (Some(name), Place::Claimed(queue), &self.claimed[queue]));
        let failures = (None, Place::Failures, &self.failures);
        let mut unread_bytes = 0;
        let mut waiting: Vec<(Option<Box<str>>, usize)> = Vec::new();
        for (name, place, queue) in claimed.chain([failures]) {
            if !queue.items.is_empty() && is_unread(place) {
                unread_bytes += queue.len_bytes;
                waiting.push((name.map(Into::into), queue.items.len()));
            }
        }
        if is_unread(Place::Unclaimed) {
            unread_bytes += self.unclaimed.len_bytes;
            let first = waiting.len();
            for (_, item) in self.unclaimed.items.iter().take(LOOKED_AT) {
                let Item::Message { message, .. } = item else { continue };
                match waiting[first..].iter_mut().find(|(name, _)| name.as_ref() == Some(&message.name)) {
                    Some((_, count)) => *count += 1,
                    None => waiting.push((Some(message.name.clone()), 1)),
                }
            }
        }
        if unread_bytes <= self.limit_bytes / 2 {
            return None;
        }
        self.reported = true;
        waiting.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        waiting.truncate(NAMED_TYPES);
        Some(Unread { limit_bytes: self.limit_bytes, waiting })
    }

    /// Drops what is for no open reader. Returns how many items that were.
    fn drop_unreadable(&mut self) -> u64 {
        let places = (0..self.claimed.len()).map(Place::Claimed).chain([Place::Unclaimed, Place::Failures]);
        let is_unread = |place: &Place| !self.readers.iter().any(|reader| self.is_for(*place, reader));
        let unread: Vec<_> = places.filter(is_unread).collect();
        let before = self.len;
        for place in unread {
            let queue = std::mem::take(self.queue(place));
            self.len -= queue.items.len();
            self.len_bytes -= queue.len_bytes;
            self.gaps -= usize::from(queue.gap.is_some());
        }
        (before - self.len) as u64
    }
}
