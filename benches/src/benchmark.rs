//! What a benchmark is. Each file in `benchmarks/` defines one; the table there lists them.

use crate::error::Error;
use crate::figure::Unit;
use crate::race::Race;

/// One benchmark under the id that the targets give it.
#[derive(Debug)]
pub(crate) struct Benchmark {
    /// Its id, as in `P1`.
    pub(crate) id: &'static str,
    /// Prepares what is needed and says who runs against whom. Called just before its races run.
    pub(crate) plan: fn() -> Result<Vec<Race>, Error>,
    /// What this executable can measure for it, in a process of its own.
    pub(crate) measurements: &'static [Measurement],
}

/// A figure that this executable can measure in a process of its own.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// Its name, unique among all: the benchmark's id, a slash, and what it is.
    pub(crate) name: &'static str,
    /// The unit of its figure.
    pub(crate) unit: Unit,
    /// Measures it once.
    pub(crate) run: fn() -> Result<f64, Error>,
}

/// A measurement of microseconds.
pub(crate) const fn micros(name: &'static str, run: fn() -> Result<f64, Error>) -> Measurement {
    Measurement { name, unit: Unit::Micros, run }
}
