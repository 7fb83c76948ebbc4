//! What the property tests share, also those of other crates: how many cases they try.

use proptest::test_runner::{Config, RngSeed};

/// 256 cases with a fixed seed, so that a run is repeatable; `WORKFLEET_PROPTEST_CASES` asks for another number, from fresh
/// seeds.
pub(crate) fn cases() -> Config {
    let cases = std::env::var("WORKFLEET_PROPTEST_CASES").ok();
    let cases = cases.map(|cases| cases.parse().expect("WORKFLEET_PROPTEST_CASES is a number"));
    Config {
        cases: cases.unwrap_or(256),
        rng_seed: if cases.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) },
        failure_persistence: None,
        ..Config::default()
    }
}
