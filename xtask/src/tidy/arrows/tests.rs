//! The check on small crates that are made up.

use super::super::problem::{shown, text};
use super::*;

/// Checks a crate that has these files in `crates/a/src`.
fn checked(files: &[(&str, &str)], reviewed: &[Knot]) -> Vec<String> {
    let texts: Vec<Text> =
        files.iter().map(|(path, content)| text(&format!("crates/a/src/{path}"), content)).collect();
    shown(&check_against(&texts, reviewed))
}

/// The arrows of a crate that has these files, as `from:line to`.
fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let texts: BTreeMap<String, &str> =
        files.iter().map(|(path, content)| (format!("crates/a/src/{path}"), *content)).collect();
    let texts = texts.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    let mut problems = Vec::new();
    let tree = Tree::read("crates/a/src/lib.rs", &texts, &mut problems);
    assert_eq!(problems, []);
    let name = |file: usize| tree.files()[file].strip_prefix("crates/a/src/").unwrap();
    let arrows = tree.arrows();
    arrows.iter().map(|(&(from, to), why)| format!("{}:{} {}", name(from), why.line, name(to))).collect()
}

/// A crate in which `x.rs` has this text, beside a `pool` whose parts are re-exported.
fn from_x(x: &str) -> Vec<String> {
    arrows(&[
        ("lib.rs", "mod pool; mod x; pub use pool::Pool; pub use std::io;"),
        ("pool/mod.rs", "mod part; pub use part::{Pool, State, open}; pub(crate) struct Settings;"),
        (
            "pool/part.rs",
            "pub struct Pool; pub enum State { Up } pub fn open() {} pub trait Closes {} pub mod inner { pub struct Deep; }",
        ),
        ("x.rs", x),
    ])
}

#[test]
fn every_way_to_use_an_item_is_an_arrow_to_the_file_that_defines_it() {
    for x in [
        "use crate::Pool;",
        "use crate::pool::Pool;",
        "use crate::pool::part::{self, Pool as Renamed};",
        "use super::pool::{State, part::inner::Deep};",
        "use crate::pool::part::Closes as _;",
        "fn f() { use crate::pool::open; }",
        "fn f() -> Option<crate::Pool> { None }",
        "struct S { pool: Vec<super::Pool> }",
        "fn f() { match s { crate::pool::State::Up => {} } }",
        "use crate::pool; fn f() { pool::open() }",
        "use crate::pool::part as renamed; fn f() { renamed::open() }",
        "use crate::pool::*; fn f() { open() }",
        "use crate::pool::*; fn f(pool: &Pool) {}",
        "pub use crate::Pool; fn f(pool: &Pool) {}",
        "fn f() { assert_eq!(0, crate::pool::open()); }",
        "fn f() { g(..crate::pool::open()) }",
        "fn f<T: crate::pool::part::Closes>() { <T as crate::pool::part::Closes>::g() }",
        "macro_rules! m { () => { $crate::pool::open() } }",
        "mod inner { use super::super::Pool; }",
        "mod inner { fn f() { crate::pool::part::inner::Deep::new() } }",
        "#[cfg(not(test))] use crate::Pool;",
        "#[cfg(any(test, unix))] use crate::Pool;",
    ] {
        assert_eq!(from_x(x), ["x.rs:1 pool/part.rs"], "{x}");
    }
    assert_eq!(from_x("//! Text.\n\nuse crate::pool::Settings;"), ["x.rs:3 pool/mod.rs"]);
    assert_eq!(from_x("use crate::pool::made_by_a_macro;"), ["x.rs:1 pool/mod.rs"]);
}

