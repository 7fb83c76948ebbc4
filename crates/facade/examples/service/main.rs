//! A small service made of supervised workers. It takes lines over TCP, counts their words, and keeps going when the part
//! of it that fails, fails.
//!
//! ```sh
//! cargo run --example service --features worker-probe,worker-signal
//! printf 'four score and seven\n' | nc 127.0.0.1 7001   # is counted
//! curl http://127.0.0.1:7002/readyz                      # and /livez, /status, /status.json
//! ```
//!
//! The first Ctrl-C stops it: no new lines are taken, those that were taken are counted, and a report is written. The
//! second ends it at once.
//!
//! | worker | phase | what it does |
//! |---|---|---|
//! | `probe` | 0 | answers probes, until everything else has stopped |
//! | `counter` | 1 | takes lines from its queue and fans each out: one handler counts words, one keeps the longest |
//! | `ticker` | 1 | says now and then how much was counted |
//! | `intake` | 2 | takes connections and sends their lines to the counter; the line `fail` makes it fail: it is restarted |
//!
//! It stops in reverse phases: first the intake, so that the counter knows all there is to count.

mod intake;
mod options;
mod words;

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use workfleet::worker::{
    AsyncConsumer, Backoff, Budget, ChildSpec, OnStop, Probe, RunEnded, StopOrder, WorkerFunction, Workers,
    run_until_signal,
};

use crate::{intake::Intake, options::Options, words::Totals};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(ended) => {
            eprintln!("service: {ended}");
            // Not by a return, which would wait for a worker that is stuck.
            ended.exit()
        }
        Err(error) => {
            eprintln!("service: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options) -> Result<RunEnded, Box<dyn Error>> {
    let totals = Arc::new(Totals::default());
    let probe = Probe::bind(&options.probe).await?;
    let intake = Arc::new(tokio::net::TcpListener::bind(&options.listen).await?);
    println!("service: lines to {}, probes to {}", intake.local_addr()?, probe.local_addr()?);

    let counter = AsyncConsumer::bounded(
        options.queue,
        words::dispatcher(&totals, Duration::from_millis(options.work_ms))?,
    );
    let counter = counter.with_name("counter").with_on_stop(OnStop::Drain);
    let lines = counter.sender();

    let ticker = WorkerFunction::new({
        let totals = Arc::clone(&totals);
        move || {
            println!("service: {totals}");
            std::future::ready(())
        }
    });
    let ticker = ticker.with_name("ticker").with_interval(Duration::from_secs(options.tick_seconds));

    let service = Workers::new("service")
        .with_grace(Duration::from_secs(options.grace_seconds))
        .with_stop_order(StopOrder::ReversePhases)
        .with_backoff(Backoff::new(Duration::from_millis(10), Duration::from_secs(1)))
        .with_budget(Budget::new(5, Duration::from_secs(60)))
        .with_child(ChildSpec::once(probe))
        .with_child(ChildSpec::once(counter).with_phase(1))
        .with_child(ChildSpec::once(ticker).with_phase(1))
        // The listener is not made anew with the worker, so that who connects meanwhile is not refused.
        .with_child(ChildSpec::new(move || Intake::new(Arc::clone(&intake), lines.clone())).with_phase(2));

    let ended = run_until_signal(service).await?;
    println!("service: {totals}");
    Ok(ended)
}
