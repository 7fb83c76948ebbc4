//! What one file says about modules: what it defines, imports and mentions, and which modules it declares.
//!
//! The file is read as tokens, not as a syntax tree: paths in the arguments of macros count as well. What is compiled for tests
//! alone is left out.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A module's own text, without that of its modules in other files.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// The names of its items.
    pub(super) defined: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// Paths in code and in types, as they are written.
    pub(super) mentions: Vec<Path>,
    pub(super) modules: Vec<Submodule>,
}

/// A path as it is written.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// One name that a `use` brings in.
#[derive(Debug)]
pub(super) struct Import {
    /// The name; of a glob there is none.
    pub(super) name: Option<String>,
    pub(super) path: Path,
    pub(super) is_reexport: bool,
}

/// One `mod`.
#[derive(Debug)]
pub(super) struct Submodule {
    pub(super) name: String,
    pub(super) for_tests: bool,
    /// Files that attributes name in place of the usual one.
    pub(super) files: Vec<String>,
    /// Its body, if that stands in the same file.
    pub(super) body: Option<Scanned>,
}

/// Reads a file.
///
/// # Errors
/// It is not Rust.
pub(super) fn scan(source: &str) -> Result<Scanned, proc_macro2::LexError> {
    Ok(scan_body(source.parse()?))
}

fn scan_body(tokens: TokenStream) -> Scanned {
    let mut found = Scanned::default();
    Cursor::new(tokens).read(&mut found, true);
    found
}

/// Words that come before the name of an item.
const ITEMS: [&str; 9] = ["const", "enum", "fn", "macro_rules", "static", "struct", "trait", "type", "union"];

/// Words that are no path.
const WORDS: [&str; 35] = [
    "Self", "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "false",
    "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return",
    "static", "struct", "trait", "true", "type", "unsafe", "use", "where", "while",
];

/// What the attributes before an item say.
#[derive(Default)]
struct Attributes {
    for_tests: bool,
    files: Vec<String>,
}

/// A list of tokens, and a place in it.
struct Cursor {
    trees: Vec<TokenTree>,
    at: usize,
}

impl Cursor {
    fn new(tokens: TokenStream) -> Self {
        Self { trees: tokens.into_iter().collect(), at: 0 }
    }

    /// The token so many places on.
    fn peek(&self, ahead: usize) -> Option<&TokenTree> {
        self.trees.get(self.at + ahead)
    }

    fn is_punct(&self, ahead: usize, wanted: char) -> bool {
        matches!(self.peek(ahead), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
    }

    fn is_path_separator(&self, ahead: usize) -> bool {
        self.is_punct(ahead, ':') && self.is_punct(ahead + 1, ':')
    }

    fn ident(&self, ahead: usize) -> Option<String> {
        match self.peek(ahead) {
            Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
            _ => None,
        }
    }

    fn group(&self, ahead: usize, delimiter: Delimiter) -> Option<&Group> {
        match self.peek(ahead) {
            Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group),
            _ => None,
        }
    }

    fn line(&self) -> usize {
        self.peek(0).map_or(0, |tree| tree.span().start().line)
    }

    /// Reads to the end. `is_module` says that this is the text of a module, so that items define its names.
    fn read(mut self, found: &mut Scanned, is_module: bool) {
        while self.at < self.trees.len() {
            let attributes = self.attributes();
            let is_public = self.visibility();
            match self.ident(0).as_deref() {
                Some("mod") if self.ident(1).is_some() => self.submodule(attributes, found),
                _ if attributes.for_tests => self.skip_item(),
                // `use<'a>` is a bound.
                Some("use") if !self.is_punct(1, '<') => self.imports(is_public, found),
                Some(word) => {
                    if is_module && ITEMS.contains(&word) {
                        let is_macro = word == "macro_rules" && self.is_punct(1, '!');
                        found.defined.extend(self.ident(1 + usize::from(is_macro)));
                    }
                    self.mention(found);
                }
                None => {
                    if let Some(TokenTree::Group(group)) = self.peek(0) {
                        Cursor::new(group.stream()).read(found, false);
                    }
                    self.at += 1;
                }
            }
        }
    }

    /// Reads the attributes that stand here.
    fn attributes(&mut self) -> Attributes {
        let mut found = Attributes::default();
        while self.is_punct(0, '#') {
            let is_inner = usize::from(self.is_punct(1, '!'));
            let Some(group) = self.group(1 + is_inner, Delimiter::Bracket) else { break };
            let attribute = Cursor::new(group.stream());
            match attribute.ident(0).as_deref() {
                Some("cfg") => found.for_tests |= attribute.arguments().iter().any(Cursor::needs_test),
                Some("path") => found.files.extend(attribute.string(2)),
                Some("cfg_attr") => {
                    let arguments = attribute.arguments();
                    let paths = arguments.iter().filter(|each| each.ident(0).as_deref() == Some("path"));
                    found.files.extend(paths.filter_map(|path| path.string(2)));
                }
                _ => {}
            }
            self.at += 2 + is_inner;
        }
        found
    }

    /// Passes over `pub` and its scope; whether they stood here.
    fn visibility(&mut self) -> bool {
        let is_public = self.ident(0).as_deref() == Some("pub");
        if is_public {
            self.at += 1 + usize::from(self.group(1, Delimiter::Parenthesis).is_some());
        }
        is_public
    }

