//! The public names of a crate: its items, and the members of its types and traits.
//!
//! A name counts wherever in the crate it stands: modules are known by name, and not which of them has what. What a macro of the
//! crate adds to a type by a call inside an `impl` counts as that type's.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, LexError, TokenStream, TokenTree};

/// What is public in a crate.
#[derive(Debug, Default)]
pub(super) struct Names {
    items: BTreeSet<String>,
    /// By type or trait: methods, constants, variants, fields.
    members: BTreeMap<String, BTreeSet<String>>,
    /// By macro: the public functions in its arms.
    macros: BTreeMap<String, BTreeSet<String>>,
    /// Macros that are called inside an `impl` of a type.
    calls: Vec<(String, String)>,
}

/// Where a list of tokens stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Module,
    /// In a body of this type; whether all of it is public, as in a trait.
    Body(&'a str, bool),
}

impl Names {
    /// Adds what a file has.
    ///
    /// # Errors
    /// It is no Rust.
    pub(super) fn read(&mut self, source: &str) -> Result<(), LexError> {
        self.items_in(source.parse()?, Place::Module);
        Ok(())
    }

    /// Gives types what macros add to them. Called once every file was read.
    pub(super) fn resolve(&mut self) {
        for (owner, name) in &self.calls {
            if let Some(functions) = self.macros.get(name) {
                self.members.entry(owner.clone()).or_default().extend(functions.iter().cloned());
            }
        }
    }

    /// What of a path is not there: a module, an item, or a member of a type.
    pub(super) fn missing(&self, path: &[&str]) -> Option<String> {
        let is_type = |segment: &str| segment.starts_with(char::is_uppercase);
        for (place, segment) in path.iter().enumerate() {
            match place.checked_sub(1).map(|before| path[before]).filter(|before| is_type(before)) {
                Some(owner) if self.members.get(owner).is_some_and(|members| members.contains(*segment)) => {}
                Some(owner) => return Some(format!("`{segment}` of `{owner}`")),
                None if self.items.contains(*segment) => {}
                None => return Some(format!("`{segment}`")),
            }
        }
        None
    }

    fn items_in(&mut self, tokens: TokenStream, place: Place<'_>) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let word = |at: usize| match trees.get(at) {
            Some(TokenTree::Ident(ident)) => ident.to_string(),
            _ => String::new(),
        };
        let is_punct = |at: usize, wanted: char| matches!(trees.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
        let body_from = |at: usize| body(&trees[at.min(trees.len())..]);
        let (mut at, mut is_public) = (0, false);
        while at < trees.len() {
            let next = word(at + 1);
            match word(at).as_str() {
                "pub" => {
                    is_public = !is_group(trees.get(at + 1), Delimiter::Parenthesis);
                    at += 1 + usize::from(!is_public);
                    continue;
                }
                // A lifetime, or a pointer.
                "static" | "const" if at > 0 && (is_punct(at - 1, '\'') || is_punct(at - 1, '*')) => {}
                // Words before `fn`.
                "const" if ["fn", "async", "unsafe", "extern"].contains(&&*next) => {}
                "async" | "unsafe" | "extern" | "auto" | "default" => {}
                "fn" | "const" | "static" | "type" => {
                    self.add(&next, place, is_public);
                    is_public = false;
                }
                "mod" => {
                    self.add(&next, place, is_public);
                    is_public = false;
                    if let Some((group, length)) = body_from(at).filter(|(_, length)| *length == 3) {
                        self.items_in(group.stream(), Place::Module);
                        at += length;
                        continue;
                    }
                }
                kind @ ("struct" | "enum" | "union" | "trait") => {
                    self.add(&next, place, is_public);
                    if let Some((group, length)) = body_from(at) {
                        match kind {
                            "enum" => self.variants(group.stream(), &next),
                            "trait" => self.items_in(group.stream(), Place::Body(&next, true)),
                            _ => self.fields(group.stream(), &next),
                        }
                        at += length;
                        is_public = false;
                        continue;
                    }
                    is_public = false;
                }
                "macro_rules" => {
                    let name = word(at + 2);
                    if let Some((group, length)) = body_from(at) {
                        self.items.insert(name.clone());
                        public_functions(group.stream(), self.macros.entry(name).or_default());
                        at += length;
                        continue;
                    }
                }
                "impl" if matches!(place, Place::Module) => {
                    if let Some((group, length)) = body_from(at) {
                        let (owner, is_trait) = implemented(&trees[at + 1..at + length - 1]);
                        self.items_in(group.stream(), Place::Body(&owner, is_trait));
                        at += length;
                        continue;
                    }
                }
                name if is_punct(at + 1, '!') && !name.is_empty() => {
                    if let Place::Body(owner, _) = place {
                        self.calls.push((owner.to_owned(), name.to_owned()));
                    }
                }
                _ => {
                    if is_punct(at, ';') || is_group(trees.get(at), Delimiter::Brace) {
                        is_public = false;
                    }
                }
            }
            at += 1;
        }
    }

