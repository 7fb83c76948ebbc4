//! The modules of one crate, and the arrows between their files.
//!
//! A file points to another if it imports or mentions an item that is defined there. Re-exports are followed to the definition, and
//! are no arrows themselves; neither is `mod`, nor the name of a module on the way to an item. Not seen are an item's methods that
//! stand in another file than the item, and what a macro makes of its arguments.

use std::collections::{BTreeMap, BTreeSet};

use super::super::problem::Problem;
use super::scan::{self, Path, Scanned};

/// One module.
struct Module {
    file: usize,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    text: Scanned,
}

/// The modules of a crate.
#[derive(Default)]
pub(super) struct Tree {
    modules: Vec<Module>,
    files: Vec<String>,
    /// Modules for tests alone, by the start that their files' paths have.
    for_tests: Vec<String>,
}

/// Why one file points to another: the first place that does it.
#[derive(Debug, PartialEq)]
pub(super) struct Reason {
    pub(super) line: usize,
    pub(super) path: String,
}

/// Who points where, by the files' numbers.
pub(super) type Arrows = BTreeMap<(usize, usize), Reason>;

/// What a path leads to.
enum Target {
    Module(usize),
    /// An item that this module defines.
    Item(usize),
    /// Something of another crate.
    Elsewhere,
}

/// The names that are being looked for, so that imports that name one another come to an end.
type Open = BTreeSet<(usize, String)>;

impl Tree {
    /// Reads the crate whose root module is `root`, out of `texts`: contents by path.
    ///
    /// What cannot be read is a problem: an arrow that is not seen must not pass for one that is not there.
    pub(super) fn read(root: &str, texts: &BTreeMap<&str, &str>, problems: &mut Vec<Problem>) -> Self {
        let mut tree = Self::default();
        tree.add_file(root.to_owned(), None, None, texts, problems);
        let (directory, _) = root.rsplit_once('/').unwrap_or_default();
        let below = format!("{directory}/");
        for (path, _) in texts.range(below.as_str()..).take_while(|(path, _)| path.starts_with(&below)) {
            let is_known = tree.files.iter().any(|file| file == path)
                || tree.for_tests.iter().any(|start| path.starts_with(start.as_str()));
            if !is_known {
                problems
                    .push(Problem::new(*path, "no `mod` that the check of arrows sees leads to this file"));
            }
        }
        tree
    }

