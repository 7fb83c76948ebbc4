//! Heartbeats across processes: not there yet.

use crate::error::Error;

/// What came of many beats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) per_second: f64,
    pub(crate) superseded_percent: f64,
}

fn missing<T>() -> Result<T, Error> {
    Err(Error::NotInstalled("heartbeats do not cross processes yet".to_owned()))
}

pub(crate) fn send(_sends: u64) -> Result<f64, Error> {
    missing()
}

pub(crate) fn of_task(_sends: u64) -> Result<f64, Error> {
    missing()
}

pub(crate) fn send_alone(_sends: usize, _share: f64) -> Result<f64, Error> {
    missing()
}

pub(crate) fn delivered(_tokens: usize, _workers: usize, _sends_each: u64) -> Result<Delivered, Error> {
    missing()
}

pub(crate) fn unregister(_samples: usize) -> Result<f64, Error> {
    missing()
}

pub(crate) fn unregister_flooded(_samples: usize, _workers: usize) -> Result<f64, Error> {
    missing()
}