    /// What stands in the parentheses after the first word, by commas.
    fn arguments(&self) -> Vec<Self> {
        self.group(1, Delimiter::Parenthesis).map(split).unwrap_or_default()
    }

    /// The string literal so many places on.
    fn string(&self, ahead: usize) -> Option<String> {
        match self.peek(ahead) {
            Some(TokenTree::Literal(literal)) => Some(literal.to_string().trim_matches('"').to_owned()),
            _ => None,
        }
    }

    /// Whether this predicate of a `cfg` holds in tests alone.
    fn needs_test(&self) -> bool {
        match self.ident(0).as_deref() {
            Some("test") => true,
            Some("all") => self.arguments().iter().any(Self::needs_test),
            Some("any") => !self.arguments().is_empty() && self.arguments().iter().all(Self::needs_test),
            _ => false,
        }
    }

    /// Passes over an item, a statement, a field or an arm.
    fn skip_item(&mut self) {
        let (mut is_function, mut has_value) = (false, false);
        while let Some(tree) = self.peek(0) {
            let is_end = match tree {
                TokenTree::Punct(punct) => {
                    has_value |= punct.as_char() == '=';
                    punct.as_char() == ';' || (punct.as_char() == ',' && !is_function)
                }
                TokenTree::Group(group) => {
                    group.delimiter() == Delimiter::Brace && !has_value && !self.is_path_separator_before()
                }
                TokenTree::Ident(ident) => {
                    is_function |= *ident == "fn";
                    false
                }
                TokenTree::Literal(_) => false,
            };
            self.at += 1;
            if is_end {
                break;
            }
        }
    }

    /// Reads `mod name;` or `mod name { … }`.
    fn submodule(&mut self, attributes: Attributes, found: &mut Scanned) {
        let name = self.ident(1).unwrap_or_default();
        let body = self.group(2, Delimiter::Brace).map(|group| scan_body(group.stream()));
        let Attributes { for_tests, files } = attributes;
        found.modules.push(Submodule { name, for_tests, files, body });
        self.at += 3;
    }

    /// Reads a `use` to its semicolon.
    fn imports(&mut self, is_reexport: bool, found: &mut Scanned) {
        let start = self.at + 1;
        let end = (start..self.trees.len()).find(|&at| self.is_punct(at - self.at, ';'));
        let end = end.unwrap_or(self.trees.len());
        let tree = Self { trees: self.trees[start..end].to_vec(), at: 0 };
        tree.import(Vec::new(), is_reexport, found);
        self.at = end + 1;
    }

    /// Reads a tree of imports below `segments`.
    fn import(mut self, mut segments: Vec<String>, is_reexport: bool, found: &mut Scanned) {
        let line = self.line();
        while let Some(segment) = self.ident(0) {
            segments.push(segment);
            self.at += 1;
            if !self.is_path_separator(0) {
                break;
            }
            self.at += 2;
        }
        if let Some(group) = self.group(0, Delimiter::Brace) {
            for tree in split(group) {
                tree.import(segments.clone(), is_reexport, found);
            }
            return;
        }
        // A path that begins with `::` has no first segment here: it leads out of the crate.
        if segments.is_empty() {
            return;
        }
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let name = match self.ident(0).as_deref() {
            _ if self.is_punct(0, '*') => None,
            Some("as") => self.ident(1),
            _ => segments.last().cloned(),
        };
        found.imports.push(Import { name, path: Path { segments, line }, is_reexport });
    }

    /// Whether `::` stands before this token.
    fn is_path_separator_before(&self) -> bool {
        self.at >= 2
            && {
                let before = |back: usize| matches!(&self.trees[self.at - back], TokenTree::Punct(punct) if punct.as_char() == ':');
                before(1) && before(2)
            }
    }

    /// Whether what stands before this word makes it a field, a method, a lifetime, or the rest of another path.
    fn is_no_start(&self) -> bool {
        let before = |back: usize| match self.at.checked_sub(back).map(|at| &self.trees[at]) {
            Some(TokenTree::Punct(punct)) => punct.as_char(),
            _ => ' ',
        };
        match before(1) {
            '.' => before(2) != '.',
            ':' => before(2) == ':',
            '\'' => true,
            _ => false,
        }
    }

    /// Reads the path that begins here, if one does.
    fn mention(&mut self, found: &mut Scanned) {
        let (line, is_no_start) = (self.line(), self.is_no_start());
        let mut segments = Vec::new();
        while let Some(segment) = self.ident(0) {
            segments.push(segment);
            self.at += 1;
            if !(self.is_path_separator(0) && self.ident(2).is_some()) {
                break;
            }
            self.at += 2;
        }
        let first = segments.first().map_or("", String::as_str);
        // One small word by itself is a variable or a field, unless it is called.
        let is_called = self.group(0, Delimiter::Parenthesis).is_some() || self.is_punct(0, '!');
        let is_name = segments.len() > 1 || is_called || first.starts_with(char::is_uppercase);
        if is_name && !is_no_start && !WORDS.contains(&first) {
            found.mentions.push(Path { segments, line });
        }
    }
}

/// What stands in a group, by commas.
fn split(group: &Group) -> Vec<Cursor> {
    let trees: Vec<TokenTree> = group.stream().into_iter().collect();
    let is_comma = |tree: &TokenTree| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == ',');
    let parts = trees.split(is_comma).filter(|part| !part.is_empty());
    parts.map(|part| Cursor { trees: part.to_vec(), at: 0 }).collect()
}
