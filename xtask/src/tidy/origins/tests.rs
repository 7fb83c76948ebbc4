//! The check of the origins, on small tables beside a small library.

use std::collections::BTreeMap;

use super::super::problem::{Text, shown, text};
use super::*;

const LIBRARY: &str = "
    //! A library.
    mod inner;
    pub mod cores { pub const LIMIT: usize = 1; }
    mod hidden { pub(crate) fn secret() {} fn private() {} }
    macro_rules! settings { () => { /// Sets it.
        pub fn workers(mut self) -> Self { self } fn own(&self) {} }; }
    #[macro_export]
    macro_rules! test_worker { () => {}; }
    pub static TABLE: [u8; 1] = [0];
    pub use inner::{State, Status};
    pub const fn schedule(priority: u8) -> u8 { fn nested() {} priority }
    pub async fn start() {}
";

const INNER: &str = "
    //! Types.
    /// A state.
    pub enum State { #[default] Init, Running(u8), Ended { at: u8 }, }
    pub struct Status { pub name: String, size: usize }
    pub struct Id(pub u8);
    pub trait Worker: Send + 'static { const NAME: &'static str; type Output; fn name(&self) -> &'static str; fn run(&mut self); }
    pub struct Builder<F: Fn() -> u8>(F);
    impl<F: Fn() -> u8> Builder<F> where F: Send { settings!(); pub fn start(self) {} fn find(&self) {} pub(crate) fn made() {} }
    impl<T> std::fmt::Display for Handle<T> { fn fmt(&self) {} }
    impl Handle<u8> { pub async fn wait(self) {} pub const fn id(&self) -> u8 { 1 } }
    pub struct Handle<T>(T);
    pub(super) struct Mark;
";

/// What is wrong with a file of origins, beside a library that the facade has as `lib`.
fn problems(content: &str) -> Vec<String> {
    let texts = [
        text(FILE, content),
        text(
            FACADE,
            "//! The facade.\n#[doc(inline)]\npub use workfleet_lib as lib;\npub use elsewhere as other;\n",
        ),
        text("crates/library/src/lib.rs", LIBRARY),
        text("crates/library/src/inner.rs", INNER),
        text(
            "crates/library/tests/life.rs",
            "//! Tests.\n#[test]\nfn it_lives() {}\n// fn it_dies() {}\nasync fn it_waits<T>() {}",
        ),
    ];
    shown(&check(&texts, &BTreeMap::from([("workfleet-lib", "library")])))
}

fn table(rows: &[&str]) -> Vec<String> {
    problems(&format!("# Origins\n\n| item | here | test | note |\n|---|:-:|---|---|\n{}\n", rows.join("\n")))
}

const TEST: &str = "`crates/library/tests/life.rs::it_lives`";

fn names(here: &str) -> Vec<String> {
    table(&[&format!("| `x` | {here} | {TEST} | |")])
}

#[test]
fn names_that_are_there_pass() {
    for name in [
        "`lib::start`",
        "`lib::schedule`",
        "`lib::TABLE`",
        "`lib::cores::LIMIT`",
        "`lib::test_worker`",
        "`lib::State`, `lib::State::Init`, `lib::State::Running`, `lib::State::Ended`",
        "`lib::Status::name`",
        "`lib::Worker::run`, `lib::Worker::name`, `lib::Worker::NAME`, `lib::Worker::Output`",
        "`lib::Builder::start`, `lib::Builder::workers`",
        "`lib::Handle::fmt`, `lib::Handle::wait`, `lib::Handle::id`",
        "`lib`",
    ] {
        assert_eq!(names(name), [""; 0], "{name}");
    }
}

#[test]
fn a_missing_name_is_an_error() {
    for (name, missing) in [
        ("lib::stop", "`stop`"),
        ("lib::nested", "`nested`"),
        ("lib::hidden::secret", "`hidden`"),
        ("lib::secret", "`secret`"),
        ("lib::private", "`private`"),
        ("lib::Mark", "`Mark`"),
        ("lib::State::Failed", "`Failed` of `State`"),
        ("lib::State::at", "`at` of `State`"),
        ("lib::Status::size", "`size` of `Status`"),
        ("lib::Worker::stop", "`stop` of `Worker`"),
        ("lib::Worker::str", "`str` of `Worker`"),
        ("lib::Builder::find", "`find` of `Builder`"),
        ("lib::Builder::made", "`made` of `Builder`"),
        ("lib::Builder::own", "`own` of `Builder`"),
        ("lib::Builder::wait", "`wait` of `Builder`"),
    ] {
        let expected = format!("docs/origins.md:5: `{name}`: there is no public {missing}");
        assert_eq!(names(&format!("`{name}`")), [expected]);
    }
    for (name, module) in [("other::start", "other"), ("start", "start")] {
        let expected = format!("docs/origins.md:5: `{name}`: the facade has no module `{module}`");
        assert_eq!(names(&format!("`{name}`")), [expected]);
    }
}

#[test]
fn a_missing_test_is_an_error() {
    let row = |test: &str| table(&[&format!("| `x` | `lib::start` | {test} | |")]);
    assert_eq!(row("`crates/library/tests/life.rs::it_waits`"), [""; 0]);
    for (test, message) in [
        ("crates/library/tests/life.rs::it_dies", "crates/library/tests/life.rs has no function it_dies"),
        ("crates/library/tests/life.rs::it", "crates/library/tests/life.rs has no function it"),
        ("crates/library/tests/death.rs::it_lives", "there is no file crates/library/tests/death.rs"),
    ] {
        assert_eq!(row(&format!("`{test}`")), [format!("docs/origins.md:5: `{test}`: {message}")]);
    }
    assert_eq!(
        row("`it_lives`"),
        ["docs/origins.md:5: `it_lives` is no test: write `path/of/the/file.rs::name`"]
    );
}

#[test]
fn a_row_has_a_name_and_a_test_or_a_reason() {
    assert_eq!(table(&["| `x` | | | nobody needs it |"]), [""; 0]);
    assert_eq!(table(&[&format!("| `x` | | {TEST} | nobody needs it, as the test shows |")]), [""; 0]);
    for (row, message) in [
        ("| `x` | | | |".to_owned(), "a row without name has no note that says why"),
        (
            "| `x` | `lib::start` | | it is not tested |".to_owned(),
            "a row has a name and no test that fails without it",
        ),
        (format!("| `x` | | {TEST} | |"), "a row without name has no note that says why"),
        (format!("| | `lib::start` | {TEST} | |"), "a row has no item"),
        ("| `x` | `lib::start` | |".to_owned(), "a row has the columns item, here, test, note, each once"),
        (
            format!("| `x` | see `lib::start` | {TEST} | |"),
            "the columns `here` and `test` hold names in backticks, parted by commas",
        ),
        (
            format!("| `x` | `lib::start` | {TEST}, and others | |"),
            "the columns `here` and `test` hold names in backticks, parted by commas",
        ),
    ] {
        assert_eq!(table(&[&row]), [format!("docs/origins.md:5: {message}")], "{row}");
    }
}

#[test]
fn only_known_plans_are_plans() {
    for plan in PLANS {
        assert_eq!(table(&[&format!("| `x` | | | planned: {plan} |")]), [""; 0]);
    }
    let rows = ["| `x` | | | planned: streams |", "| `y` | | | for now; planned: soon |"];
    assert_eq!(
        table(&rows),
        ["docs/origins.md:6: `soon` is no plan: there are mixed pools, streams, the broker"]
    );
}

#[test]
fn a_bar_may_stand_in_a_cell() {
    assert_eq!(table(&[&format!(r"| `x() -> A \| B` | `lib::start` | {TEST} | |")]), [""; 0]);
}

#[test]
fn a_missing_or_empty_file_is_an_error() {
    assert_eq!(shown(&check(&[] as &[Text], &BTreeMap::new())), ["docs/origins.md: is missing"]);
    assert_eq!(problems("# Origins\n"), ["docs/origins.md: has no rows"]);
}
