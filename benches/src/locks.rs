//! Locks by key, ours and others', behind one trait, and what is done with all of them alike.
//!
//! Each is given the key as a `&str` and pays for whatever else its own interface asks for.

use std::future::Future;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use lockable::LockPool;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use workfleet::lock::LocalState;

pub(crate) use workfleet::lock::Mode;

use crate::error::Error;

/// How many locks are taken, and of how many keys where they differ.
pub(crate) const LOCKS: usize = 1_000_000;

/// Taken before anything counts.
const WARM_UP: usize = 10_000;

/// Who contends for one key.
const TASKS: usize = 8;
const CONTENTION: Duration = Duration::from_millis(500);

/// Something that locks by key.
pub(crate) trait Locks: Default + Send + Sync + 'static {
    /// Waits for the lock; it is let go when the guard is dropped.
    fn lock<'a>(&'a self, key: &'a str, mode: Mode) -> impl Future<Output = impl Send + 'a> + Send;

    /// How many keys it remembers; `None` if it does not tell.
    fn keys(&self) -> Option<usize>;
}

/// Nanoseconds (in microseconds, the unit of the table) to take and let go one free lock, of the same key again and again.
pub(crate) fn one_key<L: Locks>(mode: Mode) -> Result<f64, Error> {
    let (runtime, locks, keys) = (runtime()?, L::default(), keys(1));
    let in_turn = |count: usize| {
        runtime.block_on(async {
            for _ in 0..count {
                drop(black_box(locks.lock(&keys[0], mode).await));
            }
        });
    };
    in_turn(WARM_UP);
    let started = Instant::now();
    in_turn(LOCKS);
    Ok(micros_each(started.elapsed(), LOCKS))
}

/// The same over as many different keys. None may be left.
pub(crate) fn many_keys<L: Locks>(mode: Mode) -> Result<f64, Error> {
    let (runtime, locks, keys) = (runtime()?, L::default(), keys(LOCKS));
    let in_turn = |keys: &[String]| {
        runtime.block_on(async {
            for key in keys {
                drop(black_box(locks.lock(key, mode).await));
            }
        });
    };
    in_turn(&keys[..WARM_UP]);
    let started = Instant::now();
    in_turn(&keys);
    let took = started.elapsed();
    match locks.keys() {
        Some(left) if left > 0 => Err(Error::Wrong(format!("{left} keys are left"))),
        _ => Ok(micros_each(took, LOCKS)),
    }
}

/// Resident bytes for each of many keys that are held at once, keys and guards included.
pub(crate) fn bytes_per_held_key<L: Locks>() -> Result<f64, Error> {
    let (runtime, locks, keys) = (runtime()?, L::default(), keys(LOCKS));
    let mut guards = Vec::with_capacity(LOCKS);
    let before = resident_bytes()?;
    runtime.block_on(async {
        for key in &keys {
            guards.push(locks.lock(key, Mode::Exclusive).await);
        }
    });
    let held = resident_bytes()? - before;
    black_box(&guards);
    Ok(held / LOCKS as f64)
}

/// How many keys are left of many, each of which had a waiter that gave up after the holder had left.
pub(crate) fn keys_left<L: Locks>() -> Result<f64, Error> {
    let (runtime, locks, keys) = (runtime()?, L::default(), keys(LOCKS / 10));
    runtime.block_on(async {
        for key in &keys {
            let holder = locks.lock(key, Mode::Exclusive).await;
            let mut waiter = Box::pin(locks.lock(key, Mode::Exclusive));
            let waits =
                std::future::poll_fn(|cx| std::task::Poll::Ready(waiter.as_mut().poll(cx).is_pending()));
            if !waits.await {
                return Err(Error::Wrong(format!("{key} was given to two")));
            }
            drop(holder);
            drop(waiter);
        }
        Ok(())
    })?;
    let left = locks.keys().ok_or_else(|| Error::NotInstalled("it does not count its keys".to_owned()))?;
    Ok(left as f64)
}

