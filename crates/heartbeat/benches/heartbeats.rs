//! What a beat and a look at an event cost within one process. Beside each stands what it cannot do without: an atomic, or a
//! channel of tokio's that keeps the latest value.
//!
//! Comparisons with rivals, and across processes, are H1 to H3 of the workspace's own benchmarks.

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::sync::watch;
use workfleet_heartbeat::{Details, Event, HeartbeaterOptions, Heartbeaters, cores::Table};

fn beats(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a beat");
    let heartbeaters = Heartbeaters::new().expect("it starts");
    // One report now, and then none while this is measured: each beat takes the place of the one before.
    let options = HeartbeaterOptions::new().throttle(Duration::from_secs(3600));
    let sender = heartbeaters.register_with("import/42", options, |_| ()).expect("a new token");
    let mut row = 0_u64;
    group.bench_function("HeartbeatSender, throttled", |bencher| {
        bencher.iter(|| {
            row += 1;
            sender.send(black_box(&row)).expect("it is registered");
        });
    });
    let (latest, _reader) = watch::channel(None);
    group.bench_function("tokio watch, encoded", |bencher| {
        bencher.iter(|| {
            row += 1;
            latest.send_replace(Some(Details::encode(black_box(&row)).expect("it encodes")))
        });
    });
    group.finish();
    heartbeaters.discard("import/42").expect("it is registered");
}

/// The core alone: a beat is taken in, handed out to be reported, and its report has ended.
fn table(criterion: &mut Criterion) {
    let mut table = Table::new();
    let now = Instant::now();
    let keys = Vec::from_iter((0..64_u32).map(|number| {
        let options = HeartbeaterOptions::new().timeout(Duration::from_secs(60));
        table.register(now, number.to_string().as_str().into(), options, 0_u8).expect("a new token")
    }));
    let mut next = keys.iter().cycle();
    let details = Details::encode(&7_u64).expect("it encodes");
    criterion.bench_function("Table, a beat and its report, of 64 tokens", |bencher| {
        bencher.iter(|| {
            let key = *next.next().expect("there are some");
            table.beat(now, key, details.clone());
            let work = table.poll_ready().expect("there is a beat");
            black_box(&work.report);
            table.finished(now, work.key, work.callback, None)
        });
    });
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("is_set");
    let (event, flag) = (Event::new(), AtomicBool::new(false));
    group.bench_function("Event", |bencher| bencher.iter(|| black_box(&event).is_set()));
    group.bench_function("AtomicBool", |bencher| bencher.iter(|| black_box(&flag).load(Ordering::Acquire)));
    group.finish();

    let mut group = criterion.benchmark_group("set and clear");
    group.bench_function("Event", |bencher| {
        bencher.iter(|| {
            event.set().expect("it is at home");
            event.clear().expect("it is at home");
        });
    });
    let (sender, _receiver) = watch::channel(false);
    group.bench_function("tokio watch", |bencher| {
        bencher.iter(|| (sender.send_replace(true), sender.send_replace(false)));
    });
    group.finish();
}

criterion_group!(benches, beats, table, events);
criterion_main!(benches);
