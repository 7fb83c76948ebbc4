//! Starting a worker process, and seeing it die.
//!
//! Invariants:
//! - `std::process::Command` is used so that it takes `posix_spawn`: no `pre_exec`, or the cost of a start would grow
//!   with this process's memory.
//! - A child leads a process group of its own, so that the processes that its tasks start can be killed with it. The
//!   group is killed before the child is reaped: until then no other group can get its number.
//! - A child inherits three descriptors: the socket as standard input, and its output, or `/dev/null` while
//!   that is held back.

use std::{
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::oneshot;

use super::{held_stdout::HeldStdout, program::Program, reap};
use crate::{
    failure::ExitStatus,
    guardian::{Guardian, Ward},
    markers,
    sys::{naming::Naming, socket, status_page::StatusPage},
};

/// The name of a thread that waits for processes which were killed.
const REAPER: &str = "workfleet-reap";

/// A process that was started, and our ends of what connects us with it.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) process: Process,
    pub(super) socket: OwnedFd,
    pub(super) status_page: StatusPage,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// Starts a worker process; `welcome` is the first thing it will read, with the output that was held back and the file of the
/// values for its sessions, once the guardian knows its process. Blocks for about a millisecond.
pub(super) fn spawn(
    program: &Program,
    guardian: &Arc<Guardian>,
    pipe_stdout: bool,
    held_stdout: Option<HeldStdout>,
    welcome: &[u8],
    session_values: Option<&OwnedFd>,
) -> io::Result<Spawned> {
    let (ours, theirs) = UnixStream::pair().naming("socketpair")?;
    ours.set_nonblocking(true).naming("ioctl(FIONBIO) of a socket")?;
    socket::refuse_sigpipe(&ours)?;
    let (status_page, page_file) = StatusPage::create()?;
    let marker = markers::of_socket(&theirs)?.ok_or_else(|| io::Error::other("a socket that is none"))?;
    let ward = guardian.announce(&marker)?;

    let mut command = program.command();
    command
        .env(markers::WORKER, marker)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(match (&held_stdout, pipe_stdout) {
            (Some(_), _) => Stdio::null(),
            (None, true) => Stdio::piped(),
            (None, false) => Stdio::inherit(),
        })
        .stderr(Stdio::piped());
    let mut child = program.named(command.spawn())?;
    // With it goes our copy of the worker's end, so that its death is the end of the connection.
    drop(command);
    let piped_stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    let process = Process::new(child, ward)?;
    // Nothing runs for this manager in a process that the guardian does not know.
    let theirs = held_stdout.as_ref().map(HeldStdout::theirs);
    let descriptors: Vec<_> =
        [page_file.as_fd()].into_iter().chain(theirs).chain(session_values.map(AsFd::as_fd)).collect();
    match socket::send_with_descriptors(&ours, welcome, &descriptors) {
        // It has died already, which shows when its greeting is waited for.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        sent => sent.naming("sendmsg to a worker")?,
    }
    let stdout = held_stdout.map_or(piped_stdout, HeldStdout::into_ours);
    Ok(Spawned { process, socket: ours.into(), status_page, stdout, stderr })
}

/// A child process, killed with its group and reaped at the latest when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    /// None once it is reaped, or left to a thread that waits for it.
    child: Option<Child>,
    pid: Pid,
    death: death::ProcessEnd,
    /// The guardian knows it for as long as it may live.
    _ward: Ward,
}

