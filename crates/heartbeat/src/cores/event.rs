//! One event as one process knows it: a pure state machine.
//!
//! An event has a home, the process that made it, where all changes meet and get their order. Processes that it was sent
//! to have copies. A process that passes it on stands between home and its children's copies, and treats those as home
//! treats its own. Upwards go operations, downwards goes the state, and each way at most one message is unanswered: what
//! happens meanwhile is gathered into the next. So if a process cannot keep up with a flood of changes, it misses steps
//! in between, but needs no memory for them. A set in between is never lost.
//!
//! Invariants:
//! - A copy shows its own last operation until home has answered it, and then what home says.
//! - Once nothing is under way, every copy shows what home does. One that is lost stays so.

use std::collections::BTreeMap;

#[cfg(all(test, feature = "remote", not(workfleet_loom)))]
mod tests;

/// A copy in another process: which connection, and its number there.
pub(crate) type Copy = (u64, u64);

/// What a change of an event means for its waiters in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is set or not, and this says whether it has been set by this change, even if it was cleared at once.
    Is { set: bool, pulsed: bool },
    /// It cannot be known any more.
    Lost,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Send {
    /// To where the event comes from: it was set or cleared here.
    Operation(News),
    /// To a copy below: what the event is now.
    State(Copy, News),
    /// To a copy below, whose operation has been carried out: what the event is now.
    Done(Copy, News),
    /// To a copy below: the event cannot be reached any more.
    Gone(Copy),
}

/// What other processes say of an event.
#[cfg(feature = "remote")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// There is a copy below.
    Attached(Copy),
    /// A copy below is gone.
    Detached(Copy),
    /// A copy below was set or cleared.
    Operation(Copy, News),
    /// A copy below has taken the state.
    Taken(Copy),
    /// From home comes what the event is.
    State(News),
    /// From home comes the answer to the operation that was sent last.
    Done(News),
    /// It cannot be reached any more.
    Lost,
}

/// What one side tells the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct News {
    /// What the event is.
    pub(crate) set: bool,
    /// It was set since the last news, whatever it is now.
    pub(crate) pulsed: bool,
}

/// One way to another process: one message at a time.
#[derive(Debug, Default)]
struct Way {
    unanswered: bool,
    /// There is something to tell that has not been sent.
    waiting: bool,
    pulsed: bool,
}

impl Way {
    /// Something has changed; what to send at once, if anything.
    fn tell(&mut self, set: bool, pulsed: bool) -> Option<News> {
        self.waiting = true;
        self.pulsed |= pulsed;
        self.next(set)
    }

    /// The last message was answered; what to send next.
    fn answered(&mut self, set: bool) -> Option<News> {
        self.unanswered = false;
        self.next(set)
    }

    fn next(&mut self, set: bool) -> Option<News> {
        if self.unanswered || !self.waiting {
            return None;
        }
        (self.unanswered, self.waiting) = (true, false);
        Some(News { set, pulsed: std::mem::take(&mut self.pulsed) })
    }

    fn is_idle(&self) -> bool {
        !self.unanswered && !self.waiting
    }
}

#[derive(Debug)]
pub(crate) struct EventCore {
    set: bool,
    /// Whether `set` means anything: a copy that has not been told yet knows nothing.
    known: bool,
    /// The way home; none where it is at home.
    up: Option<Way>,
    copies: BTreeMap<Copy, Way>,
    lost: bool,
    /// What [`keep_changed`](Self::keep_changed) has said last.
    kept: bool,
}

/// What follows from a step: what waits here is told, and messages are sent in this order.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Step {
    pub(crate) change: Option<Change>,
    pub(crate) send: Vec<Send>,
}

impl EventCore {
    /// An event at home, clear.
    pub(crate) fn home() -> Self {
        Self { set: false, known: true, up: None, copies: BTreeMap::new(), lost: false, kept: false }
    }

    /// It is set or cleared here. `None` if it is lost, and nothing can be done.
    pub(crate) fn operate(&mut self, set: bool) -> Option<Step> {
        if self.lost {
            return None;
        }
        // A copy may only believe that it is so already: what it is told to do goes home all the same.
        let news = News { set, pulsed: set };
        let mut step = self.show(news);
        if let Some(up) = &mut self.up {
            step.send.extend(up.tell(set, set).map(Send::Operation));
        }
        Some(step)
    }

