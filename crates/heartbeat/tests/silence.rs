//! What is lost or broken stands on the standard error of a program that has no subscriber of `tracing`: this test binary runs
//! parts of itself as programs.

use std::{
    env,
    io::{self, BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use workfleet_heartbeat::{Executor, Heartbeaters, Report, UnregisterError};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Long enough for every machine: only a test that fails waits for it.
const AGES: Duration = Duration::from_secs(60);

/// Names the part that this test binary plays as a program.
const PART: &str = "WORKFLEET_TEST_PART";

/// The part, where this is such a program.
#[test]
fn program() -> Result {
    let Ok(part) = env::var(PART) else { return Ok(()) };
    match part.as_str() {
        "callback" => beat(&Heartbeaters::new()?, |_| panic!("on purpose"))?,
        "destructor" => {
            let bomb = Bomb;
            beat(&Heartbeaters::new()?, move |_| {
                let _ = &bomb;
            })?;
        }
        "executor" => beat(&Heartbeaters::builder().executor(Panicking).build()?, |_| {})?,
        "nothing" => beat(&Heartbeaters::new()?, |_| {})?,
        other => panic!("no part {other}"),
    }
    // What is said on other threads has been read when this ends.
    let (tell, let_go) = mpsc::channel();
    thread::spawn(move || tell.send(io::copy(&mut io::stdin(), &mut io::sink())));
    let_go.recv_timeout(AGES).expect("what is expected is said")?;
    println!("\ndone");
    Ok(())
}

/// Sends a beat to a callback, and waits until that was called.
fn beat(heartbeaters: &Heartbeaters, callback: impl FnMut(Report) + Send + 'static) -> Result {
    let sender = heartbeaters.register("a", callback)?;
    sender.send(&1)?;
    match heartbeaters.blocking_unregister("a") {
        Ok(()) | Err(UnregisterError::CallbackPanicked { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

struct Panicking;

impl Executor for Panicking {
    fn execute(&self, _: Box<dyn FnOnce() + Send>) {
        panic!("on purpose");
    }
}

/// What stands on the standard error of the program, which is let go when `lines` of it were read.
fn said(part: &str, warnings: &str, lines: usize) -> Vec<String> {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["program", "--exact", "--nocapture"]).env(PART, part).env("WORKFLEET_WARNINGS", warnings);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let stderr = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut lines_of_ours = stderr
        .map(|line| line.expect("it is text"))
        .filter_map(|line| line.strip_prefix("workfleet: ").map(str::to_owned));
    let mut said: Vec<_> = lines_of_ours.by_ref().take(lines).collect();
    drop(child.stdin.take());
    said.extend(lines_of_ours);
    let output = child.wait_with_output().expect("it ends");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("\ndone\n"), "{}\n{stdout}", output.status);
    said
}

#[test]
fn what_nobody_else_is_told_is_said() {
    for (part, expected) in [
        ("callback", "the callback of a heartbeater panicked (panic=on purpose)"),
        ("destructor", "the destructor of a heartbeater's callback panicked (panic=on purpose)"),
        ("executor", "the executor of callbacks panicked (panic=on purpose)"),
    ] {
        let said = said(part, "on", 1);
        // An executor may be asked more than once.
        assert!(!said.is_empty() && said.iter().all(|line| line == expected), "{part}: {said:?}");
        assert_eq!(self::said(part, "off", 0), [""; 0], "{part}");
    }
}

#[test]
fn where_nothing_is_lost_nothing_is_said() {
    assert_eq!(said("nothing", "on", 0), [""; 0]);
}
