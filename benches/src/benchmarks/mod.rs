//! The benchmarks, one file each.

mod m1;
mod p1;
mod p2;

use crate::benchmark::Benchmark;

/// All of them, in the order in which they run.
pub(crate) const BENCHMARKS: &[Benchmark] = &[
    m1::BENCHMARK, //
    p1::BENCHMARK,
    p2::BENCHMARK,
];
