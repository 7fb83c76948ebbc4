//! A program that is stopped as a whole and continued: time in which a worker could not stop is not counted.

use std::{
    env,
    io::{BufRead, BufReader, Write, stdout},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::{runtime::Builder, time::sleep};
use workfleet_worker_lifecycle::{Worker, WorkerContext, WorkerError, WorkerState, Workers, start};

/// Says that this process is the program, and for how long its worker cleans up.
const CLEANS_UP_MS: &str = "WORKFLEET_TEST_CLEANS_UP_MS";
/// How long the workers of the program may take to stop.
const GRACE: Duration = Duration::from_secs(5);

/// A worker that says that it stops, and takes its time for that.
struct Tidy {
    cleans_up_ms: u64,
}

impl Worker for Tidy {
    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        cx.stopping().await;
        println!("stopping");
        stdout().flush()?;
        const BIT: Duration = Duration::from_millis(10);
        for _ in 0..self.cleans_up_ms / 10 {
            sleep(BIT).await;
        }
        Ok(())
    }

    fn grace(&self) -> Option<Duration> {
        Some(GRACE)
    }
}

/// Not a test by itself: the program that the tests below start.
#[test]
fn program() {
    let Ok(cleans_up_ms) = env::var(CLEANS_UP_MS) else { return };
    let cleans_up_ms = cleans_up_ms.parse().expect("a number");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let alone = start(Tidy { cleans_up_ms }).await.expect("it starts");
        let group = Workers::new("group").with_grace(GRACE).with_child(Tidy { cleans_up_ms });
        let group = start(group).await.expect("it starts");
        let (alone, group) = tokio::join!(alone.shutdown(), group.shutdown());
        for outcome in [alone.expect("it is not stuck"), group.expect("it is not stuck")] {
            assert_eq!(outcome.state(), WorkerState::Stopped, "{outcome}");
        }
    });
}

/// Runs the program, and stops it for this long while its workers stop.
fn freeze(cleans_up_ms: u64, frozen: Duration) {
    let mut program = Command::new(env::current_exe().expect("this program"))
        .args(["program", "--exact", "--nocapture"])
        .env(CLEANS_UP_MS, cleans_up_ms.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(program.stdout.take().expect("it is piped"));
    let mut said = output.lines().map_while(Result::ok).filter(|line| line.contains("stopping"));
    assert!(said.next().is_some() && said.next().is_some(), "both are told to stop");
    stop(&program, frozen);
    said.for_each(drop);
    assert!(program.wait().expect("it ends").success());
}

fn stop(program: &Child, time: Duration) {
    let pid = Pid::from_child(program);
    kill_process(pid, Signal::STOP).expect("it runs");
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).expect("it is stopped");
    #[expect(clippy::disallowed_methods, reason = "how long the program is stopped is what this is about")]
    thread::sleep(time);
    kill_process(pid, Signal::CONT).expect("it is stopped");
}

#[test]
fn a_deadline_that_passes_while_the_program_is_stopped_is_not_over_when_it_goes_on() {
    freeze(200, GRACE + Duration::from_secs(2));
}

#[test]
fn a_stop_of_the_program_that_is_over_before_the_deadline_takes_nothing_of_the_grace() {
    freeze(3_000, Duration::from_secs(3));
}
