//! The table of heartbeaters: which tokens are registered, what is to be reported, and when.
//!
//! Invariants:
//! - A token's callback is in the table, or with the runner that calls it: one call at a time.
//! - For a token, at most these wait: a missed silence, one beat that the throttle let pass, and one that it holds. They are reported
//!   in this order. While the callback runs, at most one beat waits.
//! - beats = reported + superseded + ignored + discarded + pending.
//! - A token is in the queue of the ready exactly if it has something to report and its callback does not run.
//! - A beat moves no timer: a silence's entry may be too early, and is set right when its time has come.
//! - Time in which this program did not run makes no silence missed: see [`Patience`](super::Patience).

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use super::{Silence, Throttle};
use crate::{Details, HeartbeatStats, HeartbeaterOptions, Report, Token};

#[cfg(all(test, not(workfleet_loom)))]
mod model;
#[cfg(all(test, not(workfleet_loom)))]
mod tests;

/// How many timers one call serves, so that other users of the table wait no longer than for these.
const TIMERS_AT_ONCE: usize = 256;

/// The key of a registered token. It is never used again for another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    // First, so that of two timers at the same instant the older registration's comes first.
    serial: u64,
    slot: u32,
}

#[cfg(feature = "remote")]
impl Key {
    /// Of a token that is in no table: no registration has this number.
    pub(crate) const NO_TABLE: Self = Self { serial: u64::MAX, slot: u32::MAX };
}

/// The token is registered already. The callback is handed back.
#[derive(Debug)]
pub struct Taken<C>(pub C);

/// Why a token is not unregistered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not registered.
    Unknown,
    /// It is being unregistered.
    InProgress,
}

/// A callback to be called, and its report. After the call, the driver gives the callback back with [`Table::finished`].
#[derive(Debug)]
#[must_use = "the token reports nothing more until its callback is given back"]
pub struct Work<C> {
    /// Whose it is.
    pub key: Key,
    /// The callback.
    pub callback: C,
    /// What to tell it.
    pub report: Report,
}

/// A token that was closed and flushed, and is gone.
#[derive(Debug)]
pub struct Closed<C> {
    /// Whose end it is.
    pub key: Key,
    /// Its callback, to be dropped.
    pub callback: C,
    /// What the first panic of its callback said.
    pub panicked: Option<String>,
}

/// A token that is gone without having been flushed.
#[derive(Debug)]
pub struct Removed<C> {
    /// Its callback, to be dropped; none if it runs.
    pub callback: Option<C>,
    /// The last details that were not reported.
    pub unreported: Option<Details>,
}

/// The table of registered tokens: which beats and silences are reported, and when. `C` is the callback's type; the
/// table keeps callbacks, and the driver calls them.
///
/// ```
/// use std::time::{Duration, Instant};
/// use workfleet_heartbeat::{Details, HeartbeaterOptions, Report, cores::Table};
///
/// let (start, ms) = (Instant::now(), Duration::from_millis);
/// let (first, second) = (Details::encode(&1)?, Details::encode(&2)?);
/// let mut table = Table::new();
/// let options = HeartbeaterOptions::new().throttle(ms(50));
/// let key = table.register(start, "import/42".into(), options, "callback").expect("it is new");
///
/// table.beat(start, key, first.clone());
/// let work = table.poll_ready().expect("the first goes at once");
/// assert_eq!(work.report, Report::Beat(first));
/// table.finished(start, key, work.callback, None);
///
/// table.beat(start + ms(20), key, second.clone());
/// assert!(table.poll_ready().is_none());
/// assert_eq!(table.poll_timeout(), Some(start + ms(50)));
/// table.handle_timeout(start + ms(50));
/// assert_eq!(table.poll_ready().expect("it is time").report, Report::Beat(second));
/// # Ok::<(), workfleet_heartbeat::DetailsError>(())
/// ```
#[derive(Debug)]
pub struct Table<C> {
    tokens: HashMap<Token, Key>,
    slots: Vec<Option<Entry<C>>>,
    free: Vec<u32>,
    registered: u64,
    /// Also holds the keys of removed ones, which are passed over.
    ready: VecDeque<Key>,
    /// How many of the `ready` were removed: no more than there are others.
    ready_removed: usize,
    throttles: BTreeSet<(Instant, Key)>,
    silences: BTreeSet<(Instant, Key)>,
    closed: VecDeque<Closed<C>>,
    /// `tokens` and `pending` are not kept here.
    stats: HeartbeatStats,
}

