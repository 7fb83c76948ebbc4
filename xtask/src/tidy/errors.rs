//! Public errors have names of one kind: what a call returns ends in `Error`, the reasons within one in `ErrorKind`, and what
//! became of something that ran in `Failure`.
//!
//! An error is public here if its definition says `pub`: the compiler refuses that word where the name cannot be reached.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::problem::{Problem, Text};

const ENDINGS: [&str; 3] = ["Error", "ErrorKind", "Failure"];

/// Errors of other names, each with its reason.
const EXCEPTIONS: [(&str, &str); 1] = [("LockFailed", "its name in momotor")];

pub(super) fn check(texts: &[Text]) -> Vec<Problem> {
    let sources = texts.iter().filter(|text| is_source(&text.path));
    let mut problems = Vec::new();
    for text in sources {
        // What is no Rust is reported by the check of the arrows.
        let Ok(tokens) = text.content.parse() else { continue };
        for name in public_errors(tokens).into_iter().filter(|name| !is_conventional(name)) {
            problems.push(Problem::new(
                &text.path,
                format!("the error `{name}` ends in none of `Error`, `ErrorKind` and `Failure`"),
            ));
        }
    }
    problems
}

fn is_source(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates") && parts.nth(1) == Some("src") && path.ends_with(".rs")
}

fn is_conventional(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending)) || EXCEPTIONS.iter().any(|(known, _)| *known == name)
}

/// The types of a file that say `pub`, and derive `Error` or have an `impl` of it.
fn public_errors(tokens: TokenStream) -> Vec<String> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let word = |at: usize| match trees.get(at) {
        Some(TokenTree::Ident(ident)) => ident.to_string(),
        _ => String::new(),
    };
    let is = |at: usize, expected: &str| word(at) == expected;
    // Of the attributes in front of an item, whether one derives `Error`.
    let (mut derives, mut public, mut errors) = (false, Vec::new(), Vec::new());
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(attribute) if attribute.delimiter() == Delimiter::Bracket => {
                derives |= derives_error(attribute.stream());
            }
            TokenTree::Ident(_) if is(at, "pub") && (is(at + 1, "enum") || is(at + 1, "struct")) => {
                public.push(word(at + 2));
                if derives {
                    errors.push(word(at + 2));
                }
            }
            TokenTree::Ident(_) if is(at, "Error") && is(at + 1, "for") => errors.push(word(at + 2)),
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => derives = false,
            TokenTree::Punct(end) if end.as_char() == ';' => derives = false,
            _ => {}
        }
    }
    errors.retain(|error| public.contains(error));
    errors
}

/// Whether `attribute` is `derive(…)` with a path that ends in `Error`.
fn derives_error(attribute: TokenStream) -> bool {
    let trees: Vec<TokenTree> = attribute.into_iter().collect();
    match trees.as_slice() {
        [TokenTree::Ident(name), TokenTree::Group(list)] if name == "derive" => list
            .stream()
            .into_iter()
            .any(|tree| matches!(tree, TokenTree::Ident(derived) if derived == "Error")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::{shown, text};
    use super::*;

    fn problems(content: &str) -> Vec<String> {
        shown(&check(&[text("crates/a/src/b.rs", content)]))
    }

    #[test]
    fn an_error_of_another_name_is_found() {
        let expected =
            ["crates/a/src/b.rs: the error `Lost` ends in none of `Error`, `ErrorKind` and `Failure`"];
        for content in [
            "#[derive(Clone, thiserror::Error)]\n#[error(\"it is lost\")]\n#[non_exhaustive]\npub struct Lost;",
            "#[derive(Debug)] pub enum Lost<T> { Here(T) }\nimpl<T> std::error::Error for Lost<T> {}",
            "#[derive(Error)] pub struct Lost { what: String }\n#[derive(Debug)] pub struct Found;",
        ] {
            assert_eq!(problems(content), expected, "{content}");
        }
    }

    #[test]
    fn names_of_the_convention_private_errors_and_other_types_pass() {
        for content in [
            "#[derive(thiserror::Error)] pub enum ReadError { Lost }",
            "pub struct StartFailure; impl Error for StartFailure {}",
            "#[derive(thiserror::Error)] pub enum ReadErrorKind { Lost }",
            "#[derive(thiserror::Error)] pub enum LockFailed { Closed }",
            "#[derive(thiserror::Error)] pub(crate) enum Lost { Here }",
            "#[derive(thiserror::Error)] struct Lost(#[source] Error);\n#[derive(Debug)] pub struct Found;",
            "#[derive(Debug)] pub struct Found;",
        ] {
            assert_eq!(problems(content), [""; 0], "{content}");
        }
    }

    #[test]
    fn tests_and_other_files_are_not_looked_at() {
        let lost = "#[derive(thiserror::Error)] pub struct Lost;";
        let texts =
            ["crates/a/tests/b.rs", "xtask/src/a.rs", "crates/a/README.md"].map(|path| text(path, lost));
        assert_eq!(check(&texts), []);
    }
}
