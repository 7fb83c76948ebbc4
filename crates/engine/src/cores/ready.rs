//! Which tasks can be leased now, in which order.
//!
//! Tasks with a concurrency key stand in lines of their key. Of each such line, the first alone is among those that can be leased,
//! and only while the key has a slot for it. So a full key costs no time when tasks are leased, and a task of a name that nobody knows
//! takes no slot from the others.
//!
//! Invariants:
//! - A task that waits for nothing but its lease is in exactly one line: of its kind, or of its kind at its key.
//! - The first of a key's line is also in the line of its kind exactly while the key has a slot for it.
//! - A key has an entry exactly while it is in use or somebody waits for it.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Concurrency, FleetTaskId};

/// A task's place among those of its kind: the most urgent first, then the first to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) priority: u8,
    pub(crate) arrival: u64,
}

/// What a request for work tells apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) series: Arc<str>,
    /// Whether it is to run alone.
    pub(crate) is_alone: bool,
    pub(crate) name: Arc<str>,
}

/// What is to be known of a task here.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: FleetTaskId,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) concurrency: Option<Concurrency>,
}

type Line = BTreeMap<Place, FleetTaskId>;

#[derive(Debug, Default)]
struct Slots {
    /// How many tasks with the key are leased.
    used: u32,
    /// Those that wait, by their kinds and limits; and the place of the first, while that can be leased.
    lines: BTreeMap<(Kind, u32), (Line, Option<Place>)>,
}

/// The tasks that can be leased, and those that wait for a slot.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    lines: BTreeMap<Kind, Line>,
    keys: BTreeMap<Arc<str>, Slots>,
    /// Whether there are tasks to be leased that were not there before.
    has_news: bool,
}

impl Ready {
    pub(crate) fn insert(&mut self, item: Item) {
        let Item { id, place, kind, concurrency } = item;
        let Some(Concurrency { key, limit }) = concurrency else {
            self.lines.entry(kind).or_default().insert(place, id);
            self.has_news = true;
            return;
        };
        let slots = self.keys.entry(key.clone()).or_default();
        slots.lines.entry((kind, limit)).or_default().0.insert(place, id);
        self.refresh(&key);
    }

    pub(crate) fn remove(&mut self, item: &Item) {
        let Some(Concurrency { key, limit }) = &item.concurrency else {
            remove(&mut self.lines, &item.kind, item.place);
            return;
        };
        if let Some(slots) = self.keys.get_mut(key)
            && let Some((line, _)) = slots.lines.get_mut(&(item.kind.clone(), *limit))
        {
            line.remove(&item.place);
        }
        self.refresh(key);
    }

    /// Takes a slot of a key for a task that is leased.
    pub(crate) fn occupy(&mut self, key: &Arc<str>) {
        self.keys.entry(key.clone()).or_default().used += 1;
        self.refresh(key);
    }

    /// Gives back the slot of a task that was leased.
    pub(crate) fn vacate(&mut self, key: &Arc<str>) {
        let Some(slots) = self.keys.get_mut(key) else { unreachable!("a key in use has an entry") };
        slots.used -= 1;
        self.refresh(key);
    }

    /// The first task of a series whose name is known, among those that run alone or among the others.
    pub(crate) fn first(
        &self,
        series: &Arc<str>,
        is_alone: bool,
        is_known: impl Fn(&str) -> bool,
    ) -> Option<FleetTaskId> {
        let start = Kind { series: series.clone(), is_alone, name: Arc::from("") };
        let lines = self.lines.range(start..);
        let lines = lines.take_while(|(kind, _)| kind.series == *series && kind.is_alone == is_alone);
        let firsts =
            lines.filter(|(kind, _)| is_known(&kind.name)).filter_map(|(_, line)| line.first_key_value());
        firsts.min_by_key(|(place, _)| **place).map(|(_, id)| *id)
    }

    /// Whether a series has a task that can be leased.
    pub(crate) fn has_any(&self, series: &Arc<str>) -> bool {
        let start = Kind { series: series.clone(), is_alone: false, name: Arc::from("") };
        self.lines.range(start..).next().is_some_and(|(kind, _)| kind.series == *series)
    }

    /// Whether there is something new to be leased since this was asked last.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Makes the firsts of a key's lines those that can be leased, as far as there are slots.
    fn refresh(&mut self, key: &Arc<str>) {
        let Some(slots) = self.keys.get_mut(key) else { return };
        let used = slots.used;
        for ((kind, limit), (line, shown)) in &mut slots.lines {
            let first = line.first_key_value().filter(|_| used < *limit);
            let place = first.map(|(place, _)| *place);
            if *shown == place {
                continue;
            }
            if let Some(place) = shown.take() {
                remove(&mut self.lines, kind, place);
            }
            if let Some((place, id)) = first {
                self.lines.entry(kind.clone()).or_default().insert(*place, *id);
                self.has_news = true;
            }
            *shown = place;
        }
        slots.lines.retain(|_, (line, _)| !line.is_empty());
        if slots.used == 0 && slots.lines.is_empty() {
            self.keys.remove(key);
        }
    }
}

/// Removes a place from a line, and the line if it was the last.
fn remove(lines: &mut BTreeMap<Kind, Line>, kind: &Kind, place: Place) {
    if let Some(line) = lines.get_mut(kind) {
        line.remove(&place);
        if line.is_empty() {
            lines.remove(kind);
        }
    }
}
