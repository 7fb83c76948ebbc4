//! What a message costs: a value to a payload, and back. Beside it stands postcard alone, which takes what we refuse: a field
//! that is skipped, values that nest without end.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use workfleet_wire::message;

/// A report as tasks send it: numbers, text and a list.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Progress {
    file: String,
    done_bytes: u64,
    of_bytes: Option<u64>,
    lines: Vec<(u32, String)>,
}

fn progress() -> Progress {
    Progress {
        file: "data/2026/11/28/part-00042.parquet".into(),
        done_bytes: 1 << 30,
        of_bytes: Some(1 << 33),
        lines: (0..8).map(|number| (number, format!("line {number}"))).collect(),
    }
}

fn messages(criterion: &mut Criterion) {
    both_ways(&mut criterion.benchmark_group("a pair"), &(7_u64, "digested".to_owned()));
    both_ways(&mut criterion.benchmark_group("a struct with a list"), &progress());
    both_ways(&mut criterion.benchmark_group("16 KiB"), &vec![200_u8; 16 * 1024]);
}

fn both_ways<T: Serialize + DeserializeOwned + 'static>(group: &mut BenchmarkGroup<'_, WallTime>, value: &T) {
    let mut out = Vec::new();
    group.bench_function("encode_into", |bencher| {
        bencher.iter(|| {
            out.clear();
            message::encode_into(black_box(value), &mut out).expect("it encodes");
        });
    });
    group.bench_function("encode_checked_into", |bencher| {
        bencher.iter(|| {
            out.clear();
            message::encode_checked_into(black_box(value), &mut out).expect("it encodes");
        });
    });
    group.bench_function("postcard, encode", |bencher| {
        let mut scratch = vec![0; out.len()];
        bencher.iter(|| postcard::to_slice(black_box(value), &mut scratch).expect("it encodes").len());
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| message::decode::<T>(black_box(&out)).expect("it decodes"));
    });
    group.bench_function("postcard, decode", |bencher| {
        bencher.iter(|| postcard::from_bytes::<T>(black_box(&out)).expect("it decodes"));
    });
}

criterion_group!(benches, messages);
criterion_main!(benches);
