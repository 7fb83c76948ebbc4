//! The benchmarks, one file each.

mod h1;
mod h2;
mod h3;
mod idle;
mod l1;
mod l2;
mod l3;
mod m1;
mod p1;
mod p2;
mod p3;
mod p4;
mod p5;
mod p6;
mod p7;
mod w1;
mod w2;
mod w3;
mod w4;

use crate::benchmark::Benchmark;

/// All of them, in the order in which they run.
pub(crate) const BENCHMARKS: &[Benchmark] = &[
    h1::BENCHMARK, //
    h2::BENCHMARK,
    h3::BENCHMARK,
    l1::BENCHMARK,
    l2::BENCHMARK,
    l3::BENCHMARK,
    m1::BENCHMARK,
    p1::BENCHMARK,
    p2::BENCHMARK,
    p3::BENCHMARK,
    p4::BENCHMARK,
    p5::BENCHMARK,
    p6::BENCHMARK,
    p7::BENCHMARK,
    idle::BENCHMARK,
    w1::BENCHMARK,
    w2::BENCHMARK,
    w3::BENCHMARK,
    w4::BENCHMARK,
];