/// Wall time for each lock, in microseconds, while tasks contend for one key on two threads, and do nothing else.
pub(crate) fn contended<L: Locks>(mode: Mode) -> Result<f64, Error> {
    let (runtime, locks) = (runtime()?, Arc::new(L::default()));
    let started = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let locks = Arc::clone(&locks);
            runtime.spawn(async move {
                let mut count = 0_u64;
                while !count.is_multiple_of(256) || started.elapsed() < CONTENTION {
                    drop(black_box(locks.lock("task/00000000/state", mode).await));
                    count += 1;
                    // Those who never wait would keep their thread.
                    if count.is_multiple_of(1024) {
                        tokio::task::yield_now().await;
                    }
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += runtime.block_on(task).map_err(Error::contender)?;
    }
    Ok(micros_each(started.elapsed(), usize::try_from(count).unwrap_or(usize::MAX)))
}

/// How long one task waits on average, in microseconds, to get the lock in another mode than seven others, who hold it for a
/// millisecond each, again and again.
pub(crate) fn odd_one<L: Locks>(odd: Mode) -> Result<f64, Error> {
    const FOR: Duration = Duration::from_secs(1);
    let crowd = if odd == Mode::Shared { Mode::Exclusive } else { Mode::Shared };
    let (runtime, locks) = (runtime()?, Arc::new(L::default()));
    let tasks: Vec<_> = (0..7)
        .map(|number| {
            let locks = Arc::clone(&locks);
            runtime.spawn(async move {
                tokio::time::sleep(HOLD * number / 7).await;
                loop {
                    let guard = locks.lock("k", crowd).await;
                    tokio::time::sleep(HOLD).await;
                    drop(guard);
                }
            })
        })
        .collect();
    let waits = runtime.block_on(async {
        tokio::time::sleep(20 * HOLD).await;
        let (started, mut waited, mut count) = (Instant::now(), Duration::ZERO, 0);
        while started.elapsed() < FOR {
            let asked = Instant::now();
            let guard = tokio::time::timeout(FOR, locks.lock("k", odd)).await;
            let guard = guard.map_err(|_| Error::Wrong("it starves".to_owned()))?;
            waited += asked.elapsed();
            count += 1;
            drop(guard);
        }
        Ok(micros_each(waited, count))
    });
    tasks.iter().for_each(|task| task.abort());
    waits
}

const HOLD: Duration = Duration::from_millis(1);

/// How long a hold of a millisecond takes, in microseconds: nobody who waits for one waits less.
pub(crate) fn one_hold() -> Result<f64, Error> {
    const HOLDS: usize = 500;
    let runtime = runtime()?;
    let started = Instant::now();
    runtime.block_on(async {
        for _ in 0..HOLDS {
            tokio::time::sleep(HOLD).await;
        }
    });
    Ok(micros_each(started.elapsed(), HOLDS))
}

fn runtime() -> Result<Runtime, Error> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().map_err(Error::io("start a runtime"))
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("task/{number:08}/state")).collect()
}

fn micros_each(took: Duration, count: usize) -> f64 {
    took.as_secs_f64() * 1e6 / count as f64
}

fn resident_bytes() -> Result<f64, Error> {
    let text = std::fs::read_to_string("/proc/self/statm").map_err(Error::io("read /proc/self/statm"))?;
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    let pages = pages.ok_or_else(|| Error::Wrong(format!("{text:?} has no resident pages")))?;
    Ok(pages * rustix::param::page_size() as f64)
}

/// workfleet's.
#[derive(Default)]
pub(crate) struct Ours(LocalState);

impl Locks for Ours {
    fn lock<'a>(&'a self, key: &'a str, mode: Mode) -> impl Future<Output = impl Send + 'a> + Send {
        self.0.lock(key, mode)
    }

    fn keys(&self) -> Option<usize> {
        self.0.blocking_snapshot().ok().map(|snapshot| snapshot.keys.len())
    }
}

/// The least that a table by key can cost which forgets idle keys: shards of an insertion and a removal. Nobody can wait.
pub(crate) struct Floor {
    shards: Vec<parking_lot::Mutex<Counts>>,
    hash: DefaultHashBuilder,
}

/// How often each key is held.
type Counts = HashTable<(Box<str>, i64)>;

pub(crate) struct FloorGuard<'a>(&'a Floor, &'a str);

impl Default for Floor {
    fn default() -> Self {
        Self { shards: (0..64).map(|_| Default::default()).collect(), hash: Default::default() }
    }
}

impl Floor {
    fn change(&self, key: &str, change: i64) {
        let hash = self.hash.hash_one(key);
        let mut shard = self.shards[(hash >> 40) as usize % 64].lock();
        match shard.entry(hash, |(held, _)| **held == *key, |(held, _)| self.hash.hash_one(&**held)) {
            Entry::Vacant(vacant) => drop(vacant.insert((key.into(), change))),
            Entry::Occupied(mut occupied) => {
                let count = &mut occupied.get_mut().1;
                *count += change;
                if *count == 0 {
                    occupied.remove();
                }
            }
        }
    }
}

