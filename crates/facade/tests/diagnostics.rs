//! What the compiler says of a program that takes one thing for another: it names what was meant.
//!
//! `rustc` checks small programs against the libraries that this test was built with. Only the texts that our own attributes
//! give it are looked for: the rest of what it prints differs from version to version.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The library of this name that was built last, and the directory where its dependencies are.
fn library(name: &str) -> (PathBuf, PathBuf) {
    let this = env::current_exe().expect("this program");
    let directory = this.parent().expect("it stands in a directory").to_owned();
    let is_library = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.strip_prefix("lib")
            .and_then(|file| file.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".rlib"))
    };
    let libraries = fs::read_dir(&directory).expect("it can be read");
    let libraries = libraries.map(|entry| entry.expect("it can be read").path()).filter(is_library);
    let built = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).expect("it is a file");
    (libraries.max_by_key(built).expect("this test uses it"), directory)
}

/// What `rustc` prints of a program that it refuses.
fn refused(program: &str) -> String {
    let (library, dependencies) = library("workfleet");
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("program.rs");
    fs::write(&source, program).expect("it is written");
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--color", "never"]);
    rustc.arg("--out-dir").arg(directory.path());
    rustc.arg("-L").arg(format!("dependency={}", dependencies.display()));
    rustc.arg("--extern").arg(format!("workfleet={}", library.display())).arg(&source);
    let output = rustc.stdin(Stdio::null()).output().expect("rustc runs");
    let text = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

/// Asserts that each of these texts is in what `rustc` prints of the program.
#[track_caller]
fn assert_says(program: &str, texts: &[&str]) {
    let said = refused(&format!("use workfleet::{{prelude::*, task, worker}};\n{program}"));
    for text in texts {
        assert!(said.contains(text), "no {text:?} in\n{said}");
    }
}

#[test]
fn a_program_that_is_right_is_not_refused() {
    // Or every other test here could pass for a reason of its own.
    assert_says("fn wrong() -> u8 { \"not a number\" }", &["mismatched types"]);
    let said = refused(
        "use workfleet::prelude::*; fn right<T: Task>() { let _ = Registry::new().task::<T>(); } fn wrong() -> u8 { \"\" }",
    );
    assert_eq!(said.matches("error[").count(), 1, "{said}");
}

#[test]
fn an_asynchronous_task_given_as_one_that_blocks_names_the_other_method() {
    assert_says(
        "pub fn f<T: AsyncTask>() { let _ = Registry::new().task::<T>(); }",
        &[
            "`T` is not a task that runs on its worker's thread",
            "if `T` implements `AsyncTask`, register it by `async_task::<T>()`",
        ],
    );
}

#[test]
fn a_task_that_blocks_given_as_an_asynchronous_one_names_the_other_method() {
    assert_says(
        "pub fn f<T: Task>() { let _ = Registry::new().async_task::<T>(); }",
        &["`T` is not an asynchronous task", "if `T` implements `Task`, register it by `task::<T>()`"],
    );
}

#[test]
fn what_is_no_task_or_message_is_told_what_one_is() {
    assert_says(
        "pub fn f(pool: &task::Pool) { let _ = pool.submit(|| 3); }",
        &["is not a task", "give the task itself: neither a reference to it, nor a closure"],
    );
    assert_says(
        "pub fn f<T: TaskSpec>(pool: &task::Pool, task: &T) { let _ = pool.schedule(&task); }",
        &["`&&T` is not a task"],
    );
    assert_says(
        "pub fn f(cx: &TaskContext) { let _ = cx.send_message(&3_u32); }",
        &["`u32` is not a type of message", "put a plain value into such a type"],
    );
}

#[test]
fn an_output_that_does_not_travel_names_what_to_derive() {
    // serde's own text, which needs none of ours.
    let program = "pub struct T; pub struct Output;
        impl TaskSpec for T { const NAME: &'static str = \"t\"; type Output = Output; }";
    assert_says(
        program,
        &["`Output: serde::Serialize` is not satisfied", "#[derive(serde::Serialize)]` to your `Output`"],
    );
}

#[test]
fn a_worker_function_without_its_context_is_told_of_it() {
    let takes_its_context =
        "a function that is a worker takes its context and says so: `|cx: WorkerContext| async move { … }`";
    assert_says(
        "pub async fn f() { let _ = worker::start(|| async {}).await; }",
        &["is not a worker", takes_its_context, "use `WorkerFunction::new`"],
    );
    assert_says(
        "pub fn f() { let _ = Workers::new(\"group\").with_child(|| async {}); }",
        &["is not a child of a group", takes_its_context],
    );
    assert_says(
        "pub async fn f() { let _ = worker::start(|_cx: WorkerContext| async move { 3 }).await; }",
        &["its output is `()` or a `Result<(), E>`"],
    );
}
