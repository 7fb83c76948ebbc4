//! Takes connections, and sends each of their lines to the counter.

use std::{borrow::Cow, io, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use workfleet::worker::{QueueSender, Worker, WorkerContext, WorkerError};

use crate::words::Line;

/// The line that makes this worker fail, to see it restarted.
const FAIL: &str = "fail";

/// What is longer is cut.
const LINE_LIMIT_BYTES: u64 = 64 * 1024;

/// How many clients are served at a time; more wait to be accepted.
const MOST_CLIENTS: usize = 64;

pub(crate) struct Intake {
    listener: Arc<TcpListener>,
    lines: QueueSender<Line>,
}

impl Intake {
    pub(crate) fn new(listener: Arc<TcpListener>, lines: QueueSender<Line>) -> Self {
        Self { listener, lines }
    }
}

impl Worker for Intake {
    fn name(&self) -> Cow<'static, str> {
        "intake".into()
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        // Dropped at the end, and every client with it.
        let mut clients: JoinSet<io::Result<()>> = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = cx.stopping() => return Ok(()),
                Some(client) = clients.join_next() => client??,
                accepted = self.listener.accept(), if clients.len() < MOST_CLIENTS => {
                    clients.spawn(serve(accepted?.0, self.lines.clone()));
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, lines: QueueSender<Line>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut bytes = Vec::new();
        // What a client does is its own matter: it ends its connection, not the service.
        let Ok(1..) = (&mut stream).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut bytes).await else {
            return Ok(());
        };
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if line == FAIL {
            return Err(io::Error::other("told to fail"));
        }
        // If the counter has stopped, so will this.
        if lines.send_wait(Line(line)).await.is_err() {
            return Ok(());
        }
    }
}