#[test]
fn what_uses_no_item_is_no_arrow() {
    for x in [
        "pub use crate::Pool;",
        "pub(crate) use crate::pool::part;",
        "use crate::pool;",
        "use std::pool::Pool; fn f(pool: Pool) { pool.open(); pool.part.x; Pool::new() }",
        "use ::pool::Pool;",
        "use crate::io; fn f() { io::copy() }",
        "// crate::pool::open()\n/// [`crate::Pool`]\nfn f() { \"crate::pool::open()\"; }",
        "pub use crate::pool::open; struct S { open: bool } fn f(open: bool) { s.open(); S { open } }",
        "fn f() -> impl Fn() + use<'static> {}",
        "#[cfg(test)] mod tests { use crate::Pool; }",
        "#[cfg(all(test, not(loom)))] mod tests { use crate::Pool; }",
        "#[cfg(test)] use crate::{Pool, pool::open}; #[cfg(test)] pub(crate) use crate::Pool;",
        "#[cfg(any(test, all(test, unix)))] fn f(a: u8, b: u8) -> crate::Pool { crate::pool::open() }",
        "struct S { #[cfg(test)] pool: crate::Pool, other: u8 }",
        "impl S { #[cfg(test)] const N: T = T { n: crate::pool::open() }; }",
        "fn f() { #[cfg(test)] crate::pool::open(); }",
    ] {
        assert_eq!(from_x(x), [""; 0], "{x}");
    }
}

#[test]
fn what_is_not_for_tests_is_seen_behind_what_is() {
    for x in [
        "#[cfg(test)] use crate::x; use crate::Pool;",
        "#[cfg(test)] mod tests {} use crate::Pool;",
        "#[cfg(test)] fn f<A, B>() {} use crate::Pool;",
        "struct S { #[cfg(test)] a: u8, pool: crate::Pool }",
        "fn f() { #[cfg(test)] let a = S { b: 1 }; crate::pool::open() }",
    ] {
        assert_eq!(from_x(x), ["x.rs:1 pool/part.rs"], "{x}");
    }
}

#[test]
fn two_files_that_use_each_other_are_found_and_the_places_are_named() {
    let files = [
        ("lib.rs", "mod x; mod y; mod z;"),
        ("x.rs", "use crate::y::Y;\npub struct X;"),
        ("y.rs", "pub struct Y;\n\nfn f() { crate::x::X; }"),
        ("z.rs", "use crate::{x::X, y::Y};"),
    ];
    assert_eq!(
        checked(&files, &[]),
        ["crates/a/src/x.rs: 2 files lead to one another: crates/a/src/x.rs, crates/a/src/y.rs\
          \n    crates/a/src/x.rs:1 uses crate::y::Y of crates/a/src/y.rs\
          \n    crates/a/src/y.rs:3 uses crate::x::X of crates/a/src/x.rs"]
    );
}

#[test]
fn a_way_back_over_other_files_is_found_once() {
    let files = [
        ("lib.rs", "mod x; mod y; mod z;"),
        ("x.rs", "use crate::y::Y; pub struct X;"),
        ("y.rs", "use crate::z::Z; pub struct Y;"),
        ("z.rs", "use crate::x::X; pub struct Z;"),
    ];
    let problems = checked(&files, &[]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("3 files lead to one another"), "{problems:?}");
}

#[test]
fn a_child_that_uses_its_parents_item_is_a_cycle_only_if_the_parent_uses_the_child() {
    let child = "use super::Parent; pub struct Child; pub fn f() {}";
    for (parent, cycles) in [
        ("mod child; pub use child::Child; pub struct Parent;", 0),
        ("mod child; pub struct Parent { child: child::Child }", 1),
        ("mod child; pub use child::Child; pub struct Parent { child: Child }", 1),
        ("mod child; use child::f; pub struct Parent;", 1),
        ("mod child; pub use child::f; pub struct Parent; impl Parent { fn g() { f() } }", 1),
    ] {
        for (path, child_path) in [("p/mod.rs", "p/child.rs"), ("p.rs", "p/child/mod.rs")] {
            let problems = checked(&[("lib.rs", "mod p;"), (path, parent), (child_path, child)], &[]);
            assert_eq!(problems.len(), cycles, "{parent}: {problems:?}");
        }
    }
}

#[test]
fn imports_that_name_one_another_come_to_an_end() {
    let files = [
        ("lib.rs", "mod x; mod y; use crate::x::A; use tokio; use tokio::B;"),
        ("x.rs", "pub use crate::y::*;"),
    ];
    assert_eq!(arrows(&[files[0], files[1], ("y.rs", "pub use crate::x::*;")]), ["lib.rs:1 x.rs"]);
}

#[test]
fn a_definition_is_found_behind_re_exports_that_pass_a_module_twice() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; use a::B;"),
        ("a/mod.rs", "pub mod inner; pub use crate::b::B;"),
        ("a/inner.rs", "pub struct B;"),
        ("b.rs", "pub use crate::a::inner::B;"),
        ("c.rs", "pub use crate::a::B;"),
    ];
    assert_eq!(arrows(&files), ["lib.rs:1 a/inner.rs"]);
}

