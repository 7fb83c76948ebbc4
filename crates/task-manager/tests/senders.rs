//! Heartbeat senders in tasks' payloads: in worker processes that live, flood, are stopped and are killed, and in processes
//! that those start.

mod support;

use std::{
    fs,
    path::PathBuf,
    process,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, builder,
    gate::{Gate, wait_at},
    let_pass,
    process::{Program, await_stop, part, say, signal, signal_child, status, wait_for_the_test},
    until,
};
use workfleet_heartbeat::{
    DETAILS_LIMIT_BYTES, DetailsError, HeartbeatError, HeartbeatSender, HeartbeaterOptions, Heartbeaters,
    Report, UnregisterError, remote::beats_ignored,
};
use workfleet_task_manager::{
    ClosePolicy, Priority, ProcessManager, Registry, Task, TaskContext, TaskError, TaskSpec,
};

fn registry() -> Registry {
    Registry::new().task::<Do>().task::<Nest>()
}

workfleet_task_manager::test_worker!(registry());

/// One step of a task with a sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    /// Beats with these numbers, one after the other.
    Beat(std::ops::Range<u64>),
    /// Beats with this number in the first attempt, and ends the process after so long a time.
    BeatAndExit(u64, Duration),
    /// Beats with this number in the first attempt, flushes, and kills the process.
    BeatFlushAndDie(u64),
    /// Beats until the task is cancelled.
    Flood,
    /// Beats every few milliseconds until there is such a file.
    BeatUntil(PathBuf),
    /// Beats with so many bytes.
    Large(usize),
    /// Beats with so many bytes, which fit.
    Fitting(usize),
    /// Let the test do something.
    Meet(PathBuf),
    /// Lets go of the sender, as a task that has ended does.
    LetGo,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Do(HeartbeatSender, Vec<Step>);

impl TaskSpec for Do {
    const NAME: &'static str = "do";
    type Output = ();
}

impl Task for Do {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let mut sender = Some(self.0);
        for step in self.1 {
            let beat = |number: u64| sender.as_ref().map_or(Ok(()), |sender| sender.send(&number));
            match step {
                Step::Beat(numbers) => numbers.into_iter().try_for_each(beat)?,
                Step::BeatAndExit(number, after) => {
                    if cx.attempt() == 1 {
                        beat(number)?;
                        let sent_at = Instant::now();
                        while sent_at.elapsed() < after {}
                        process::exit(0);
                    }
                }
                Step::BeatFlushAndDie(number) => {
                    if cx.attempt() == 1 {
                        beat(number)?;
                        cx.flush()?;
                        signal(process::id(), Signal::KILL);
                    }
                }
                Step::Flood => (0..).take_while(|_| !cx.is_cancelled()).try_for_each(beat)?,
                Step::BeatUntil(file) => {
                    for number in (0..).take_while(|_| !file.exists()) {
                        beat(number)?;
                        let_pass(Duration::from_millis(5));
                    }
                }
                Step::Large(bytes) => {
                    let sent = sender.as_ref().map(|sender| sender.send(&vec![0_u8; bytes]));
                    let Some(Err(HeartbeatError::Details(DetailsError::TooLarge { .. }))) = sent else {
                        return Err(format!("it was {sent:?}").into());
                    };
                }
                Step::Fitting(bytes) => {
                    sender.as_ref().map_or(Ok(()), |sender| sender.send(&vec![0_u8; bytes]))?;
                }
                Step::Meet(gate) => wait_at(&gate)?,
                Step::LetGo => sender = None,
            }
        }
        Ok(())
    }
}

/// Does it in a process that this task starts.
#[derive(Debug, Serialize, Deserialize)]
struct Nest(Do);

impl TaskSpec for Nest {
    const NAME: &'static str = "nest";
    type Output = ();
}

impl Task for Nest {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        let manager = ProcessManager::builder(registry()).workers(1).start()?;
        manager.submit(self.0)?.wait()?;
        manager.close(ClosePolicy::Join)?;
        Ok(())
    }
}

