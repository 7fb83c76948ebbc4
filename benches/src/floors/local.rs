//! The floors within a process: a flag that is read, a number that is left for another thread.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use workfleet::wire::message;

use crate::clock::mean_ns;
use crate::error::Error;

/// One load of a flag that another thread may set, in nanoseconds: the mean of many.
pub(crate) fn load(loads: u64) -> Result<f64, Error> {
    let flag = AtomicBool::new(true);
    Ok(mean_ns(loads, |_| {
        black_box(black_box(&flag).load(Ordering::Acquire));
    }))
}

/// One number that is encoded and left behind a mutex which nobody else wants, instead of the one before it, in
/// nanoseconds: the mean of many.
pub(crate) fn leave(numbers: u64) -> Result<f64, Error> {
    let last = Mutex::new(Vec::new());
    let mut failed = None;
    let mean = mean_ns(numbers, |number| {
        let mut last = black_box(&last).lock();
        last.clear();
        if let Err(error) = message::encode_into(&number, &mut last) {
            failed = Some(error);
        }
    });
    match failed {
        Some(error) => Err(Error::contender(error)),
        None => Ok(mean),
    }
}
