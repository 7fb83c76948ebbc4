//! Numbers for types of tasks: on the wire, a type is its place among the registered ones, which are sorted by name.
//!
//! Invariant: two processes whose digests are equal mean the same type by the same number. The order in which types were
//! registered makes no difference.

use std::time::Duration;

use workfleet_scheduler::Class;

use super::entry::Entry;
use crate::task::{EncodedTask, SpecInfo};

/// Finds the index of a task's type on the wire.
#[derive(Debug)]
pub(crate) struct Index {
    specs: Vec<&'static SpecInfo>,
    classes: Vec<Class>,
}

impl Index {
    /// `entries` are those of the registry, in their order. `concurrent` says whether a worker runs several asynchronous tasks at
    /// once.
    pub(crate) fn new(entries: &[Entry], concurrent: bool) -> Self {
        let class = |(number, entry): (usize, &Entry)| Class {
            number: u16::try_from(number).unwrap_or(u16::MAX),
            concurrent: concurrent && entry.is_async(),
        };
        Self {
            specs: entries.iter().map(|entry| (entry.spec)()).collect(),
            classes: entries.iter().enumerate().map(class).collect(),
        }
    }

    /// The class of a type that is registered.
    pub(crate) fn class(&self, index: u32) -> Class {
        self.classes[index as usize]
    }

    /// How long a task of a type that is registered may be silent.
    pub(crate) fn heartbeat_timeout(&self, index: u32) -> Option<Duration> {
        self.specs[index as usize].heartbeat_timeout
    }

    pub(crate) fn len(&self) -> usize {
        self.specs.len()
    }

    pub(crate) fn spec(&self, index: u32) -> Option<&'static SpecInfo> {
        self.specs.get(index as usize).copied()
    }

    pub(crate) fn of(&self, task: &EncodedTask) -> Option<u32> {
        // One type's information usually stands at one address, and few types are registered: look there first.
        let position = self
            .specs
            .iter()
            .position(|spec| std::ptr::eq(*spec, task.spec))
            .or_else(|| self.specs.binary_search_by_key(&task.spec.name, |spec| spec.name).ok());
        position.map(|position| position as u32)
    }
}

/// What two processes compare to know that a number means the same type in both: FNV-1a over the sorted names.
pub(super) fn digest<'a>(names: impl Iterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in names.flat_map(|name| name.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
