//! No name stands for two things in the facade: its modules are crates, and what two of them have at their roots has two names.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::problem::{Problem, Text};

/// The facade, whose lines `pub use CRATE as MODULE;` name the crates.
const FACADE: &str = "crates/facade/src/lib.rs";

/// `packages` are the directories in `crates/` by the names of their packages.
pub(super) fn check(texts: &[Text], packages: &BTreeMap<&str, &str>) -> Vec<Problem> {
    let content = |path: &str| texts.iter().find(|text| text.path == path).map_or("", |text| &text.content);
    let modules = content(FACADE).lines().filter_map(|line| {
        let (package, _) = line.strip_prefix("pub use ")?.split_once(" as ")?;
        packages.get(&*package.replace('_', "-"))
    });
    let (mut owners, mut problems) = (BTreeMap::new(), Vec::new());
    for directory in modules {
        let path = format!("crates/{directory}/src/lib.rs");
        let Ok(tokens) = content(&path).parse() else {
            problems.push(Problem::new(path, "is no Rust"));
            continue;
        };
        for name in reexported(tokens) {
            if let Some(owner) = owners.insert(name.clone(), directory).filter(|owner| *owner != directory) {
                problems.push(Problem::new(&path, format!("`{name}` is also a name of `crates/{owner}`")));
            }
        }
    }
    problems
}

/// The names that `pub use` gives, in the whole file.
fn reexported(tokens: TokenStream) -> Vec<String> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: usize, word: &str| matches!(trees.get(at), Some(TokenTree::Ident(ident)) if *ident == word);
    let mut names = Vec::new();
    for at in (0..trees.len()).filter(|&at| is(at, "pub") && is(at + 1, "use")) {
        let statement = trees[at + 2..]
            .iter()
            .take_while(|tree| !matches!(tree, TokenTree::Punct(end) if end.as_char() == ';'));
        leaves(statement.cloned(), &mut names);
    }
    names
}

/// The last words of the paths in a list.
fn leaves(tokens: impl Iterator<Item = TokenTree>, names: &mut Vec<String>) {
    let mut last = None;
    for tree in tokens {
        match tree {
            TokenTree::Ident(ident) => last = Some(ident.to_string()),
            TokenTree::Punct(comma) if comma.as_char() == ',' => names.extend(last.take()),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                last = None;
                leaves(group.stream().into_iter(), names);
            }
            _ => {}
        }
    }
    // `as _` gives no name.
    names.extend(last.filter(|name| name != "_"));
}

#[cfg(test)]
mod tests {
    use super::super::problem::{shown, text};
    use super::*;

    const LIB: &str = "pub use workfleet_a as a;\npub use workfleet_b as b;";

    fn problems(a: &str, b: &str) -> Vec<String> {
        let texts = [text(FACADE, LIB), text("crates/one/src/lib.rs", a), text("crates/two/src/lib.rs", b)];
        shown(&check(&texts, &BTreeMap::from([("workfleet-a", "one"), ("workfleet-b", "two")])))
    }

    #[test]
    fn names_of_one_crate_pass_however_they_are_written() {
        let a =
            "mod error; pub use {error::{Lost, Error as ReadError}, table::Table}; pub(crate) use x::Kept;";
        assert_eq!(problems(a, "use error::Lost; pub use kept::{Kept, Trait as _}; pub mod error;"), [""; 0]);
    }

    #[test]
    fn a_name_of_two_crates_is_found() {
        let found = problems(
            "pub use error::{Lost, ReadError};",
            "pub use gone::Error as ReadError;\npub use x::Lost;",
        );
        assert_eq!(
            found,
            [
                "crates/two/src/lib.rs: `ReadError` is also a name of `crates/one`",
                "crates/two/src/lib.rs: `Lost` is also a name of `crates/one`"
            ]
        );
    }
}
