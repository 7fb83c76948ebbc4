//! What every engine promises, promised by the one in memory: as it is, and with everything going wrong around it.

use std::{future::poll_fn, sync::Arc, time::Duration};

use futures_core::{future::BoxFuture, stream::BoxStream};
use workfleet_engine::{
    Beat, Calls, Departure, Engine, EngineError, EngineOptions, FleetTaskId, Hint, Join, LeaseCall, MemberId,
    NewTask, Payload,
    conformance::{Subject, Test},
    faults::{FaultCounts, FaultRates, Faulty},
    memory::Memory,
    repeat::Repeating,
};

/// How many seeds each test runs with under faults.
const SEEDS: u64 = 20;

#[derive(Debug)]
struct InMemory;

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

impl Subject for InMemory {
    fn engine(&self, options: EngineOptions) -> BoxFuture<'_, Arc<dyn Engine>> {
        Box::pin(async { Arc::new(Memory::new(options)) as Arc<dyn Engine> })
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(pass(time))
    }
}

/// The same, with faults by this seed.
#[derive(Debug)]
struct WithFaults(u64);

impl Subject for WithFaults {
    fn engine(&self, options: EngineOptions) -> BoxFuture<'_, Arc<dyn Engine>> {
        Box::pin(async {
            let engine = Arc::new(Memory::new(options));
            let faulty = Faulty::new(engine, FaultRates::default(), self.0);
            Arc::new(Repeating::new(Arc::new(faulty))) as Arc<dyn Engine>
        })
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(pass(time))
    }
}

fn run_with(subject: &dyn Subject, test: Test) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("it starts");
    runtime.block_on(test(subject));
}

mod as_it_is {
    fn run(test: workfleet_engine::conformance::Test) {
        super::run_with(&super::InMemory, test);
    }

    workfleet_engine::conformance_tests!(run);
}

mod under_faults {
    fn run(test: workfleet_engine::conformance::Test) {
        for seed in 0..super::SEEDS {
            println!("seed {seed}");
            super::run_with(&super::WithFaults(seed), test);
        }
    }

    workfleet_engine::conformance_tests!(run);
}

async fn join(engine: &dyn Engine) -> MemberId {
    let time = engine.time().await.expect("it has a time");
    let member = MemberId::generate(time).expect("there are random bits");
    engine.join(Join { member, name: "a member".into() }).await.expect("it is new");
    member
}

async fn beat(engine: &dyn Engine, member: MemberId) -> Result<(), EngineError> {
    engine.beat(Beat { member, number: 1, holding: Vec::new() }).await.map(drop)
}

async fn task(engine: &dyn Engine) -> NewTask {
    let time = engine.time().await.expect("it has a time");
    NewTask::new(FleetTaskId::generate(time).expect("there are random bits"), "work", Payload::default())
}

async fn next(hints: &mut BoxStream<'static, Hint>) -> Option<Hint> {
    poll_fn(|cx| hints.as_mut().poll_next(cx)).await
}

#[tokio::test(start_paused = true)]
async fn nobody_is_gone_by_the_time_in_which_the_program_was_stopped() {
    let engine = Memory::new(EngineOptions::default());
    let ann = join(&engine).await;
    let ask = LeaseCall {
        member: ann,
        batch: 1,
        series: vec![("".into(), 1)],
        names: Vec::new(),
        wait: Duration::MAX,
    };
    let mut waits = Box::pin(engine.lease(ask));
    tokio::select! {
        biased;
        tasks = &mut waits => panic!("there are none: {tasks:?}"),
        () = std::future::ready(()) => {}
    }
    // The call that waits was to look when the lease ran out. It did not, so the program did not run.
    tokio::time::advance(Duration::from_secs(60)).await;
    beat(&engine, ann).await.expect("nobody could hear it");
    drop(waits);
    tokio::time::advance(Duration::from_secs(16)).await;
    beat(&engine, ann).await.expect_err("nobody was to look, so nothing shows that the program did not run");
}

#[tokio::test(start_paused = true)]
async fn hints_come_also_for_what_time_brings_and_end_with_the_engine() {
    let engine = Memory::new(EngineOptions::default());
    let mut hints = engine.hints();
    let ann = join(&engine).await;
    let mut calls = Calls::new(ann);
    engine.enqueue(calls.begin(), vec![task(&engine).await]).await.expect("it is taken");
    assert_eq!(next(&mut hints).await, Some(Hint::Work));
    let mut later = task(&engine).await;
    later.not_before = Duration::from_secs(10);
    engine.enqueue(calls.begin(), vec![later]).await.expect("it is taken");
    assert_eq!(next(&mut hints).await, Some(Hint::Work));
    assert_eq!(next(&mut hints).await, Some(Hint::Gone(ann)));
    let bob = join(&engine).await;
    engine.leave(bob, Departure::Goodbye).await.expect("it is heard");
    assert_eq!(next(&mut hints).await, Some(Hint::Gone(bob)));
    drop(engine);
    assert_eq!(next(&mut hints).await, None);
    assert_eq!(next(&mut hints).await, None);
}

/// Enqueues tasks one by one, with faults by this seed, and says how many faults there were.
async fn enqueue_under_faults(seed: u64) -> FaultCounts {
    let memory = Memory::new(EngineOptions::default());
    let faulty = Arc::new(Faulty::new(Arc::new(memory.clone()), FaultRates::default(), seed));
    let engine = Repeating::new(faulty.clone());
    let member = join(&engine).await;
    let mut calls = Calls::new(member);
    for _ in 0..200 {
        let call = calls.begin();
        engine.enqueue(call, vec![task(&engine).await]).await.expect("it is taken");
        calls.answered(call.number);
        beat(&engine, member).await.expect("it lives");
    }
    assert_eq!(memory.inspect().await.expect("it answers").books.enqueued, 200);
    faulty.counts()
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_sequence_of_faults_and_each_kind_happens() {
    let counts = enqueue_under_faults(7).await;
    assert_eq!(enqueue_under_faults(7).await, counts);
    assert_ne!(enqueue_under_faults(8).await, counts);
    let FaultCounts { lost, answers_lost, repeated, copied, delayed, restarts, .. } = counts;
    for count in [lost, answers_lost, repeated, copied, delayed, restarts] {
        assert!(count > 0, "{counts:?}");
    }
}
