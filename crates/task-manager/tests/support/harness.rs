//! What stands in place of the standard harness in test binaries that need a `main` of their own: as much of it as `cargo test`
//! asks for.

use std::env;

/// Runs the tests whose names the arguments select, or lists them all.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let listing = arguments.iter().any(|argument| argument == "--list");
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in tests {
        if listing {
            println!("{name}: test");
        } else if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}
