//! A queue in the order of arrival that can be left from the middle.
//!
//! Joining, serving the first and leaving cost a constant each, on average; leaving also a binary search. Whoever leaves
//! from the middle leaves a gap, and gaps are closed before they outnumber those who are there.
//!
//! Invariants:
//! - The numbers increase from the front to the back, gaps included.
//! - Neither the first nor the last place is a gap.
//! - `gaps` counts the gaps, and they are at most half of the places.

use std::collections::VecDeque;

use crate::Fence;

#[derive(Debug)]
pub(super) struct Queue<T> {
    places: VecDeque<(Fence, Option<T>)>,
    gaps: usize,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { places: VecDeque::new(), gaps: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The number of the last.
    pub(super) fn last(&self) -> Option<Fence> {
        self.places.back().map(|(fence, _)| *fence)
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.places.front().and_then(|(_, value)| value.as_ref())
    }

    /// In the order of arrival.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Fence, &T)> {
        self.places.iter().filter_map(|(fence, value)| Some((*fence, value.as_ref()?)))
    }

    /// `fence` is larger than all before.
    pub(super) fn push(&mut self, fence: Fence, value: T) {
        self.places.push_back((fence, Some(value)));
    }

    pub(super) fn pop(&mut self) -> Option<(Fence, T)> {
        let (fence, value) = self.places.pop_front()?;
        self.close_gaps();
        Some((fence, value?))
    }

    pub(super) fn remove(&mut self, fence: Fence) -> Option<T> {
        let index = self.places.binary_search_by_key(&fence, |(fence, _)| *fence).ok()?;
        let value = self.places.get_mut(index)?.1.take()?;
        self.gaps += 1;
        self.close_gaps();
        Some(value)
    }

    /// Everybody, in the order of arrival.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Fence, T)> + use<T> {
        self.gaps = 0;
        std::mem::take(&mut self.places).into_iter().filter_map(|(fence, value)| Some((fence, value?)))
    }

    fn close_gaps(&mut self) {
        while self.places.front().is_some_and(|(_, value)| value.is_none()) {
            self.places.pop_front();
            self.gaps -= 1;
        }
        while self.places.back().is_some_and(|(_, value)| value.is_none()) {
            self.places.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > self.places.len() / 2 {
            self.places.retain(|(_, value)| value.is_some());
            self.gaps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Command {
        Push,
        Pop,
        Remove(u64),
        Drain,
    }

    fn commands() -> impl Strategy<Value = Vec<Command>> {
        let command = prop_oneof![
            20 => Just(Command::Push),
            8 => Just(Command::Pop),
            12 => (0..40_u64).prop_map(Command::Remove),
            1 => Just(Command::Drain),
        ];
        prop::collection::vec(command, 0..200)
    }

    proptest! {
        #![proptest_config(crate::testing::cases())]

        #[test]
        fn it_is_an_ordered_map_whose_gaps_stay_few(commands in commands()) {
            let mut queue = Queue::new();
            let mut model = BTreeMap::new();
            for (number, command) in (0..).zip(commands) {
                let fence = Fence::new(number);
                match command {
                    Command::Push => {
                        queue.push(fence, number);
                        model.insert(fence, number);
                    }
                    Command::Pop => prop_assert_eq!(queue.pop(), model.pop_first()),
                    Command::Remove(back) => {
                        let fence = Fence::new(number.saturating_sub(back));
                        prop_assert_eq!(queue.remove(fence), model.remove(&fence));
                    }
                    Command::Drain => {
                        let all = Vec::from_iter(queue.drain());
                        prop_assert_eq!(all, Vec::from_iter(std::mem::take(&mut model)));
                    }
                }
                let queued = Vec::from_iter(queue.iter().map(|(fence, value)| (fence, *value)));
                prop_assert_eq!(&queued, &Vec::from_iter(model.clone()));
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.first(), model.values().next());
                prop_assert_eq!(queue.last(), model.keys().next_back().copied());
                prop_assert_eq!(queue.places.len() - queue.gaps, model.len());
                prop_assert!(queue.gaps <= queue.places.len() / 2);
            }
        }
    }
}
