//! Setters have names of one convention: `x(value)` where a type has settings and nothing else, `with_x(value)` on what is
//! something without them.
//!
//! They are read from the lists of public items, `crates/NAME/api.txt`.

use super::problem::{Problem, Text};

/// Types whose methods add to a list.
const LISTS: [&str; 1] = ["Registry"];

/// What operators are called.
const OPERATORS: [&str; 1] = ["add"];

pub(super) fn check(texts: &[Text]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for text in
        texts.iter().filter(|text| text.path.starts_with("crates/") && text.path.ends_with("/api.txt"))
    {
        for (number, line) in text.lines() {
            let Some((owner, method)) = setter(line).filter(|(_, name)| !OPERATORS.contains(name)) else {
                continue;
            };
            let of_settings = owner.ends_with("Builder") || owner.ends_with("Options");
            let wanted = match (of_settings, method.strip_prefix("with_")) {
                (true, Some(setting)) => setting.to_owned(),
                (false, None) if !LISTS.contains(&owner) => format!("with_{method}"),
                _ => continue,
            };
            let message = format!("`{owner}::{method}` is a setter, and is to be `{wanted}`");
            problems.push(Problem::new(format!("{}:{number}", text.path), message));
        }
    }
    problems
}

/// The type and the name of a method that takes `self` and a value of another type, and returns `Self`.
fn setter(line: &str) -> Option<(&str, &str)> {
    let item = line.strip_prefix("pub fn ").or_else(|| line.strip_prefix("pub const fn "))?;
    let (head, arguments) = item.split_once("(self, ")?;
    if arguments.starts_with("Self)")
        || !(arguments.ends_with("-> Self") || arguments.contains("-> Self where"))
    {
        return None;
    }
    // `path::Type<…>::method<…>`: generics may have paths in them.
    let (owner, method) = split_last(without_generics(head))?;
    Some((split_last(without_generics(owner)).map_or(owner, |(_, name)| name), method))
}

/// Without the `<…>` at its end.
fn without_generics(path: &str) -> &str {
    if !path.ends_with('>') {
        return path;
    }
    let mut depth = 0_usize;
    for (at, mark) in path.char_indices().rev() {
        match mark {
            '>' => depth += 1,
            '<' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return path.get(..at).unwrap_or(path);
        }
    }
    path
}

/// The path before the last name, and that name.
fn split_last(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once("::")
}

#[cfg(test)]
mod tests {
    use super::super::problem::{shown, text};
    use super::*;

    fn problems(line: &str) -> Vec<String> {
        shown(&check(&[text("crates/a/api.txt", line)]))
    }

    #[test]
    fn a_setter_of_the_other_kind_is_found() {
        assert_eq!(
            problems("pub mod a\npub fn a::RunOptions::with_limit(self, u32) -> Self"),
            ["crates/a/api.txt:2: `RunOptions::with_limit` is a setter, and is to be `limit`"]
        );
        assert_eq!(
            problems(
                "pub const fn a::b::Group<T, core::Vec<u8>>::limit<A: b::C<D>>(self, A) -> Self where A: Send"
            ),
            ["crates/a/api.txt:1: `Group::limit` is a setter, and is to be `with_limit`"]
        );
    }

    #[test]
    fn setters_of_the_convention_and_other_methods_pass() {
        for line in [
            "pub fn a::GroupBuilder<T>::limit(self, u32) -> Self",
            "pub fn a::Group<T>::with_limit(self, u32) -> Self",
            "pub fn a::Registry::session<S, F>(self, F) -> Self where S: core::any::Any",
            "pub fn a::Group::may_end(self) -> Self",
            "pub fn a::Mode::stronger(self, Self) -> Self",
            "pub fn a::Group::limit(&self) -> u32",
            "pub fn a::Group::add(self, u32) -> core::option::Option<Self>",
        ] {
            assert_eq!(problems(line), [""; 0], "{line}");
        }
    }
}