impl Drop for FloorGuard<'_> {
    fn drop(&mut self) {
        self.0.change(self.1, -1);
    }
}

impl Locks for Floor {
    fn lock<'a>(&'a self, key: &'a str, _: Mode) -> impl Future<Output = impl Send + 'a> + Send {
        self.change(key, 1);
        std::future::ready(FloorGuard(self, key))
    }

    fn keys(&self) -> Option<usize> {
        Some(self.shards.iter().map(|shard| shard.lock().len()).sum())
    }
}

/// Either guard of an `RwLock`.
pub(crate) enum Either<R, W> {
    Shared(R),
    Exclusive(W),
}

/// tokio's `RwLock`: one lock, no keys.
#[derive(Default)]
pub(crate) struct NoKeys(RwLock<()>);

impl Locks for NoKeys {
    async fn lock<'a>(&'a self, _: &'a str, mode: Mode) -> impl Send + 'a {
        match mode {
            Mode::Shared => Either::Shared(self.0.read().await),
            Mode::Exclusive => Either::Exclusive(self.0.write().await),
        }
    }

    fn keys(&self) -> Option<usize> {
        None
    }
}

/// tokio's `Mutex`: one lock, no keys, no modes.
#[derive(Default)]
pub(crate) struct NoModes(Mutex<()>);

impl Locks for NoModes {
    async fn lock<'a>(&'a self, _: &'a str, _: Mode) -> impl Send + 'a {
        self.0.lock().await
    }

    fn keys(&self) -> Option<usize> {
        None
    }
}

/// What one writes oneself: a table of tokio's locks, whose entries are removed when a guard finds itself alone with them.
#[derive(Default)]
pub(crate) struct Table(DashMap<String, Arc<RwLock<()>>>);

pub(crate) struct TableGuard<'a> {
    held: Option<Either<OwnedRwLockReadGuard<()>, OwnedRwLockWriteGuard<()>>>,
    table: &'a Table,
    key: &'a str,
}

impl Drop for TableGuard<'_> {
    fn drop(&mut self) {
        self.held = None;
        self.table.0.remove_if(self.key, |_, lock| Arc::strong_count(lock) == 1);
    }
}

impl Locks for Table {
    async fn lock<'a>(&'a self, key: &'a str, mode: Mode) -> impl Send + 'a {
        let known = self.0.get(key).map(|lock| Arc::clone(&lock));
        let lock = known.unwrap_or_else(|| Arc::clone(&self.0.entry(key.to_owned()).or_default()));
        let held = match mode {
            Mode::Shared => Either::Shared(lock.read_owned().await),
            Mode::Exclusive => Either::Exclusive(lock.write_owned().await),
        };
        TableGuard { held: Some(held), table: self, key }
    }

    fn keys(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// lockable's pool, which knows exclusive locks alone.
pub(crate) struct Lockable(LockPool<String>);

impl Default for Lockable {
    fn default() -> Self {
        Self(LockPool::new())
    }
}

impl Locks for Lockable {
    async fn lock<'a>(&'a self, key: &'a str, _: Mode) -> impl Send + 'a {
        self.0.async_lock(key.to_owned()).await
    }

    fn keys(&self) -> Option<usize> {
        Some(self.0.num_locked())
    }
}

/// keyed-lock, which knows exclusive locks alone.
pub(crate) struct KeyedLock(keyed_lock::r#async::KeyedLock<String>);

impl Default for KeyedLock {
    fn default() -> Self {
        Self(keyed_lock::r#async::KeyedLock::new())
    }
}

impl Locks for KeyedLock {
    async fn lock<'a>(&'a self, key: &'a str, _: Mode) -> impl Send + 'a {
        self.0.lock(key.to_owned()).await
    }

    fn keys(&self) -> Option<usize> {
        None
    }
}

/// key-rwlock, which may give one key to two.
pub(crate) struct KeyRwLock(key_rwlock::KeyRwLock<String>);

impl Default for KeyRwLock {
    fn default() -> Self {
        Self(key_rwlock::KeyRwLock::new())
    }
}

impl Locks for KeyRwLock {
    async fn lock<'a>(&'a self, key: &'a str, mode: Mode) -> impl Send + 'a {
        match mode {
            Mode::Shared => Either::Shared(self.0.read(key.to_owned()).await),
            Mode::Exclusive => Either::Exclusive(self.0.write(key.to_owned()).await),
        }
    }

    fn keys(&self) -> Option<usize> {
        None
    }
}
