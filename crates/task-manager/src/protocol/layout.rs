//! What travels under the present version, byte by byte: who changes it, and does not raise the version, finds this test failing.

use std::fmt::Write;

use workfleet_wire::Rule;

use super::*;
use crate::failure::{FailedLink, FailureCause};

/// One of each frame, with its kind. No two fields of a frame look alike.
fn frames() -> Vec<(Kind, Vec<u8>)> {
    fn encoded<T: Serialize>(payload: &T) -> Vec<u8> {
        message::encode(payload).expect("it encodes")
    }
    let manager: ManagerId = message::decode(&encoded(&5_u128)).expect("a number");
    let details = Details::encode(&7_u8).expect("it encodes");
    let (lease, took_ns) = (300, 70_000);
    let welcome = Welcome {
        registry_digest: 1,
        worker: "w".to_owned(),
        manager,
        priority_levels: 2,
        frame_limit_bytes: 3,
        children_limit: 4,
        async_tasks: 6,
        throttle: ThrottleLimits { most: Duration::from_secs(8), without_timeout: Duration::from_secs(9) }
            .into(),
        backtraces: true,
        holds_stdout: false,
    };
    let task = TaskFrame {
        lease,
        sequence: 1,
        attempt: 2,
        task_type: 3,
        priority: 4,
        wants_output: true,
        last_heartbeat: Some(details.clone()),
        payload: b"task",
    };
    let failed = |cause| {
        let link = FailedLink { index: 1, name: "l".to_owned(), debug: "L".to_owned() };
        Failed { cause, debug: "D".to_owned(), links: vec![link] }
    };
    let error = FailureCause::Error { chain: vec!["e".to_owned()], backtrace: Some("b".to_owned()) };
    let failure = FailureFrame {
        lease,
        took_ns,
        failed: Box::new(failed(error)),
        last_heartbeat: Some(details.clone()),
    };
    vec![
        (kinds::WELCOME, encoded(&welcome)),
        (kinds::CANCEL, encoded(&Cancel::Lease(lease))),
        (kinds::CANCEL, encoded(&Cancel::All)),
        (kinds::RECALL, encoded(&Recall { at_most: 1, from: 2 })),
        (kinds::FLUSHED, encoded(&1_u64)),
        (kinds::HELLO, encoded(&Hello { registry_digest: 1, names: Names::default() })),
        (kinds::START_FAILED, encoded(&StartFailed { reason: "r".to_owned(), of_value: true })),
        (kinds::RESULT, encoded(&ResultFrame { lease, took_ns, output: b"out" })),
        (kinds::FAILURE, encoded(&failure)),
        (kinds::RETURNED, encoded(&ReturnedFrame { recalled: true, leases: vec![lease] })),
        (kinds::FLUSH, encoded(&1_u64)),
        (kinds::HEARTBEAT, encoded(&HeartbeatFrame { lease, details: Some(details.as_bytes()) })),
        (kinds::MESSAGE, encoded(&MessageFrame { lease, name: "n", payload: b"m" })),
        (kinds::TASK, encoded(&Next::Task(task))),
        (kinds::TASK, encoded(&Next::Close)),
        (kinds::schedule(1).expect("a priority"), {
            encoded(&ScheduleFrame { lease, index: 1, task_type: 2, payload: b"child" })
        }),
    ]
}

/// The table of kinds, then one of each frame.
fn layout() -> String {
    let mut text = String::new();
    for row in kinds::TABLE.rows() {
        let rules = [Direction::ToManager, Direction::ToWorker].map(|direction| row.rule(direction));
        writeln!(text, "{:02x?} {} {rules:?}", row.kinds(), row.name()).expect("a string takes all");
    }
    for (kind, payload) in frames() {
        writeln!(text, "{}: {payload:02x?}", kinds::TABLE.named(kind)).expect("a string takes all");
    }
    text
}

#[test]
fn what_travels_is_what_this_version_says() {
    assert_eq!(
        (VERSION, layout().as_str()),
        (8, LAYOUT),
        "raise the version, then write down what is new here"
    );
}

#[test]
fn each_kind_that_carries_stands_here() {
    let sent: Vec<Kind> = frames().into_iter().map(|(kind, _)| kind).collect();
    for row in kinds::TABLE.rows().iter().filter(|row| !kinds::SERVICE_KINDS.contains(row.kinds().start())) {
        let carries = [Direction::ToManager, Direction::ToWorker].map(|way| row.rule(way) == Rule::Carries);
        let is_here = sent.iter().any(|kind| row.kinds().contains(&kind.0));
        assert_eq!(carries.contains(&true), is_here, "{}", row.name());
    }
}

const LAYOUT: &str = "\
01..=01 WELCOME [Never, Carries]
02..=02 CANCEL [Never, Carries]
03..=03 RECALL [Never, Carries]
04..=04 PING [Never, Empty]
05..=05 FLUSHED [Never, Carries]
10..=10 HELLO [Carries, Never]
11..=11 START_FAILED [Carries, Never]
12..=12 RESULT [Carries, Never]
13..=13 FAILURE [Carries, Never]
14..=14 RETURNED [Carries, Never]
15..=15 FLUSH [Carries, Never]
16..=16 PONG [Empty, Never]
17..=17 HEARTBEAT [Carries, Never]
20..=2f streams [Any, Any]
30..=3f events and heartbeats [Any, Any]
40..=4f locks [Any, Any]
50..=57 broker connections [Any, Any]
58..=67 application [Any, Any]
6d..=6d MESSAGE [Carries, Empty]
6e..=6e IDLE [Empty, Never]
73..=73 SCHEDULED [Never, Empty]
74..=74 DONE_NEXT/TASK [Empty, Carries]
80..=ff schedule [Carries, Never]
0x01 (WELCOME): [01, 01, 77, 05, 02, 03, 04, 06, 08, 00, 09, 00, 01, 00]
0x02 (CANCEL): [00, ac, 02]
0x02 (CANCEL): [01]
0x03 (RECALL): [01, 02]
0x05 (FLUSHED): [01]
0x10 (HELLO): [01, 00, 00]
0x11 (START_FAILED): [01, 72, 01]
0x12 (RESULT): [ac, 02, f0, a2, 04, 03, 6f, 75, 74]
0x13 (FAILURE): [ac, 02, f0, a2, 04, 00, 01, 01, 65, 01, 01, 62, 01, 44, 01, 01, 01, 6c, 01, 4c, 01, 01, 07]
0x14 (RETURNED): [01, 01, ac, 02]
0x15 (FLUSH): [01]
0x17 (HEARTBEAT): [ac, 02, 01, 01, 07]
0x6d (MESSAGE): [ac, 02, 01, 6e, 01, 6d]
0x74 (DONE_NEXT/TASK): [00, ac, 02, 01, 02, 03, 04, 01, 01, 01, 07, 04, 74, 61, 73, 6b]
0x74 (DONE_NEXT/TASK): [01]
0x81 (schedule): [ac, 02, 01, 02, 05, 63, 68, 69, 6c, 64]
";
