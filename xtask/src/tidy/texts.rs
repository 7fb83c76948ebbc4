//! No tracked text has notes to ourselves, leftovers of debugging, or paths of somebody's machine in it.

use super::problem::{Problem, Text};

/// What must not be in a text, and why. Written in pieces, so that this file does not contain it.
const BANNED: [(&str, &str); 6] = [
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("TO", "DO"), "what is not done is an issue, not a note"),
    (concat!("FIX", "ME"), "what is broken is mended, or an issue"),
    (concat!("db", "g!("), "a leftover of debugging"),
    (concat!("to", "do!("), "unfinished code"),
    (concat!("unimpl", "emented!("), "unfinished code"),
];

pub(super) fn check(texts: &[Text]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for text in texts {
        for (number, line) in text.lines() {
            for (word, why) in BANNED.iter().filter(|(word, _)| contains_word(line, word)) {
                problems.push(Problem::new(format!("{}:{number}", text.path), format!("`{word}`: {why}")));
            }
        }
    }
    problems
}

/// Whether `word` is in `line` and is not a part of a longer word or path there.
fn contains_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        let begins = match word.starts_with('/') {
            true => !before.ends_with(|c: char| is_word(c) || ".~-*>}$".contains(c)),
            false => !before.ends_with(is_word),
        };
        begins && !(word.ends_with(is_word) && after.starts_with(is_word))
    })
}

#[cfg(test)]
mod tests {
    use super::super::problem::{shown, text};
    use super::*;

    #[test]
    fn every_banned_word_is_found_with_its_line() {
        for (word, why) in BANNED {
            for line in [
                word.to_owned(),
                format!("    ({word} x)"),
                format!("see {word} here"),
                format!("\"{word}\""),
            ] {
                let found = check(&[text("README.md", &format!("fine\n{line}\n"))]);
                assert_eq!(shown(&found), [format!("README.md:2: `{word}`: {why}")], "{line}");
            }
        }
    }

    #[test]
    fn longer_words_and_longer_paths_pass() {
        let paths = concat!("some/wo", "rk/here ../wo", "rk/here $HOME/wo", "rk/ ~/wo", "rk/");
        let words = concat!("TO", "DOS my_", "db", "g!(");
        assert_eq!(check(&[text("README.md", paths), text("a.rs", words)]), []);
    }
}
