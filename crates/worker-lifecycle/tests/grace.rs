//! The grace period from the environment, in processes of their own: it is read once in each.

use std::process::Command;

use workfleet_worker_lifecycle::{GRACE_PERIOD_VARIABLE, StartError, WorkerContext, WorkerHandle, worker_fn};

/// Runs the ignored test `role` of this program with the variable set, and returns whether it passed.
fn run_with(role: &str, value: &str) -> bool {
    run(role, Some(value))
}

fn run(role: &str, value: Option<&str>) -> bool {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args([role, "--exact", "--ignored"]).env_remove(GRACE_PERIOD_VARIABLE);
    command.envs(value.map(|value| (GRACE_PERIOD_VARIABLE, value)));
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "{said}");
    output.status.success()
}

#[test]
fn a_bad_grace_period_is_an_error_that_names_it() {
    assert!(run_with("refuses_soon", "soon"));
    assert!(!run_with("refuses_soon", "30"), "the role must be able to fail");
}

#[test]
fn the_grace_period_is_the_one_in_the_environment() {
    assert!(run_with("has_ninety_seconds", "90"));
    assert!(!run_with("has_ninety_seconds", "30"), "the role must be able to fail");
}

#[test]
fn without_any_word_the_grace_period_is_ten_seconds() {
    assert!(run("has_ten_seconds", None));
    assert!(!run("has_ten_seconds", Some("30")), "the role must be able to fail");
}

#[tokio::test(start_paused = true)]
#[ignore = "a role of the tests above"]
async fn refuses_soon() {
    let handle = WorkerHandle::new(|cx: WorkerContext| async move { cx.stopping().await });
    let error = handle.startup().await.expect_err("there is no grace period");
    let StartError::GracePeriod(cause) = &error else { panic!("{error}") };
    assert_eq!(cause.value(), "soon");
    assert!(error.to_string().starts_with("WORKFLEET_STOPPING_GRACE_PERIOD is \"soon\""), "{error}");
    assert!(!handle.state().has_started());
    // Who sets one of its own does not ask.
    let own = worker_fn(|cx: WorkerContext| async move { cx.stopping().await });
    let own = WorkerHandle::new(own.with_grace(std::time::Duration::from_secs(1)));
    own.startup().await.expect("it starts");
}

#[tokio::test(start_paused = true)]
#[ignore = "a role of the tests above"]
async fn has_ninety_seconds() {
    has(90).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "a role of the tests above"]
async fn has_ten_seconds() {
    has(10).await;
}

async fn has(seconds: u64) {
    let handle = WorkerHandle::new(|_cx: WorkerContext| std::future::pending::<()>());
    handle.startup().await.expect("it starts");
    let begun = tokio::time::Instant::now();
    handle.shutdown().await.expect("it is aborted");
    assert_eq!(begun.elapsed().as_secs(), seconds);
}
