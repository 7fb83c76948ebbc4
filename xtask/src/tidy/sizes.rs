//! No tracked file is large: what is in the history once is downloaded with every clone.

use super::problem::Problem;

/// The largest size that a tracked file may have.
pub(super) const LIMIT_BYTES: u64 = 1024 * 1024;

/// `files` are paths and sizes in bytes.
pub(super) fn check(files: &[(&str, u64)]) -> Vec<Problem> {
    let too_large = files.iter().filter(|(_, size)| *size > LIMIT_BYTES);
    too_large
        .map(|(path, size)| Problem::new(*path, format!("has {size} bytes; the limit is {LIMIT_BYTES}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::problem::shown;
    use super::*;

    #[test]
    fn a_file_above_the_limit_is_found_and_one_at_the_limit_passes() {
        let files = [("a.bin", LIMIT_BYTES), ("b.bin", LIMIT_BYTES + 1)];
        assert_eq!(shown(&check(&files)), ["b.bin: has 1048577 bytes; the limit is 1048576"]);
    }
}
