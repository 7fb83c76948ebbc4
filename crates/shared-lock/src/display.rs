//! Snapshots and counters as text, for an operator: `{}` fits on one screen, `{:#}` leaves nothing out.
//!
//! Keys and labels come from outside: they are quoted, so that none can look like another line.

use std::{cmp::Reverse, fmt};

use crate::{Counters, KeySnapshot, Party, Snapshot};

/// How many keys `{}` shows, one a line.
const SHOWN_KEYS: usize = 20;

/// How many holders and how many waiters of one key `{}` shows.
const SHOWN_PARTIES: usize = 3;

/// The keys that are held, one a line, with their holders and waiters. `{}` shows 20 keys at most, those with the longest queues
/// first, and 3 holders and 3 waiters of each; it says how many more there are. `{:#}` shows all of them in the order of the keys.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiters: usize = self.keys.iter().map(|key| key.waiters.len()).sum();
        let holders: usize = self.keys.iter().map(|key| key.holders.len()).sum();
        write!(f, "keys held: {}, holders: {holders}, waiters: {waiters}", self.keys.len())?;
        let mut keys = Vec::from_iter(&self.keys);
        if !f.alternate() {
            keys.sort_by_key(|key| Reverse(key.waiters.len())); // stable: then in the order of the keys
            keys.truncate(SHOWN_KEYS);
        }
        for key in &keys {
            f.write_str("\n")?;
            key.fmt(f)?;
        }
        match self.keys.len() - keys.len() {
            0 => Ok(()),
            more => write!(f, "\nand {more} more keys"),
        }
    }
}

/// One line. `{}` shows 3 holders and 3 waiters, and says how many more there are; `{:#}` shows all of them.
impl fmt::Display for KeySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: held by ", self.key, self.mode)?;
        parties(f, &self.holders, |f, holder| holder.who(f))?;
        if !self.waiters.is_empty() {
            f.write_str("; waiting: ")?;
            parties(f, &self.waiters, |f, waiter| waiter.fmt(f))?;
        }
        Ok(())
    }
}

/// The owner, the mode, the fence, and the age where it is known.
impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.described(f, true)
    }
}

impl Party {
    /// Without the mode, which all holders of a key have in common.
    fn who(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.described(f, false)
    }

    fn described(&self, f: &mut fmt::Formatter<'_>, with_mode: bool) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{owner:?} (")?,
            None => f.write_str("an unknown owner (")?,
        }
        if with_mode {
            write!(f, "{}, ", self.mode)?;
        }
        write!(f, "fence {}", self.fence)?;
        match self.age {
            Some(age) => write!(f, ", for {age:.1?})"),
            None => f.write_str(")"),
        }
    }
}

fn parties(
    f: &mut fmt::Formatter<'_>,
    all: &[Party],
    show: impl Fn(&mut fmt::Formatter<'_>, &Party) -> fmt::Result,
) -> fmt::Result {
    let shown = if f.alternate() { all.len() } else { all.len().min(SHOWN_PARTIES) };
    for (index, party) in all.iter().take(shown).enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        show(f, party)?;
    }
    match all.len() - shown {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// One line.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exclusive_grants, shared_grants, releases, downgrades, deadlocks, .. } = self;
        write!(
            f,
            "granted: {exclusive_grants} exclusive and {shared_grants} shared; released: {releases}; downgraded: {downgrades}; "
        )?;
        let Self { waits, waits_granted, waits_cancelled, waits_closed, .. } = self;
        write!(
            f,
            "waits: {waits}, of which {waits_granted} granted, {waits_cancelled} given up, {waits_closed} closed; \
             deadlocks refused: {deadlocks}"
        )?;
        self.wait_time.map_or(Ok(()), |time| write!(f, "; granted waits took {time:.1?} in all"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Fence, Mode};

    fn party(owner: Option<&str>, mode: Mode, fence: u64, age: Option<u64>) -> Party {
        let age = age.map(Duration::from_millis);
        Party { owner: owner.map(Into::into), mode, fence: Fence::new(fence), age }
    }

    fn key(key: &str, mode: Mode, holders: Vec<Party>, waiters: Vec<Party>) -> KeySnapshot {
        KeySnapshot { key: key.into(), mode, holders, waiters }
    }

    #[test]
    fn a_snapshot_says_who_holds_what_and_who_waits() {
        let readers = (1..=5).map(|n| party(Some("ann"), Mode::Shared, n, None)).collect();
        let snapshot = Snapshot::new(vec![
            key("calm", Mode::Exclusive, vec![party(None, Mode::Exclusive, 8, Some(3_250))], vec![]),
            key("two\nlines", Mode::Shared, readers, vec![party(Some("b\"b"), Mode::Exclusive, 9, Some(40))]),
        ]);
        assert_eq!(
            snapshot.to_string(),
            "keys held: 2, holders: 6, waiters: 1\n\
             \"two\\nlines\" shared: held by \"ann\" (fence 1), \"ann\" (fence 2), \"ann\" (fence 3) and 2 more; \
             waiting: \"b\\\"b\" (exclusive, fence 9, for 40.0ms)\n\
             \"calm\" exclusive: held by an unknown owner (fence 8, for 3.2s)"
        );
        assert!(format!("{snapshot:#}").contains("\"ann\" (fence 4), \"ann\" (fence 5); waiting: "));
        assert_eq!(Snapshot::default().to_string(), "keys held: 0, holders: 0, waiters: 0");
    }

    #[test]
    fn a_snapshot_of_many_keys_fits_on_a_screen_unless_all_is_asked_for() {
        let held =
            |n: u64| key(&format!("{n:02}"), Mode::Shared, vec![party(None, Mode::Shared, n, None)], vec![]);
        let snapshot = Snapshot::new((0..50).map(held).collect());
        let text = snapshot.to_string();
        assert_eq!(text.lines().count(), 22);
        assert!(
            text.ends_with("\"19\" shared: held by an unknown owner (fence 19)\nand 30 more keys"),
            "{text}"
        );
        assert_eq!(format!("{snapshot:#}").lines().count(), 51);
    }

    #[test]
    fn counters_are_one_line() {
        let mut counters =
            Counters { exclusive_grants: 2, shared_grants: 3, releases: 4, ..Counters::default() };
        let line = "granted: 2 exclusive and 3 shared; released: 4; downgraded: 0; waits: 0, of which 0 granted, 0 given up, \
                    0 closed; deadlocks refused: 0";
        assert_eq!(counters.to_string(), line);
        counters.wait_time = Some(Duration::from_millis(1_500));
        assert_eq!(counters.to_string(), format!("{line}; granted waits took 1.5s in all"));
    }
}