/// Heartbeaters with a token, and what it reports.
fn listen(token: &str) -> (Heartbeaters, HeartbeatSender, Receiver<Report>) {
    let heartbeaters = Heartbeaters::new().expect("a thread");
    let (sender, reports) = listen_to(&heartbeaters, token);
    (heartbeaters, sender, reports)
}

fn listen_to(heartbeaters: &Heartbeaters, token: &str) -> (HeartbeatSender, Receiver<Report>) {
    let (tell, reports) = channel();
    // A test that looks no longer does not mind.
    let callback = move |report| tell.send(report).unwrap_or(());
    (heartbeaters.register(token, callback).expect("a new token"), reports)
}

fn the_number(report: Report) -> u64 {
    match report {
        Report::Beat(details) => details.decode().expect("a number"),
        other => panic!("no beat: {other:?}"),
    }
}

fn numbers(reports: &Receiver<Report>) -> Vec<u64> {
    reports.try_iter().map(the_number).collect()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn start(workers: usize) -> ProcessManager {
    builder(registry(), workers).start().expect("a manager")
}

#[test]
fn a_flush_brings_the_last_beat_of_a_worker_and_nothing_comes_after_it() {
    let _alone = alone();
    let (manager, gate) = (start(1), Gate::new());
    for _ in 0..50 {
        let (heartbeaters, sender, reports) = listen("import");
        let steps = vec![Step::Beat(0..100), Step::Meet(gate.path()), Step::Beat(100..200)];
        let handle = manager.submit(Do(sender, steps)).expect("it is taken");
        // Its beats were sent before it came here; nothing else says that they, or their token, have left its process.
        let waiting = gate.wait();
        heartbeaters.blocking_unregister("import").expect("everybody answers");
        assert_eq!(numbers(&reports).last(), Some(&99));
        waiting.go_on();
        handle.wait().expect("beats of a token that is gone are no errors");
        assert_eq!(numbers(&reports), [], "nothing is reported after the end");
        let stats = heartbeaters.stats();
        assert_eq!(stats.beats, stats.reported + stats.superseded + stats.ignored, "{stats:?}");
    }
}

#[test]
fn what_a_task_sent_before_its_end_is_flushed_too() {
    let _alone = alone();
    let manager = start(1);
    for steps in [vec![Step::Beat(0..10)], vec![Step::Beat(0..10), Step::LetGo]] {
        let (heartbeaters, sender, reports) = listen("import");
        manager.submit(Do(sender, steps)).expect("it is taken").wait().expect("it ends");
        heartbeaters.blocking_unregister("import").expect("everybody answers");
        assert_eq!(numbers(&reports).last(), Some(&9));
        assert_eq!(heartbeaters.stats().beats, 10, "also those that gave way on their way are counted");
    }
}

#[test]
fn what_a_task_sent_before_it_ends_its_process_arrives_whoever_is_sending_it_at_that_moment() {
    let _alone = alone();
    let manager = start(2);
    let (heartbeaters, sender, reports) = listen("import");
    for number in 0..1000 {
        let step = Step::BeatAndExit(number, Duration::from_nanos(number % 400 * 250));
        manager.submit(Do(sender.clone(), vec![step])).expect("it is taken").wait().expect("it ends");
        assert_eq!(reports.recv().map(the_number), Ok(number));
    }
    drop(heartbeaters);
}

#[test]
fn what_a_task_sent_before_it_flushed_survives_a_sigkill() {
    let _alone = alone();
    let manager = start(1);
    let (heartbeaters, sender, reports) = listen("import");
    for number in 0..200 {
        let step = Step::BeatFlushAndDie(number);
        manager.submit(Do(sender.clone(), vec![step])).expect("it is taken").wait().expect("it ends");
        assert_eq!(reports.recv().map(the_number), Ok(number));
    }
    drop(heartbeaters);
}

#[test]
fn a_sender_works_in_a_process_that_a_worker_starts_and_is_flushed_there() {
    let _alone = alone();
    let (manager, gate) = (start(1), Gate::new());
    let (heartbeaters, sender, reports) = listen("import");
    let inner = Do(sender, vec![Step::Beat(0..10), Step::Meet(gate.path())]);
    let handle = manager.submit(Nest(inner)).expect("it is taken");
    let waiting = gate.wait();
    heartbeaters.blocking_unregister("import").expect("everybody answers");
    assert_eq!(numbers(&reports).last(), Some(&9));
    waiting.go_on();
    handle.wait().expect("it ends");
}

#[test]
fn a_flood_from_a_worker_takes_bounded_memory_and_holds_up_nobody() {
    let _alone = alone();
    let manager = start(2);
    let (heartbeaters, sender, reports) = listen("flood");
    let (calm, calm_reports) = listen_to(&heartbeaters, "calm");
    let flood = manager.submit(Do(sender, vec![Step::Flood])).expect("it is taken");
    reports.recv().expect("it floods");
    let before_kib = status("VmRSS");
    until(|| heartbeaters.stats().beats > 1_000_000);
    let grown_kib = status("VmRSS").saturating_sub(before_kib);
    assert!(grown_kib < 16 << 10, "{grown_kib} KiB for a million beats");
    // Another token beats, is reported and is flushed beside it.
    manager.submit(Do(calm, vec![Step::Beat(0..10)])).expect("it is taken").wait().expect("it ends");
    heartbeaters.blocking_unregister("calm").expect("everybody answers");
    assert_eq!(numbers(&calm_reports).last(), Some(&9));
    // And so is the one that floods, in the midst of it.
    heartbeaters.blocking_unregister("flood").expect("everybody answers");
    flood.cancel();
    flood.wait().expect("it ends well when it is told to");
    assert!(heartbeaters.stats().ignored > 0 || heartbeaters.stats().superseded > 0);
}

#[test]
fn a_stopped_worker_delays_its_own_token_up_to_the_deadline_and_no_other() {
    let _alone = alone();
    let (manager, gate) = (start(2), Gate::new());
    // Otherwise the other task might be prefetched by the one that is stopped.
    all_ready(&manager, 2);
    let (heartbeaters, sender, reports) = listen("stopped");
    let (calm, calm_reports) = listen_to(&heartbeaters, "calm");
    let handle =
        manager.submit(Do(sender, vec![Step::Beat(0..10), Step::Meet(gate.path()), Step::Beat(10..20)]));
    let waiting = gate.wait();
    signal_child(waiting.pid, Signal::STOP);
    await_stop(waiting.pid);
    manager.submit(Do(calm, vec![Step::Beat(0..10)])).expect("it is taken").wait().expect("it ends");
    heartbeaters.blocking_unregister("calm").expect("who holds it answers");
    assert_eq!(numbers(&calm_reports).last(), Some(&9));

    let after = Duration::from_millis(200);
    let error = heartbeaters.blocking_unregister_timeout("stopped", after).expect_err("nobody answers");
    let UnregisterError::FlushTimedOut { token, workers, callback_runs, .. } = &error else {
        panic!("another error: {error}")
    };
    assert_eq!((token.as_bytes(), workers.len(), callback_runs), (&b"stopped"[..], 1, &false), "{error}");
    assert!(workers[0].starts_with("worker-"), "{error}");
    let unknown = heartbeaters.blocking_unregister("stopped").expect_err("it is gone all the same");
    assert!(matches!(unknown, UnregisterError::Unknown { .. }), "{unknown}");

    signal_child(waiting.pid, Signal::CONT);
    waiting.go_on();
    handle.expect("it is taken").wait().expect("it goes on as if nothing had been");
    drop(numbers(&reports));
}

#[test]
fn a_worker_that_goes_on_in_time_answers() {
    let _alone = alone();
    let (manager, gate) = (start(1), Gate::new());
    let (heartbeaters, sender, reports) = listen("import");
    let handle = manager.submit(Do(sender, vec![Step::Beat(0..10), Step::Meet(gate.path())]));
    let waiting = gate.wait();
    signal_child(waiting.pid, Signal::STOP);
    await_stop(waiting.pid);
    let flushed = heartbeaters.unregister_timeout("import", Duration::from_secs(60));
    signal_child(waiting.pid, Signal::CONT);
    block_on(flushed).expect("it answers");
    assert_eq!(numbers(&reports).last(), Some(&9));
    waiting.go_on();
    handle.expect("it is taken").wait().expect("it ends");
}

#[test]
fn a_killed_worker_is_no_reason_to_wait() {
    let _alone = alone();
    let ignored = beats_ignored();
    let (manager, gate) = (start(1), Gate::new());
    let (heartbeaters, sender, reports) = listen("import");
    let (other, _other_reports) = listen_to(&heartbeaters, "other");
    let handle = manager.submit(Do(sender, vec![Step::Beat(0..10), Step::Meet(gate.path())]));
    let waiting = gate.wait();
    signal_child(waiting.pid, Signal::STOP);
    await_stop(waiting.pid);
    // The next worker runs this task first. So the other task comes again when the test lets it: after its token is gone.
    let before = manager.submit_with(Do(other.clone(), vec![Step::Meet(gate.path())]), Priority(0));
    let flushed = heartbeaters.unregister_timeout("import", Duration::from_secs(60));
    signal(waiting.pid, Signal::KILL);
    block_on(flushed).expect("the dead have said what they had to say");
    let before_the_end = heartbeaters.stats().beats;
    drop(numbers(&reports));
    gate.wait().go_on();
    before.expect("it is taken").wait().expect("it ends");
    gate.wait().go_on();
    handle.expect("it is taken").wait().expect("beats of a token that is gone are no errors");
    until(|| beats_ignored() == ignored + 10);
    assert_eq!(heartbeaters.stats().beats, before_the_end, "each beat is counted once");
    heartbeaters.blocking_unregister("other").expect("nobody else holds it");
    drop(other);
}

#[test]
fn the_largest_details_arrive_whatever_tasks_may_have() {
    let _alone = alone();
    let manager = builder(registry(), 1).crash_limit(1).frame_limit(4096).start().expect("a manager");
    let (heartbeaters, sender, reports) = listen("import");
    // Three bytes are their length.
    let steps = vec![Step::Fitting(DETAILS_LIMIT_BYTES - 3)];
    manager.submit(Do(sender, steps)).expect("it is taken").wait().expect("its worker lives");
    heartbeaters.blocking_unregister("import").expect("everybody answers");
    let Ok(Report::Beat(details)) = reports.try_recv() else { panic!("it is reported") };
    assert_eq!(details.as_bytes().len(), DETAILS_LIMIT_BYTES);
}

#[test]
fn details_that_are_too_large_are_an_error_where_they_are_sent() {
    let _alone = alone();
    let manager = start(1);
    let (heartbeaters, sender, reports) = listen("import");
    let steps = vec![Step::Large(DETAILS_LIMIT_BYTES + 1), Step::Beat(0..1)];
    manager.submit(Do(sender, steps)).expect("it is taken").wait().expect("it goes on");
    heartbeaters.blocking_unregister("import").expect("everybody answers");
    assert_eq!(numbers(&reports), [0]);
}

#[test]
fn a_silence_is_missed_and_beats_after_it_are_late_across_processes() {
    let _alone = alone();
    let (manager, gate) = (start(1), Gate::new());
    let heartbeaters = Heartbeaters::new().expect("a thread");
    let (tell, reports) = channel();
    let options = HeartbeaterOptions::new().timeout(Duration::from_millis(100));
    let sender = heartbeaters
        .register_with("import", options, move |report| tell.send(report).unwrap_or(()))
        .expect("a new token");
    let steps = vec![Step::Beat(7..8), Step::Meet(gate.path()), Step::Beat(8..9)];
    let handle = manager.submit(Do(sender, steps)).expect("it is taken");
    let waiting = gate.wait();
    let missed = loop {
        // Others are of before the worker got it, or the beat itself.
        if let Report::Missed { last: Some(last), .. } = reports.recv().expect("it is told") {
            break last;
        }
    };
    assert_eq!(missed.decode(), Ok(7_u64));
    waiting.go_on();
    handle.wait().expect("it ends");
    let late = reports.recv().expect("it is told");
    assert!(matches!(&late, Report::Late(details) if details.decode() == Ok(8_u64)), "{late:?}");
}

#[test]
fn many_workers_hold_one_token() {
    let _alone = alone();
    let manager = start(4);
    all_ready(&manager, 4);
    let (heartbeaters, sender, reports) = listen("import");
    let handles: Vec<_> = (0..16)
        .map(|part| manager.submit(Do(sender.clone(), vec![Step::Beat(part * 100..part * 100 + 100)])))
        .collect();
    for handle in handles {
        handle.expect("it is taken").wait().expect("it ends");
    }
    heartbeaters.blocking_unregister("import").expect("everybody answers");
    assert_eq!(heartbeaters.stats().beats, 1600);
    assert!(numbers(&reports).iter().any(|number| number % 100 == 99));
}

// ---- A program that is late itself ----

/// How long the program's token may be silent.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Not a test by itself: the program that the test below starts.
#[test]
fn program() {
    let Some(file) = part() else { return };
    let manager = start(1);
    all_ready(&manager, 1);
    let heartbeaters = Heartbeaters::new().expect("a thread");
    let (tell, reports) = channel();
    let options = HeartbeaterOptions::new().timeout(TIMEOUT);
    let callback = move |report| tell.send(report).unwrap_or(());
    let sender = heartbeaters.register_with("import", options, callback).expect("a new token");
    let handle = manager.submit(Do(sender, vec![Step::BeatUntil(file.into())])).expect("it is taken");
    reports.recv().expect("it beats");
    say("ready");
    wait_for_the_test();
    handle.wait().expect("it has beaten all the time");
    heartbeaters.blocking_unregister("import").expect("everybody answers");
    assert_eq!(heartbeaters.stats().missed, 0);
    manager.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn a_program_that_was_stopped_finds_the_beats_that_came_meanwhile() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("end");
    let mut program = Program::start("program", file.to_str().expect("a text"));
    assert_eq!(program.hear(), "ready");
    for _ in 0..2 {
        program.stop_for(2 * TIMEOUT);
        let_pass(TIMEOUT / 4);
    }
    fs::write(&file, "").expect("a file");
    program.go_on();
    program.assert_success();
}

#[test]
fn one_heartbeaters_serves_two_pools_at_once() {
    let _alone = alone();
    let managers = [start(1), start(1)];
    let heartbeaters = Heartbeaters::new().expect("a thread");
    for _ in 0..20 {
        let running = [("first", &managers[0]), ("second", &managers[1])].map(|(token, manager)| {
            let (gate, (sender, reports)) = (Gate::new(), listen_to(&heartbeaters, token));
            let steps = vec![Step::Beat(0..100), Step::Meet(gate.path())];
            let handle = manager.submit(Do(sender, steps)).expect("it is taken");
            (token, gate.wait(), handle, reports)
        });
        // Both hold their senders: the flush has to ask the worker of the pool that has it.
        for (token, waiting, handle, reports) in running {
            heartbeaters.blocking_unregister(token).expect("its worker answers");
            assert_eq!(numbers(&reports).last(), Some(&99), "{token}");
            waiting.go_on();
            handle.wait().expect("beats of a token that is gone are no errors");
        }
    }
}
