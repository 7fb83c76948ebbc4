//! The probe, with real connections, from clients that are not all polite.

#![cfg(feature = "probe")]

mod support;

use std::{net::SocketAddr, sync::Arc};

use support::{Act, Journal, Scripted, watchdog};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use workfleet_worker_lifecycle::{ChildSpec, Probe, StopOrder, WorkerContext, WorkerHandle, Workers, start};

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

/// Everything that comes back for a request, until the connection is closed.
async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address).await;
    // It may be answered, and closed, before all of it is read.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await
}

fn code(answer: &str) -> &str {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or("none")
}

async fn probe() -> (Probe, SocketAddr) {
    let probe = Probe::bind("127.0.0.1:0").await.expect("a port");
    let address = probe.local_addr().expect("it has one");
    (probe, address)
}

#[tokio::test]
async fn readiness_and_liveness_follow_the_tree() {
    let _watchdog = watchdog();
    let (probe, address) = probe().await;
    let (up, down) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let worker = Scripted::new("slow", &Journal::default()).on_startup(Act::Await(Arc::clone(&up)));
    let worker = worker.on_shutdown(Act::Await(Arc::clone(&down)));
    let service = Workers::new("service")
        .with_stop_order(StopOrder::ReversePhases)
        .with_child(probe)
        .with_child(ChildSpec::once(worker).with_phase(1));
    let service = Arc::new(WorkerHandle::new(service));
    let starting = tokio::spawn({
        let service = Arc::clone(&service);
        async move { service.startup().await }
    });
    // It answers once it is up, which is before the worker is.
    let not_ready = get(address, "/readyz").await;
    assert_eq!((code(&not_ready), code(&get(address, "/livez").await)), ("503", "200"));
    let first_words: Vec<_> = not_ready.lines().filter_map(|line| line.split(" for ").next()).collect();
    assert!(first_words.ends_with(&["service running", "  probe running", "  slow running"]), "{not_ready}");
    up.notify_one();
    starting.await.expect("no panic").expect("it starts");
    assert_eq!(get(address, "/readyz?verbose").await.lines().last(), Some("ok"));
    let status = get(address, "/status").await;
    assert!(
        status.starts_with("HTTP/1.1 200 OK\r\n") && status.contains("\n  slow running for "),
        "{status}"
    );
    let status = get(address, "/status.json").await;
    let (head, body) = status.split_once("\r\n\r\n").expect("it has a body");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("content-type: application/json"), "{head}");
    let json: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
    assert_eq!((&json["name"], &json["ready"]), (&"service".into(), &true.into()));
    let slow = &json["children"][1];
    assert_eq!((&slow["name"], &slow["state"]), (&"slow".into(), &"running".into()));
    assert_eq!(slow["reason"], "it was started");

    // While it stops, it is alive and not ready.
    service.gracefully_stop();
    let json = get(address, "/status.json").await;
    assert!(json.contains(r#""state":"stopping","reason":"stopped by a caller","since":"2"#), "{json}");
    assert_eq!((code(&get(address, "/readyz").await), code(&get(address, "/livez").await)), ("503", "200"));
    down.notify_one();
    service.shutdown().await.expect("groups are not stuck").into_result().expect("nobody failed");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_worker_that_has_ended_is_not_alive() {
    let _watchdog = watchdog();
    let (probe, address) = probe().await;
    let worker = start(|_cx: WorkerContext| async {}).await.expect("it starts");
    worker.wait_for_shutdown().await;
    let probe = start(probe.with_watched(worker.worker())).await.expect("it starts");
    assert_eq!((code(&get(address, "/livez").await), code(&get(address, "/readyz").await)), ("503", "503"));
    probe.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn garbage_is_refused_and_harms_nobody() {
    let _watchdog = watchdog();
    let (probe, address) = probe().await;
    let probe = start(probe).await.expect("it starts");
    let huge = [b"GET /livez HTTP/1.1\r\nx: ".as_slice(), &[b'x'; 1 << 20]].concat();
    for (request, expected) in [
        (&b"GET /livez HTTP/1.1\r\n\r\n"[..], "200"),
        (b"GET /livez HTTP/1.0\n\n", "200"),
        (b"GET /elsewhere HTTP/1.1\r\n\r\n", "404"),
        (b"POST /livez HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", "405"),
        (b"GET /livez\r\n\r\n", "400"),
        (b"GET /livez HTTP/1.1 more\r\n\r\n", "400"),
        (b"\r\n\r\n", "400"),
        (b"\n\n", "400"),
        (b"\xff\xfe\x00 \r\n\r\n", "400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
        (&huge, "431"),
    ] {
        let answer = ask(address, request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(40)]);
        assert_eq!(code(&answer), expected, "{shown:?}");
    }
    let head = ask(address, b"HEAD /livez HTTP/1.1\r\n\r\n").await;
    assert!(head.contains("content-length: 3") && head.ends_with("\r\n\r\n"), "{head}");
    // In pieces, and cut short.
    let mut slow = connect(address).await;
    for piece in [&b"GET /live"[..], b"z HTTP/1.1\r", b"\n\r", b"\n"] {
        slow.write_all(piece).await.expect("it listens");
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("text");
    assert_eq!(code(&answer), "200");
    let mut cut = connect(address).await;
    cut.write_all(b"GET /li").await.expect("it listens");
    drop(cut);
    assert_eq!(code(&get(address, "/livez").await), "200");
    probe.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn who_holds_connections_open_keeps_nobody_out() {
    let _watchdog = watchdog();
    let (probe, address) = probe().await;
    let probe = start(probe).await.expect("it starts");
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(address).await;
        stream.write_all(b"GET /").await.expect("it listens");
        held.push(stream);
        // Within the time that the held ones have, each newer client is served.
        if held.len().is_multiple_of(50) {
            assert_eq!(code(&get(address, "/livez").await), "200");
        }
    }
    // The oldest gave way: no more than the bound are kept.
    let mut oldest = held.swap_remove(0);
    assert_eq!(oldest.read(&mut [0; 16]).await.unwrap_or(0), 0);
    probe.shutdown().await.expect("it stops");
    // And with the probe, all of them are gone.
    for mut stream in held {
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let (probe, address) = probe().await;
    let probe = start(probe).await.expect("it starts");
    let mut silent = connect(address).await;
    // On a clock that runs ahead while everybody waits, the connection's limit is what ends this.
    let read = support::ends(silent.read(&mut [0; 16])).await;
    assert_eq!(read.unwrap_or(0), 0);
    probe.shutdown().await.expect("it stops");
}

#[test]
fn a_probe_without_a_runtime_with_io_is_an_error_that_says_what_is_missing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let error = runtime.block_on(Probe::bind("127.0.0.1:0")).expect_err("it has no IO");
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("call `enable_io`"), "{error}");
    let mut outside = std::pin::pin!(Probe::bind("127.0.0.1:0"));
    let polled = outside.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    let std::task::Poll::Ready(Err(error)) = polled else { panic!("it is refused at once") };
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}
