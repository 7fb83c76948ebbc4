//! What systemd is told, in a process of its own that finds a socket of ours in its environment.

#![cfg(feature = "systemd")]

mod support;

use std::{os::unix::net::UnixDatagram, process::Command};

use support::{Act, Journal, Scripted, watchdog};
use workfleet_worker_lifecycle::{SystemdNotifier, Workers, start};

#[test]
fn systemd_is_told_of_readiness_life_and_stop() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let program = std::env::current_exe().expect("this program");
    let mut service = Command::new(program)
        .args(["service", "--exact", "--ignored"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");

    let next = || {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).expect("it is told");
        String::from_utf8_lossy(&buffer[..len]).trim().to_owned()
    };
    // Beats come before the tree is up, too.
    let first = std::iter::repeat_with(next).find(|told| told != "WATCHDOG=1").expect("there is no end");
    assert_eq!(first, "READY=1");
    assert_eq!([next(), next()], ["WATCHDOG=1", "WATCHDOG=1"]);
    // The end of its standard input stops it.
    drop(service.stdin.take());
    let last = std::iter::repeat_with(next).find(|told| told != "WATCHDOG=1").expect("there is no end");
    assert_eq!(last, "STOPPING=1");
    assert!(service.wait().expect("it is ours").success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a role of the test above"]
async fn service() {
    let slow = Scripted::new("slow", &Journal::default()).on_startup(Act::Return);
    let service = Workers::new("service").with_child(SystemdNotifier::new()).with_child(slow);
    let service = start(service).await.expect("it starts");
    let input_ends =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    input_ends.await.expect("no panic").expect("it can be read");
    service.shutdown().await.expect("groups are not stuck").into_result().expect("nobody failed");
}

#[tokio::test(start_paused = true)]
async fn without_systemd_it_does_nothing() {
    let service = start(Workers::new("service").with_child(SystemdNotifier::new())).await.expect("it starts");
    assert!(service.wait_timeout(std::time::Duration::from_secs(3600)).await.is_none());
    support::ends(service.shutdown())
        .await
        .expect("groups are not stuck")
        .into_result()
        .expect("nobody failed");
}