    fn add(&mut self, name: &str, place: Place<'_>, is_public: bool) {
        match place {
            Place::Module if is_public => {
                self.items.insert(name.to_owned());
            }
            Place::Body(owner, all) if is_public || all => {
                self.members.entry(owner.to_owned()).or_default().insert(name.to_owned());
            }
            _ => {}
        }
    }

    fn variants(&mut self, tokens: TokenStream, owner: &str) {
        let mut begins = true;
        for tree in tokens {
            match tree {
                TokenTree::Ident(ident) if begins => {
                    self.add(&ident.to_string(), Place::Body(owner, true), true);
                    begins = false;
                }
                TokenTree::Punct(punct) if punct.as_char() == ',' => begins = true,
                _ => {}
            }
        }
    }

    fn fields(&mut self, tokens: TokenStream, owner: &str) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        for pair in trees.windows(2) {
            if let [TokenTree::Ident(public), TokenTree::Ident(name)] = pair
                && *public == "pub"
            {
                self.add(&name.to_string(), Place::Body(owner, true), true);
            }
        }
    }
}

fn is_group(tree: Option<&TokenTree>, delimiter: Delimiter) -> bool {
    matches!(tree, Some(TokenTree::Group(group)) if group.delimiter() == delimiter)
}

/// The first group in braces before a semicolon, and how many tokens there are to its end.
fn body(trees: &[TokenTree]) -> Option<(&Group, usize)> {
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Some((group, at + 1)),
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            _ => {}
        }
    }
    None
}

/// The name of the type that an `impl` is for, and whether it is one of a trait. `header` is what stands between `impl` and the
/// body.
fn implemented(header: &[TokenTree]) -> (String, bool) {
    let (mut name, mut is_trait, mut depth, mut arrow) = (String::new(), false, 0_usize, false);
    let mut is_complete = false;
    for tree in header {
        match tree {
            TokenTree::Punct(punct) => {
                match punct.as_char() {
                    '<' => {
                        // A path ends where its arguments begin; those of the `impl` come before any name.
                        is_complete |= depth == 0 && !name.is_empty();
                        depth += 1;
                    }
                    '>' if !arrow => depth = depth.saturating_sub(1),
                    _ => {}
                }
                arrow = punct.as_char() == '-';
            }
            TokenTree::Ident(ident) if depth == 0 => match ident.to_string().as_str() {
                "where" => break,
                "for" => (name, is_trait, is_complete) = (String::new(), true, false),
                "mut" | "dyn" | "const" | "unsafe" => {}
                word if !is_complete => name = word.to_owned(),
                _ => {}
            },
            _ => arrow = false,
        }
    }
    (name, is_trait)
}

/// The names behind `pub fn`, in whatever groups they stand.
fn public_functions(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let mut is_public = false;
    let mut is_function = false;
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => {
                public_functions(group.stream(), found);
                (is_public, is_function) = (false, false);
            }
            TokenTree::Ident(ident) => match ident.to_string().as_str() {
                "pub" => is_public = true,
                "fn" => is_function = is_public,
                "async" | "const" | "unsafe" => {}
                name => {
                    if is_function {
                        found.insert(name.to_owned());
                    }
                    (is_public, is_function) = (false, false);
                }
            },
            _ => {}
        }
    }
}
