//! How much a program does that has nothing to do, watched from outside.
//!
//! The program says `ready` on standard output and waits until its standard input ends. In between, the processor
//! time and the wake-ups of all its threads and of all its descendants' are counted.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::Program;
use crate::error::Error;
use crate::floors::socket::Peer;
use crate::interrupt;
use crate::procfs::Usage;

const READY: &str = "ready";
/// What was busy until now calms down.
const SETTLING: Duration = Duration::from_millis(300);
const WATCHED: Duration = Duration::from_secs(2);

/// What a program and its descendants did in a second, on average.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idleness {
    pub(crate) cpu_ms_per_second: f64,
    pub(crate) wakeups_per_second: f64,
}

/// For the program that is watched: it is ready and from now on does nothing, until it is told to end.
pub(crate) fn say_ready_and_wait() -> Result<(), Error> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{READY}").and_then(|()| stdout.flush()).map_err(Error::io("say that it is ready"))?;
    io::stdin().read_to_end(&mut Vec::new()).map_err(Error::io("wait for the end of standard input"))?;
    Ok(())
}

/// The floor: processes that wait for a socket, and one that waits for its standard input.
pub(crate) fn stay_with_peers(count: usize) -> Result<(), Error> {
    let peers = (0..count).map(|_| Peer::start()).collect::<Result<Vec<_>, _>>()?;
    say_ready_and_wait()?;
    drop(peers);
    Ok(())
}

/// Watches the program, which has at least so many threads in all.
pub(crate) fn watch(program: &Program, threads: usize) -> Result<Idleness, Error> {
    interrupt::check()?;
    let mut child = program.spawn_attended()?;
    let Some(stdout) = child.stdout.take() else {
        return Err(Error::Wrong("the program has no standard output".to_owned()));
    };
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    stdout.read_line(&mut line).map_err(Error::io("read what the program says"))?;
    let idleness = if line.trim_end() == READY { Some(observe(child.id(), threads)) } else { None };
    // This closes its standard input first.
    let finished = child.wait_with_output().map_err(Error::io("wait for the program"))?;
    interrupt::check()?;
    match idleness {
        Some(idleness) if finished.status.success() => idleness,
        _ => Err(program.ended(&finished)),
    }
}

fn observe(root: u32, threads: usize) -> Result<Idleness, Error> {
    pause(SETTLING);
    let started = Instant::now();
    let before = Usage::of_tree(root)?;
    pause(WATCHED);
    let after = Usage::of_tree(root)?;
    let took = started.elapsed().as_secs_f64();
    if after.threads() < threads {
        return Err(Error::Wrong(format!("only {} threads were idle, of {threads}", after.threads())));
    }
    let (cpu_ns, wakeups) = after.since(&before);
    Ok(Idleness { cpu_ms_per_second: cpu_ns as f64 / 1e6 / took, wakeups_per_second: wakeups as f64 / took })
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "time passes: that is what is watched")]
    thread::sleep(time);
}