#[test]
fn a_file_beside_the_usual_one_is_read_as_well() {
    let lib = "#[cfg_attr(not(unix), path = \"os/none.rs\")] mod os; pub struct Root;";
    let files = [
        ("lib.rs", lib),
        ("os/mod.rs", "mod unix;"),
        ("os/unix.rs", "use crate::Root;"),
        ("os/none.rs", "use crate::Root;"),
    ];
    assert_eq!(arrows(&files), ["os/none.rs:1 lib.rs", "os/unix.rs:1 lib.rs"]);
}

#[test]
fn what_cannot_be_read_is_a_problem() {
    assert_eq!(
        checked(&[("lib.rs", "mod x; mod y;"), ("x.rs", "fn {"), ("z.rs", "")], &[]),
        [
            "crates/a/src/x.rs: cannot be read as Rust: cannot parse string into token stream",
            "crates/a/src/y/mod.rs: a `mod` leads to this file, and it is not there",
            "crates/a/src/x.rs: no `mod` that the check of arrows sees leads to this file",
            "crates/a/src/z.rs: no `mod` that the check of arrows sees leads to this file",
        ]
    );
    let for_tests = [("lib.rs", "#[cfg(test)] mod tests;"), ("tests.rs", "mod a;"), ("tests/a.rs", "")];
    assert_eq!(checked(&for_tests, &[]), [""; 0]);
}

const X_AND_Y: Knot =
    Knot { files: &["crates/a/src/x.rs", "crates/a/src/y.rs"], reason: "each makes the other" };
const TWO: [(&str, &str); 3] = [
    ("lib.rs", "mod x; mod y; mod z;"),
    ("x.rs", "use crate::y::Y; pub struct X;"),
    ("y.rs", "use crate::x::X; pub struct Y;"),
];

#[test]
fn a_reviewed_knot_passes_while_it_is_what_was_reviewed() {
    let [lib, x, y] = TWO;
    let z = ("z.rs", "use crate::y::Y; pub struct Z;");
    assert_eq!(checked(&[lib, x, y, z], &[X_AND_Y]), [""; 0]);

    let gone = "crates/a/src/x.rs, crates/a/src/y.rs: these files no longer lead to one another as was reviewed; \
                mend the list in xtask";
    assert_eq!(checked(&[lib, x, ("y.rs", "pub struct Y;"), z], &[X_AND_Y]), [gone]);

    let larger = checked(&[lib, x, ("y.rs", "use crate::{x::X, z::Z}; pub struct Y;"), z], &[X_AND_Y]);
    assert_eq!(larger.len(), 2, "{larger:?}");
    assert!(larger[0].contains("3 files lead to one another"), "{larger:?}");
    assert_eq!(larger[1], gone);
}

#[test]
fn reviewed_knots_are_few_and_have_reasons() {
    let [lib, x, y] = TWO;
    let files = [lib, x, y, ("z.rs", "")];
    let unexplained = Knot { reason: "", ..X_AND_Y };
    assert_eq!(
        checked(&files, &[unexplained]),
        ["crates/a/src/x.rs, crates/a/src/y.rs: the list in xtask gives no reason"]
    );
    let many = checked(&files, &[X_AND_Y; KNOTS_LIMIT + 1]);
    assert!(many.contains(&"xtask: 7 knots were reviewed, and only 6 may be".to_owned()), "{many:?}");
}

#[test]
fn each_crate_is_read_from_its_root() {
    let [_, x, y] = TWO;
    for (root, found) in [
        ("crates/a/src/lib.rs", 1),
        ("xtask/src/main.rs", 1),
        ("crates/a/tests/b/main.rs", 0),
        ("crates/a/src/b/lib.rs", 0),
    ] {
        let (directory, _) = root.rsplit_once('/').unwrap();
        let texts = [
            text(root, "mod x; mod y;"),
            text(&format!("{directory}/x.rs"), x.1),
            text(&format!("{directory}/y.rs"), y.1),
        ];
        assert_eq!(check_against(&texts, &[]).len(), found, "{root}");
    }
}