impl Process {
    fn new(mut child: Child, ward: Ward) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        match death::ProcessEnd::new(pid) {
            Ok(death) => {
                let process = Self { child: Some(child), pid, death, _ward: ward };
                process.death.tell(&process._ward, process.id())?;
                Ok(process)
            }
            Err(error) => {
                // It cannot be watched, so it must not live. Errors mean that it is gone, or that somebody else has reaped it.
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Registers with the runtime, before the first [`died`](Self::died).
    pub(super) fn register(&mut self) -> io::Result<()> {
        self.death.register()
    }

    /// Resolves when the process is dead. This does not reap it.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing.
    pub(super) async fn died(&mut self) {
        self.death.wait().await;
    }

    /// The signal that has stopped the process, if it is stopped now.
    pub(super) fn stopped_by(&self) -> Option<i32> {
        self.child.as_ref()?;
        // What is only looked at is left to other code of this program that waits for children.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that somebody else in this program has reaped it.
        waitid(WaitId::Pid(self.pid), options).ok().flatten()?.stopping_signal()
    }

    /// Kills the process and all that is left of its group, waits for them at most this long, and reaps them.
    pub(super) async fn reap(&mut self, limit: Duration) -> ExitStatus {
        self.kill_group();
        let gone = async {
            self.died().await;
            let status = reap::status_of(self.pid);
            self.reap_rest().await;
            status
        };
        match tokio::time::timeout(limit, gone).await {
            Ok(status) => {
                self.forget_if_reaped();
                status
            }
            // The kernel holds one of them in a call that nothing interrupts. It is waited for where this is dropped.
            Err(_) => reap::status_of(self.pid),
        }
    }

    /// Reaps what the dead process has left to this one.
    ///
    /// # Cancel safety
    /// The processes are waited for and reaped although this future is dropped.
    async fn reap_rest(&self) {
        if self.child.is_none() || !reap::adopts() {
            return;
        }
        let (leader, (tell, told)) = (self.pid, oneshot::channel());
        let waiter = thread::Builder::new().name(REAPER.into()).spawn(move || {
            reap::rest_of_group(leader);
            // An error means that it took too long, and nobody waits any more.
            let _ = tell.send(());
        });
        match waiter {
            // An error means that the thread has ended.
            Ok(_) => drop(told.await),
            Err(error) => {
                workfleet_notice::error!(pid = self.id(), %error, "what a dead worker has left could not be waited for");
            }
        }
    }

    /// Not once it is reaped: the number may then be another's.
    fn kill_group(&self) {
        if self.child.is_some() {
            if !self.death.kill_group() {
                // An error means that nobody is left in the group.
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
            // The process itself may have gone to another.
            self.death.kill();
        }
    }

    /// Reaps the process, if it is dead.
    fn forget_if_reaped(&mut self) {
        if let Some(child) = &mut self.child
            // An error means that somebody else in this program has reaped it.
            && !matches!(child.try_wait(), Ok(None))
        {
            self.child = None;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
        let adopts = reap::adopts();
        if !adopts {
            self.forget_if_reaped();
        }
        if let Some(mut child) = self.child.take() {
            // It was killed, and whoever waits for it to go must not hold up anybody.
            let leader = self.pid;
            let waiter = thread::Builder::new().name(REAPER.into()).spawn(move || {
                if adopts {
                    reap::await_death(leader);
                    reap::rest_of_group(leader);
                }
                child.wait()
            });
            if let Err(error) = waiter {
                workfleet_notice::error!(pid = self.id(), %error, "a dead worker could not be waited for");
            }
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod death {
    //! A pidfd becomes readable when its process is dead.

    use std::{io, os::fd::OwnedFd, sync::Arc};

    use rustix::{
        io::Errno,
        process::{Pid, Signal, pidfd_send_signal},
    };
    use tokio::io::Interest;

    use crate::{
        guardian::Ward,
        sys::{
            pidfd,
            readiness::{PolledFd, register},
        },
    };

    #[derive(Debug)]
    pub(super) enum ProcessEnd {
        Open(Option<Arc<OwnedFd>>),
        Registered(PolledFd),
    }

    impl ProcessEnd {
        pub(super) fn new(pid: Pid) -> io::Result<Self> {
            Ok(Self::Open(Some(Arc::new(pidfd::open(pid)?))))
        }

        pub(super) fn register(&mut self) -> io::Result<()> {
            if let Self::Open(descriptor) = self
                && let Some(descriptor) = descriptor.take()
            {
                *self = Self::Registered(register(descriptor, Interest::READABLE)?);
            }
            Ok(())
        }

        /// Tells the guardian which process it is.
        pub(super) fn tell(&self, ward: &Ward, pid: u32) -> io::Result<()> {
            match self.descriptor() {
                Some(descriptor) => ward.register(pid, Arc::clone(descriptor)),
                None => Ok(()),
            }
        }

        /// Kills the group of that very process, even if its number was reused. False if the system cannot.
        pub(super) fn kill_group(&self) -> bool {
            // Any other error means that nobody is left in the group.
            self.descriptor().is_some_and(|descriptor| pidfd::kill_group(descriptor) != Err(Errno::INVAL))
        }

        /// Kills that very process, also if another has its number by now.
        pub(super) fn kill(&self) {
            if let Some(descriptor) = self.descriptor() {
                // An error means that it is dead.
                let _ = pidfd_send_signal(descriptor, Signal::KILL);
            }
        }

        fn descriptor(&self) -> Option<&Arc<OwnedFd>> {
            match self {
                Self::Registered(descriptor) => Some(descriptor.get_ref()),
                Self::Open(descriptor) => descriptor.as_ref(),
            }
        }

        pub(super) async fn wait(&self) {
            match self {
                Self::Registered(descriptor) => {
                    // An error means that the runtime is going: then nobody waits any more.
                    let _ = descriptor.readable().await;
                }
                Self::Open(_) => std::future::pending().await,
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod death {
    //! A thread waits for each process, without reaping it.

    use std::{io, thread};

    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
    use tokio::sync::watch;

    use crate::{guardian::Ward, sys::naming::Naming};

    #[derive(Debug)]
    pub(super) struct ProcessEnd {
        pid: Pid,
        dead: watch::Receiver<bool>,
    }

    impl ProcessEnd {
        pub(super) fn new(pid: Pid) -> io::Result<Self> {
            let (tell, dead) = watch::channel(false);
            let waiter = thread::Builder::new().name("workfleet-wait".into()).spawn(move || {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
                tell.send_replace(true);
            });
            waiter.naming("starting a thread")?;
            Ok(Self { pid, dead })
        }

        pub(super) fn register(&mut self) -> io::Result<()> {
            Ok(())
        }

        /// There is no guardian here.
        #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "it fails where there is one")]
        pub(super) fn tell(&self, _ward: &Ward, _pid: u32) -> io::Result<()> {
            Ok(())
        }

        /// Not by a descriptor: there is none.
        #[expect(clippy::unused_self, reason = "it is used where there is one")]
        pub(super) fn kill_group(&self) -> bool {
            false
        }

        /// Kills the process, which is not reaped yet: its number is its own.
        pub(super) fn kill(&self) {
            // An error means that it is dead.
            let _ = kill_process(self.pid, Signal::KILL);
        }

        pub(super) async fn wait(&self) {
            // An error means that the thread is gone, which ends only after the process.
            let _ = self.dead.clone().wait_for(|dead| *dead).await;
        }
    }
}
