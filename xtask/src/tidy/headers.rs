//! Every Rust file opens with `//!`: what it is for.

use super::problem::{Problem, Text};

const DIRECTORIES: [&str; 3] = ["crates/", "xtask/", "benches/"];

pub(super) fn check(texts: &[Text]) -> Vec<Problem> {
    let is_ours = |path: &str| DIRECTORIES.iter().any(|directory| path.starts_with(directory));
    texts
        .iter()
        .filter(|text| text.path.ends_with(".rs") && is_ours(&text.path) && !has_header(&text.content))
        .map(|text| Problem::new(&text.path, "does not open with `//!` and what the file is for"))
        .collect()
}

fn has_header(content: &str) -> bool {
    let first = content.lines().next().unwrap_or_default();
    first.strip_prefix("//!").is_some_and(|words| !words.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::problem::text;
    use super::*;

    #[test]
    fn a_file_without_header_is_found_wherever_it_is() {
        for content in ["", "\n//! Late.\n", "//!\n//! Second line.\n", "// No doc.\n", "use std::io;\n"] {
            for path in [
                "crates/wire/src/lib.rs",
                "crates/wire/tests/a.rs",
                "crates/wire/build.rs",
                "xtask/src/a.rs",
                "benches/src/a.rs",
            ] {
                assert_eq!(check(&[text(path, content)]).len(), 1, "{path} {content:?}");
            }
        }
    }

    #[test]
    fn a_header_passes_and_other_files_need_none() {
        let texts = [
            text("crates/wire/src/lib.rs", "//! Frames.\n"),
            text("README.md", ""),
            text("crates/wire/Cargo.toml", ""),
        ];
        assert_eq!(check(&texts), []);
    }
}
