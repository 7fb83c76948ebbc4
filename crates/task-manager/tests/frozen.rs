//! Programs that are stopped as a whole and continued: time in which the program did not run is not counted.
//!
//! How long a program is stopped is what these tests are about. What happens before and after is told by messages.

mod support;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, builder, close,
    gate::{Gate, wait_at},
    let_pass, only_worker,
    process::{Program, part, say, signal, wait_for_the_test},
    until,
};
use workfleet_heartbeat::{HeartbeaterOptions, Heartbeaters, Report};
use workfleet_task_manager::{Registry, Task, TaskContext, TaskError, TaskSpec, init};

/// How long a token of these programs may be silent; and what its thread does between two beats takes so long.
const TIMEOUT: Duration = Duration::from_secs(1);
const WORK: Duration = Duration::from_millis(100);

/// How long a worker may be silent. Half of it is the time to answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(4);

/// Waits at a gate, once.
#[derive(Debug, Serialize, Deserialize)]
struct WaitAt(PathBuf);

impl TaskSpec for WaitAt {
    const NAME: &'static str = "wait-at";
    type Output = u32;
}

impl Task for WaitAt {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        wait_at(&self.0)?;
        Ok(cx.attempt())
    }
}

fn registry() -> Registry {
    Registry::new().task::<WaitAt>()
}

#[test]
fn workfleet_worker() {
    init(&registry());
}

/// So much work of a thread, which stands still while its program is stopped.
fn work(time: Duration) {
    const BIT: Duration = Duration::from_millis(5);
    for _ in 0..time.as_millis() / BIT.as_millis() {
        let_pass(BIT);
    }
}

/// Not a test by itself: the programs that the tests below start.
#[test]
fn program() {
    match part().as_deref() {
        None => {}
        Some("beats") => beat_all_along(),
        Some("flushes") => flush_in_time(),
        Some(gate) => wait_for_a_worker(gate.into()),
    }
}

fn beat_all_along() {
    let heartbeaters = Heartbeaters::new().expect("a thread");
    let is_over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0_u32..4)
        .map(|token| {
            let options = HeartbeaterOptions::new().timeout(TIMEOUT);
            let sender = heartbeaters.register_with(token.to_string(), options, drop).expect("a new token");
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    sender.send(&()).expect("they are here");
                    work(WORK);
                }
            })
        })
        .collect();
    say("ready");
    wait_for_the_test();
    is_over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("it beats"));
    assert_eq!(heartbeaters.stats().missed, 0);
}

fn flush_in_time() {
    let heartbeaters = Heartbeaters::new().expect("a thread");
    let (tell, told) = mpsc::channel();
    let report = move |report: Report| {
        // The token's end drops this callback, and with it the channel.
        tell.send(report).expect("the program listens");
        work(2 * WORK);
    };
    let sender = heartbeaters.register("slow", report).expect("a new token");
    sender.send(&1).expect("they are here");
    told.recv().expect("it beats");
    sender.send(&2).expect("they are here");
    say("ready");
    // It takes a tenth of this, but that the program is stopped.
    heartbeaters.blocking_unregister_timeout("slow", 20 * WORK).expect("everything was reported in time");
    assert_eq!(told.iter().count(), 1);
}

fn wait_for_a_worker(gate: PathBuf) {
    let manager = builder(registry(), 1).silence_limit(SILENCE_LIMIT).start().expect("it starts");
    all_ready(&manager, 1);
    let handle = manager.submit(WaitAt(gate)).expect("it is taken");
    until(|| manager.stats().workers[0].in_flight == 1);
    say(&only_worker(&manager).expect("it is ready").to_string());
    // The worker is stopped, and was asked whether it lives.
    until(|| manager.stats().workers[0].silent_for.is_some());
    say("silent");
    wait_for_the_test();
    assert_eq!(handle.wait().expect("its worker lives"), 1);
    close(&manager);
}

#[test]
fn tokens_that_beat_all_along_are_not_missed_however_often_their_program_is_stopped() {
    let _alone = alone();
    let mut program = Program::start("program", "beats");
    assert_eq!(program.hear(), "ready");
    // A stop of the shorter time ends just before a timeout would, and the next beat comes when it would be over.
    for time in [2 * TIMEOUT, TIMEOUT - WORK / 2].repeat(3) {
        program.stop_for(time);
        let_pass(TIMEOUT * 3 / 2);
    }
    program.go_on();
    program.assert_success();
}

#[test]
fn a_flush_has_its_time_however_long_its_program_is_stopped() {
    let _alone = alone();
    let mut program = Program::start("program", "flushes");
    assert_eq!(program.hear(), "ready");
    let_pass(WORK);
    program.stop_for(30 * WORK);
    program.assert_success();
}

#[test]
fn a_worker_that_was_stopped_with_its_program_has_time_to_answer() {
    let _alone = alone();
    let gate = Gate::new();
    let mut program = Program::start("program", gate.path().to_str().expect("a text"));
    let waiting = gate.wait();
    let worker = program.hear().parse().expect("a process id");
    assert_eq!(waiting.pid, worker);
    signal(worker, Signal::STOP);
    assert_eq!(program.hear(), "silent");
    program.stop_for(SILENCE_LIMIT);
    signal(worker, Signal::CONT);
    waiting.go_on();
    program.go_on();
    program.assert_success();
}