#[derive(Clone, Debug)]
struct Beat {
    details: Details,
    late: bool,
}

#[derive(Debug)]
struct Missed {
    report: Report,
    /// Its last details were not reported before: it counts for that beat.
    carries: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// A call unregisters it; it goes on as before.
    Ending,
    /// It takes no more beats, and goes when it has reported what it has.
    Closing,
}

#[derive(Debug)]
struct Entry<C> {
    serial: u64,
    token: Token,
    /// None while it runs.
    callback: Option<C>,
    phase: Phase,
    /// It is among the `ready`.
    queued: bool,
    missed: Option<Missed>,
    /// What the throttle let pass.
    due: Option<Beat>,
    /// What came while the callback runs and nothing was due: the throttle has not seen it.
    waiting: Option<Beat>,
    throttle: Throttle<Beat>,
    /// Its place among the `throttles`: it has one while the throttle holds something.
    throttle_at: Option<Instant>,
    silence: Option<Silence>,
    /// Its place among the `silences`, which may be too early.
    silence_at: Option<Instant>,
    /// The last beat's details, if silence is watched.
    last: Option<Details>,
    panicked: Option<String>,
}

impl<C> Default for Table<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Table<C> {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            tokens: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            registered: 0,
            ready: VecDeque::new(),
            ready_removed: 0,
            throttles: BTreeSet::new(),
            silences: BTreeSet::new(),
            closed: VecDeque::new(),
            stats: HeartbeatStats::default(),
        }
    }

    /// A new heartbeater. Its silence begins now.
    ///
    /// # Errors
    /// [`Taken`]: the token is registered, or still being unregistered.
    ///
    /// # Panics
    /// If there are 2³² tokens.
    pub fn register(
        &mut self,
        now: Instant,
        token: Token,
        options: HeartbeaterOptions,
        callback: C,
    ) -> Result<Key, Taken<C>> {
        if self.tokens.contains_key(&token) {
            return Err(Taken(callback));
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("memory ends before 2^32 tokens")
        });
        let key = Key { serial: self.registered, slot };
        self.registered += 1;
        let silence = options.timeout.map(|timeout| Silence::new(now, timeout));
        let silence_at = silence.as_ref().and_then(Silence::poll_timeout);
        self.silences.extend(silence_at.map(|at| (at, key)));
        self.tokens.insert(token.clone(), key);
        self.slots[slot as usize] = Some(Entry {
            serial: key.serial,
            token,
            callback: Some(callback),
            phase: Phase::Open,
            queued: false,
            missed: None,
            due: None,
            waiting: None,
            throttle: Throttle::new(options.throttle),
            throttle_at: None,
            silence,
            silence_at,
            last: None,
            panicked: None,
        });
        Ok(key)
    }

    /// The key of a token that is registered.
    pub fn key(&self, token: &Token) -> Option<Key> {
        self.tokens.get(token).copied()
    }

    /// Counts beats that another process has replaced by later ones before they came here. That process may report a
    /// wrong number: so such beats may take at most half of the counters' range.
    pub fn superseded_elsewhere(&mut self, beats: u64) {
        let beats = beats.min((u64::MAX / 2).saturating_sub(self.stats.beats));
        self.stats.beats += beats;
        self.stats.superseded += beats;
    }

    /// Whether the key's token is registered.
    pub fn is_registered(&self, key: Key) -> bool {
        self.slots
            .get(key.slot as usize)
            .is_some_and(|slot| slot.as_ref().is_some_and(|entry| entry.serial == key.serial))
    }

    /// A beat came. One whose token is gone, or closed, is counted and ignored.
    pub fn beat(&mut self, now: Instant, key: Key, details: Details) {
        self.stats.beats += 1;
        let Some(entry) = entry(&mut self.slots, key).filter(|entry| entry.phase != Phase::Closing) else {
            self.stats.ignored += 1;
            return;
        };
        let mut beat = Beat { details, late: false };
        if let Some(silence) = &mut entry.silence {
            entry.last = Some(beat.details.clone());
            beat.late = silence.heard(now);
            self.stats.late += u64::from(beat.late);
            if entry.silence_at.is_none() {
                entry.silence_at = silence.poll_timeout();
                self.silences.extend(entry.silence_at.map(|at| (at, key)));
            }
        }
        if entry.callback.is_none() {
            // Latest wins. What takes the place of a beat that was let pass, was let pass as well.
            let passes = entry.due.is_some();
            let older = [entry.due.take(), entry.throttle.take(), entry.waiting.take()];
            release(&mut self.throttles, &mut entry.throttle_at, key);
            for older in older.into_iter().flatten() {
                self.stats.superseded += 1;
                beat.late |= older.late;
            }
            *(if passes { &mut entry.due } else { &mut entry.waiting }) = Some(beat);
            return;
        }
        if let Some(held) = entry.throttle.take() {
            self.stats.superseded += 1;
            beat.late |= held.late;
        }
        self.offer(now, key, beat);
        self.settle(key);
    }

    /// A beat came for a token that is not registered: it is counted.
    pub fn beat_unknown(&mut self) {
        self.stats.beats += 1;
        self.stats.ignored += 1;
    }

    /// Begins to unregister a token. A second call for the same token is refused. The token goes on as before until
    /// [`close`](Self::close).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn begin_unregister(&mut self, token: &Token) -> Result<Key, Refused> {
        let key = self.open(token)?;
        if let Some(entry) = entry(&mut self.slots, key) {
            entry.phase = Phase::Ending;
        }
        Ok(key)
    }

    /// Takes no more beats of the token, and has its waiting beats reported, without regard to the throttle. After that
    /// the token is removed, and [`poll_closed`](Self::poll_closed) returns it.
    pub fn close(&mut self, key: Key) {
        if let Some(entry) = entry(&mut self.slots, key) {
            entry.phase = Phase::Closing;
            release(&mut self.throttles, &mut entry.throttle_at, key);
            release(&mut self.silences, &mut entry.silence_at, key);
            self.settle(key);
        }
    }

    /// The next token that was closed, flushed and removed.
    pub fn poll_closed(&mut self) -> Option<Closed<C>> {
        self.closed.pop_front()
    }

    /// Removes a token at once, in any state. Beats that were not reported are counted as discarded. `None` if it was
    /// removed before.
    pub fn remove(&mut self, key: Key) -> Option<Removed<C>> {
        let mut entry = self.take_entry(key)?;
        let newest_first = [entry.waiting.take(), entry.throttle.take(), entry.due.take()];
        let mut beats = newest_first.into_iter().flatten();
        let mut unreported = beats.next().map(|beat| beat.details);
        self.stats.discarded += u64::from(unreported.is_some()) + beats.count() as u64;
        if let Some(Missed { report, carries: true }) = entry.missed {
            self.stats.discarded += 1;
            unreported = unreported.or_else(|| report.details().cloned());
        }
        Some(Removed { callback: entry.callback, unreported })
    }

    /// Removes a token at once, without a flush, and hands back what it has not reported.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn discard(&mut self, token: &Token) -> Result<Removed<C>, Refused> {
        let key = self.open(token)?;
        self.remove(key).ok_or(Refused::Unknown)
    }

    /// Whether [`poll_ready`](Self::poll_ready) has something.
    pub fn has_ready(&self) -> bool {
        self.ready.len() > self.ready_removed
    }

    /// The next report. Tokens take turns, with one report each. A token whose callback runs has none.
    pub fn poll_ready(&mut self) -> Option<Work<C>> {
        loop {
            let key = self.ready.pop_front()?;
            let Some(entry) = entry(&mut self.slots, key) else {
                self.ready_removed -= 1;
                continue;
            };
            entry.queued = false;
            let report = match entry.missed.take() {
                Some(Missed { report, carries }) => {
                    self.stats.reported += u64::from(carries);
                    report
                }
                None => {
                    // Only of a closed one, the throttle's is due as well.
                    let beat = entry.due.take().or_else(|| entry.throttle.take());
                    self.stats.reported += u64::from(beat.is_some());
                    match beat {
                        Some(Beat { details, late: true }) => Report::Late(details),
                        Some(Beat { details, late: false }) => Report::Beat(details),
                        None => unreachable!("what is ready has something to report"),
                    }
                }
            };
            let Some(callback) = entry.callback.take() else {
                unreachable!("what is ready does not run");
            };
            return Some(Work { key, callback, report });
        }
    }

    /// A callback has returned; or panicked, and what it said. The callback is handed back, to be dropped, if the token
    /// is gone.
    pub fn finished(&mut self, now: Instant, key: Key, callback: C, panicked: Option<String>) -> Option<C> {
        self.stats.panicked += u64::from(panicked.is_some());
        let Some(entry) = entry(&mut self.slots, key) else {
            return Some(callback);
        };
        entry.callback = Some(callback);
        if entry.panicked.is_none() {
            entry.panicked = panicked;
        }
        if let Some(beat) = entry.waiting.take() {
            match entry.phase {
                Phase::Closing => entry.due = Some(beat),
                Phase::Open | Phase::Ending => self.offer(now, key, beat),
            }
        }
        self.settle(key);
        None
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). It may find that there is nothing to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = |timers: &BTreeSet<(Instant, Key)>| timers.first().map(|timer| timer.0);
        match (first(&self.throttles), first(&self.silences)) {
            (Some(throttle), Some(silence)) => Some(throttle.min(silence)),
            (throttle, silence) => throttle.or(silence),
        }
    }

    /// Whether [`handle_timeout`](Self::handle_timeout) would find a missed silence. A driver asks this first, and
    /// delivers the beats that it has not delivered yet. `None`: many tokens were checked, and there are more; call
    /// again.
    pub fn would_miss(&mut self, now: Instant) -> Option<bool> {
        for _ in 0..TIMERS_AT_ONCE {
            let Some(key) = due(&self.silences, now) else {
                return Some(false);
            };
            if !self.rearm(now, key) {
                return Some(true);
            }
        }
        None
    }

    /// Time has passed: beats that the throttle held may be reported, and silences may be missed. One call serves a
    /// bounded number of tokens. If [`poll_timeout`](Self::poll_timeout) is not in the future after it, call it again.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMERS_AT_ONCE {
            let Some(key) = due(&self.throttles, now) else { break };
            let Some(entry) = entry(&mut self.slots, key) else {
                unreachable!("a token that is removed takes its timers along");
            };
            release(&mut self.throttles, &mut entry.throttle_at, key);
            let Some(beat) = entry.throttle.handle_timeout(now) else {
                unreachable!("the timer is the throttle's own");
            };
            self.pass(key, beat);
            self.settle(key);
        }
        for _ in 0..TIMERS_AT_ONCE {
            let Some(key) = due(&self.silences, now) else { break };
            if !self.rearm(now, key) {
                self.miss(now, key);
                self.settle(key);
            }
        }
    }

    /// The books.
    pub fn stats(&self) -> HeartbeatStats {
        let HeartbeatStats { beats, reported, superseded, ignored, discarded, .. } = self.stats;
        let pending = beats - reported - superseded - ignored - discarded;
        HeartbeatStats { tokens: self.tokens.len(), pending, ..self.stats }
    }

    /// The key of a token that is registered and that nobody unregisters.
    fn open(&mut self, token: &Token) -> Result<Key, Refused> {
        let key = self.key(token).ok_or(Refused::Unknown)?;
        match entry(&mut self.slots, key).map(|entry| entry.phase) {
            Some(Phase::Open) => Ok(key),
            Some(Phase::Ending | Phase::Closing) => Err(Refused::InProgress),
            None => Err(Refused::Unknown),
        }
    }

    /// Shows a beat to the throttle, which holds none.
    fn offer(&mut self, now: Instant, key: Key, beat: Beat) {
        let Some(entry) = entry(&mut self.slots, key) else { return };
        match entry.throttle.offer(now, beat) {
            Some(beat) => {
                release(&mut self.throttles, &mut entry.throttle_at, key);
                self.pass(key, beat);
            }
            None if entry.throttle_at.is_none() => {
                entry.throttle_at = entry.throttle.poll_timeout();
                self.throttles.extend(entry.throttle_at.map(|at| (at, key)));
            }
            // It holds a later beat now, and until the same time.
            None => {}
        }
    }

    /// A beat has passed the throttle.
    fn pass(&mut self, key: Key, mut beat: Beat) {
        let Some(entry) = entry(&mut self.slots, key) else { return };
        if let Some(older) = entry.due.take() {
            self.stats.superseded += 1;
            beat.late |= older.late;
        }
        entry.due = Some(beat);
    }

    /// Sets the timer of a silence that was found due: a beat has come since, or the wait goes on. False if the silence is
    /// really to be missed.
    fn rearm(&mut self, now: Instant, key: Key) -> bool {
        let Some(entry) = entry(&mut self.slots, key) else { return true };
        if entry.silence.as_mut().is_some_and(|silence| silence.would_miss(now)) {
            return false;
        }
        let at = entry.silence.as_ref().and_then(Silence::poll_timeout);
        release(&mut self.silences, &mut entry.silence_at, key);
        entry.silence_at = at;
        self.silences.extend(at.map(|at| (at, key)));
        true
    }

    /// A silence is missed. The beats that were not reported go along as its last details, and so does an earlier miss
    /// that was not reported: whoever is told so late is told the latest.
    fn miss(&mut self, now: Instant, key: Key) {
        let Some(entry) = entry(&mut self.slots, key) else { return };
        let Some(silence) = &mut entry.silence else { return };
        let silent_for = now.saturating_duration_since(silence.heard_at());
        if !silence.handle_timeout(now) {
            return;
        }
        release(&mut self.silences, &mut entry.silence_at, key);
        release(&mut self.throttles, &mut entry.throttle_at, key);
        let beats = [entry.due.take(), entry.throttle.take(), entry.waiting.take()];
        let beats = beats.into_iter().flatten().count() as u64;
        let earlier = entry.missed.take().is_some_and(|missed| missed.carries);
        self.stats.missed += 1;
        self.stats.superseded += beats.saturating_sub(1) + u64::from(earlier);
        let report = Report::Missed { last: entry.last.clone(), silent_for };
        entry.missed = Some(Missed { report, carries: beats > 0 });
    }

    /// Puts a token where it belongs after something has changed.
    fn settle(&mut self, key: Key) {
        let Some(entry) = entry(&mut self.slots, key) else { return };
        if entry.callback.is_none() || entry.queued {
            return;
        }
        let closing = entry.phase == Phase::Closing;
        let holds = || entry.throttle.poll_timeout().is_some();
        if entry.missed.is_some() || entry.due.is_some() || (closing && holds()) {
            entry.queued = true;
            self.ready.push_back(key);
        } else if closing && let Some(Entry { callback: Some(callback), panicked, .. }) = self.take_entry(key)
        {
            self.closed.push_back(Closed { key, callback, panicked });
        }
    }

    fn take_entry(&mut self, key: Key) -> Option<Entry<C>> {
        entry(&mut self.slots, key)?;
        let mut entry = self.slots[key.slot as usize].take()?;
        self.free.push(key.slot);
        self.tokens.remove(&entry.token);
        release(&mut self.throttles, &mut entry.throttle_at, key);
        release(&mut self.silences, &mut entry.silence_at, key);
        if entry.queued {
            self.ready_removed += 1;
            if self.ready_removed * 2 > self.ready.len() {
                let slots = &mut self.slots;
                self.ready.retain(|key| self::entry(slots, *key).is_some());
                self.ready_removed = 0;
            }
        }
        Some(entry)
    }
}

/// A free function, so that the rest of the table can be used beside what it borrows.
fn entry<C>(slots: &mut [Option<Entry<C>>], key: Key) -> Option<&mut Entry<C>> {
    slots.get_mut(key.slot as usize)?.as_mut().filter(|entry| entry.serial == key.serial)
}

/// Takes a timer away.
fn release(timers: &mut BTreeSet<(Instant, Key)>, at: &mut Option<Instant>, key: Key) {
    if let Some(at) = at.take() {
        timers.remove(&(at, key));
    }
}

/// Whose timer has run out.
fn due(timers: &BTreeSet<(Instant, Key)>, now: Instant) -> Option<Key> {
    timers.first().filter(|timer| timer.0 <= now).map(|timer| timer.1)
}