    /// From now on, this is what is seen here and below.
    fn show(&mut self, News { set, pulsed }: News) -> Step {
        if self.lost {
            return Step::default();
        }
        // Nobody waits for what is set, and stays so.
        let pulsed = (set || pulsed) && !(set && self.set);
        let changed = self.set != set || pulsed || !self.known;
        (self.set, self.known) = (set, true);
        if !changed {
            return Step::default();
        }
        let news = self
            .copies
            .iter_mut()
            .filter_map(|(&copy, way)| way.tell(set, pulsed).map(|news| Send::State(copy, news)));
        Step { change: Some(Change::Is { set, pulsed }), send: news.collect() }
    }
}

#[cfg(feature = "remote")]
impl EventCore {
    /// A copy of an event from elsewhere, of which nothing is known yet.
    pub(crate) fn copy() -> Self {
        Self { up: Some(Way::default()), known: false, ..Self::home() }
    }

    /// Whether it is to stay although nobody holds it, if that has changed: while it is set, if it is at home; elsewhere, while
    /// there is something to be sent home.
    pub(crate) fn keep_changed(&mut self) -> Option<bool> {
        let keep = !self.lost && self.up.as_ref().map_or(self.set, |up| up.waiting);
        let changed = keep != std::mem::replace(&mut self.kept, keep);
        changed.then_some(keep)
    }

    /// Another process has said this.
    pub(crate) fn handle(&mut self, input: Input) -> Step {
        match input {
            Input::Attached(copy) => self.add_copy(copy),
            Input::Detached(copy) => self.remove_copy(copy),
            Input::Operation(copy, news) => self.on_operation(copy, news),
            Input::Taken(copy) => self.on_taken(copy),
            Input::State(news) => self.on_state(news),
            Input::Done(news) => self.on_done(news),
            Input::Lost => self.lose(),
        }
    }

    /// There is a copy below: it is told what the event is, as soon as that is known, or that it is lost.
    fn add_copy(&mut self, copy: Copy) -> Step {
        if self.lost {
            return Step { change: None, send: vec![Send::Gone(copy)] };
        }
        let (set, known) = (self.set, self.known);
        let way = self.copies.entry(copy).or_default();
        let news = if known { way.tell(set, false) } else { None };
        Step { change: None, send: news.map(|news| Send::State(copy, news)).into_iter().collect() }
    }

    /// A copy below is gone.
    fn remove_copy(&mut self, copy: Copy) -> Step {
        self.copies.remove(&copy);
        Step::default()
    }

    /// A copy below was set or cleared.
    fn on_operation(&mut self, copy: Copy, news: News) -> Step {
        // To it, the answer is the news; to the others it is as if it had happened here.
        let way = self.copies.remove(&copy);
        let mut step = self.show(news);
        if let Some(up) = self.up.as_mut().filter(|_| !self.lost) {
            step.send.extend(up.tell(news.set, news.pulsed).map(Send::Operation));
        }
        if let Some(way) = way {
            self.copies.insert(copy, way);
            step.send.push(Send::Done(copy, News { set: self.set, pulsed: false }));
        }
        step
    }

    /// A copy below has taken the state.
    fn on_taken(&mut self, copy: Copy) -> Step {
        let set = self.set;
        let news = self.copies.get_mut(&copy).and_then(|way| way.answered(set));
        Step { change: None, send: news.map(|news| Send::State(copy, news)).into_iter().collect() }
    }

    /// From above comes what the event is.
    fn on_state(&mut self, news: News) -> Step {
        if self.up.as_ref().is_some_and(Way::is_idle) {
            return self.show(news);
        }
        // Something of ours is on its way and comes after this: only that it was set meanwhile is news here.
        let (set, pulsed) = (self.set, news.pulsed || news.set);
        self.show(News { set, pulsed })
    }

    /// From above comes the answer to the operation that was sent last.
    fn on_done(&mut self, news: News) -> Step {
        let set = self.set;
        let Some(up) = &mut self.up else { return Step::default() };
        if let Some(next) = up.answered(set) {
            return Step { change: None, send: vec![Send::Operation(next)] };
        }
        self.show(news)
    }

    /// It cannot be reached any more.
    fn lose(&mut self) -> Step {
        self.lost = true;
        let copies = std::mem::take(&mut self.copies);
        Step { change: Some(Change::Lost), send: copies.into_keys().map(Send::Gone).collect() }
    }
}