    /// The files, in the order of their numbers.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    fn add_file(
        &mut self,
        path: String,
        parent: Option<usize>,
        own_directory: Option<String>,
        texts: &BTreeMap<&str, &str>,
        problems: &mut Vec<Problem>,
    ) -> Option<usize> {
        let Some(source) = texts.get(path.as_str()) else {
            problems.push(Problem::new(path, "a `mod` leads to this file, and it is not there"));
            return None;
        };
        let text = match scan::scan(source) {
            Ok(text) => text,
            Err(error) => {
                problems.push(Problem::new(path, format!("cannot be read as Rust: {error}")));
                return None;
            }
        };
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let stem = name.strip_suffix(".rs").unwrap_or(name);
        let below = own_directory.unwrap_or_else(|| match stem {
            "lib" | "main" | "mod" => directory.to_owned(),
            _ => format!("{directory}/{stem}"),
        });
        self.files.push(path.clone());
        let file = self.files.len() - 1;
        Some(self.add(file, parent, text, &below, texts, problems))
    }

    /// Adds a module, and those below it, whose files stand in `directory`.
    fn add(
        &mut self,
        file: usize,
        parent: Option<usize>,
        mut text: Scanned,
        directory: &str,
        texts: &BTreeMap<&str, &str>,
        problems: &mut Vec<Problem>,
    ) -> usize {
        let submodules = std::mem::take(&mut text.modules);
        let module = self.modules.len();
        self.modules.push(Module { file, parent, children: BTreeMap::new(), text });
        for submodule in submodules {
            let below = format!("{directory}/{}", submodule.name);
            let (flat, nested) = (format!("{below}.rs"), format!("{below}/mod.rs"));
            if submodule.for_tests {
                self.for_tests.extend([flat, format!("{below}/")]);
                continue;
            }
            // What an attribute names stands beside this file, and may be the module's only file or another one for other targets.
            let beside = self.files[file].rsplit_once('/').unwrap_or_default().0.to_owned();
            for other in submodule.files {
                self.add_file(
                    format!("{beside}/{other}"),
                    Some(module),
                    Some(below.clone()),
                    texts,
                    problems,
                );
            }
            let child = match submodule.body {
                Some(body) => Some(self.add(file, Some(module), body, &below, texts, problems)),
                None if texts.contains_key(flat.as_str()) => {
                    self.add_file(flat, Some(module), None, texts, problems)
                }
                None => self.add_file(nested, Some(module), None, texts, problems),
            };
            self.modules[module].children.extend(child.map(|child| (submodule.name, child)));
        }
        module
    }

    /// All arrows between files.
    pub(super) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (from, module) in self.modules.iter().enumerate() {
            let imports = module.text.imports.iter().filter(|import| !import.is_reexport);
            let paths = imports.map(|import| &import.path).chain(&module.text.mentions);
            for path in paths {
                let Some(Target::Item(to)) = self.resolve(from, &path.segments, &mut Open::new()) else {
                    continue;
                };
                let (from, to) = (module.file, self.modules[to].file);
                if from != to {
                    let reason = || Reason { line: path.line, path: shown(path) };
                    arrows.entry((from, to)).or_insert_with(reason);
                }
            }
        }
        arrows
    }

    /// What a path means in a module; nothing, if it leads out of the crate.
    fn resolve(&self, from: usize, path: &[String], open: &mut Open) -> Option<Target> {
        let (first, mut rest) = path.split_first()?;
        let mut target = match first.as_str() {
            "crate" | "$crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.modules[from].parent?),
            name => self.find(from, name, !rest.is_empty(), open)?,
        };
        while let (Target::Module(module), Some((name, after))) = (&target, rest.split_first()) {
            target = match name.as_str() {
                "super" => Target::Module(self.modules[*module].parent?),
                // A name that is not found is made by a macro there.
                name => self.find(*module, name, !after.is_empty(), open).unwrap_or(Target::Item(*module)),
            };
            rest = after;
        }
        Some(target)
    }

    /// What a name means in a module; nothing, if it is unknown there.
    fn find(&self, module: usize, name: &str, goes_on: bool, open: &mut Open) -> Option<Target> {
        if !open.insert((module, name.to_owned())) {
            return None;
        }
        let found = self.look_up(module, name, goes_on, open);
        open.remove(&(module, name.to_owned()));
        found
    }

    /// Looks a name up. A module and an item may share one: the module is meant where the path goes on.
    fn look_up(&self, module: usize, name: &str, goes_on: bool, open: &mut Open) -> Option<Target> {
        let Module { children, text, .. } = &self.modules[module];
        let child = children.get(name).map(|&child| Target::Module(child));
        if goes_on && child.is_some() {
            return child;
        }
        if text.defined.contains(name) {
            return Some(Target::Item(module));
        }
        let named = text.imports.iter().filter(|import| import.name.as_deref() == Some(name));
        let (mut named, is_imported) = (named.clone(), named.count() > 0);
        let imported = named.find_map(|import| self.resolve(module, &import.path.segments, open));
        let imported = imported.or(is_imported.then_some(Target::Elsewhere));
        imported.or(child).or_else(|| {
            let mut globs = text.imports.iter().filter(|import| import.name.is_none());
            globs.find_map(|glob| match self.resolve(module, &glob.path.segments, open)? {
                Target::Module(other) => self.find(other, name, goes_on, open),
                Target::Item(_) | Target::Elsewhere => None,
            })
        })
    }
}

fn shown(path: &Path) -> String {
    path.segments.join("::")
}
