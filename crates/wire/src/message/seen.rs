//! Which types, and which of their structs and variants, were seen to arrive as they were sent.
//!
//! Invariants:
//! - An entry is never removed, so what was counted once stays counted.
//! - A type, struct or variant that finds no place in the table counts as never seen: it is checked each time, which costs time
//!   and nothing else.

use std::{
    any::TypeId,
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use super::probe::Probe;

/// How many types, structs and variants are remembered.
const PLACES: usize = 4096;
/// How many places are looked at for one.
const PROBES: usize = 16;
/// The part of an entry that counts.
const COUNT: u64 = 0xff;

/// Each is a key, in whose lowest byte a count stands; zero is free.
static TABLE: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

/// Names a type, or a struct or variant within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    #[inline]
    pub(super) fn of<T: 'static>() -> Self {
        struct Take(u64);

        impl Hasher for Take {
            #[inline]
            fn write(&mut self, bytes: &[u8]) {
                for &byte in bytes {
                    self.0 = mix(self.0, u64::from(byte));
                }
            }

            #[inline]
            fn write_u64(&mut self, value: u64) {
                self.0 = mix(self.0, value);
            }

            #[inline]
            fn finish(&self) -> u64 {
                self.0
            }
        }

        let mut hasher = Take(0);
        TypeId::of::<T>().hash(&mut hasher);
        Self(hasher.0)
    }

    /// Of a struct or variant in values of this type.
    #[inline]
    fn within(self, name: &'static str, number: u64) -> Self {
        // By what its name looks like rather than where it stands: the same name may stand at several addresses.
        let bytes = name.as_bytes();
        let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
        let len = bytes.len();
        let looks = u32::from_le_bytes([byte(0), byte(len / 2), byte(len.saturating_sub(1)), len as u8]);
        Self(mix(mix(self.0, u64::from(looks)), number))
    }

    /// The entry without its count. Never zero.
    #[inline]
    fn tag(self) -> u64 {
        self.0 & !COUNT | (COUNT + 1)
    }

    #[inline]
    fn places(self) -> impl Iterator<Item = &'static AtomicU64> {
        let first = (self.0 >> 32) as usize;
        (0..PROBES).map(move |probe| &TABLE[(first + probe) % PLACES])
    }

    /// How often it was seen, as far as that is counted.
    #[inline]
    pub(super) fn times_seen(self) -> u64 {
        for place in self.places() {
            let entry = place.load(Ordering::Relaxed);
            if entry & !COUNT == self.tag() {
                return entry & COUNT;
            }
            if entry == 0 {
                return 0;
            }
        }
        0
    }

    /// Counts that it was seen.
    pub(super) fn count(self) {
        for place in self.places() {
            let entry = match place.compare_exchange(0, self.tag(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => self.tag(),
                Err(entry) => entry,
            };
            if entry & !COUNT == self.tag() {
                let more = |entry: u64| (entry & COUNT < COUNT).then_some(entry + 1);
                // At the most that is counted, it stays.
                let _ = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
                return;
            }
        }
    }
}

#[inline]
fn mix(state: u64, value: u64) -> u64 {
    let mixed = (state ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Notes whether a value has a struct or variant that was not seen before in its type.
pub(super) struct Sites {
    outermost: Key,
    new: bool,
}

impl Sites {
    #[inline]
    pub(super) fn new(outermost: Key) -> Self {
        Self { outermost, new: false }
    }

    #[inline]
    pub(super) fn any_new(&self) -> bool {
        self.new
    }
}

/// The key of a struct or tuple struct.
#[inline]
pub(super) fn of_struct(outermost: Key, name: &'static str, fields: usize) -> Key {
    outermost.within(name, fields as u64)
}

/// The key of a variant.
#[inline]
pub(super) fn of_variant(outermost: Key, of: &'static str, index: u32) -> Key {
    outermost.within(of, 1 << 32 | u64::from(index))
}

impl Probe for &mut Sites {
    #[inline]
    fn open(&mut self, name: &'static str, fields: usize, _expected: &'static [&'static str]) {
        self.new |= of_struct(self.outermost, name, fields).times_seen() == 0;
    }

    #[inline]
    fn variant(&mut self, of: &'static str, index: u32, _name: &'static str) {
        self.new |= of_variant(self.outermost, of, index).times_seen() == 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_seen_and_nothing_else() {
        struct Here;
        let key = Key::of::<Here>();
        assert_eq!(key.times_seen(), 0);
        for times in 1..=3 {
            key.count();
            assert_eq!(key.times_seen(), times);
        }
        assert_eq!(of_struct(key, "Here", 2).times_seen(), 0);
        of_struct(key, "Here", 2).count();
        assert_eq!(of_struct(key, "Here", 2).times_seen(), 1);
        assert_eq!(of_struct(key, "Here", 3).times_seen(), 0);
        assert_eq!(of_variant(key, "Here", 2).times_seen(), 0);
    }

    #[test]
    fn a_count_ends_at_the_most_that_is_counted() {
        struct Often;
        let key = Key::of::<Often>();
        for _ in 0..300 {
            key.count();
        }
        assert_eq!(key.times_seen(), COUNT);
    }
}
