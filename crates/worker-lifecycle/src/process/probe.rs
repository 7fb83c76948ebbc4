//! Readiness and liveness over HTTP, for an orchestrator or a load balancer.
//!
//! Invariants, for any input:
//! - A connection lasts at most [`CONNECTION_LIMIT`], and there are at most [`MOST_CONNECTIONS`]. A new connection replaces the
//!   oldest. So a client that holds connections open keeps no other client out.
//! - At most [`HEAD_LIMIT_BYTES`] of a request are kept, and no body is.

use std::{borrow::Cow, collections::VecDeque, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    runtime::Handle,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::json;
use crate::{
    context::WorkerContext, error::WorkerError, panic::Caught, reference::WorkerRef, worker::Worker,
};

const MOST_CONNECTIONS: usize = 32;
const CONNECTION_LIMIT: Duration = Duration::from_secs(2);
const HEAD_LIMIT_BYTES: usize = 4096;
/// How much of what a client still sends is read after the answer, so that the answer is not lost with a reset.
const LINGER_LIMIT_BYTES: usize = 64 * 1024;
/// How long to wait when a connection cannot be accepted: most often, because there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A worker that answers `GET /livez`, `/readyz`, `/status` and `/status.json` over HTTP.
///
/// - `/livez`: 200 until the watched worker has ended, then 503.
/// - `/readyz`: 200 while it is [ready](crate::Status::ready), with all its children; else 503.
/// - `/status`: its [`Status`](crate::Status), a line for each worker.
/// - `/status.json`: the same as a JSON object with the fields of [`Status`](crate::Status) and the children within it. The
///   `reason` is a text, `since` a time as in RFC 3339, in UTC, and `lasted_seconds` a number.
///
/// As the child of a group it watches the outermost group; [`with_watched`](Self::with_watched) sets another worker. To answer
/// while the rest of its group stops, give it the lowest phase and stop in
/// [reverse phases](crate::StopOrder::ReversePhases). It is made for a trusted network and holds its own against hostile
/// clients: connections, their time and their memory are bounded.
///
/// ```
/// use workfleet_worker_lifecycle::{Probe, WorkerContext, Workers, start};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let probe = Probe::bind("127.0.0.1:0").await?;
/// println!("curl http://{}/readyz", probe.local_addr()?);
/// let service = Workers::new("service")
///     .with_child(|cx: WorkerContext| async move { cx.stopping().await })
///     .with_child(probe);
/// let service = start(service).await?;
/// service.shutdown().await?.into_result()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Probe {
    listener: TcpListener,
    watched: Option<WorkerRef>,
}

impl Probe {
    /// Listens on an address.
    ///
    /// # Errors
    /// The address is none, or cannot be listened on. [`io::ErrorKind::Unsupported`]: there is no tokio runtime here, or
    /// one without IO.
    ///
    /// # Cancel safety
    /// Dropping the future listens on nothing.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let unsupported = |what| io::Error::new(io::ErrorKind::Unsupported, what);
        Handle::try_current().map_err(|_| unsupported("a probe needs a tokio runtime to listen in"))?;
        let listening = Caught::new(TcpListener::bind(address)).await;
        let listening = listening.map_err(|_| {
            unsupported("a probe needs a tokio runtime with IO: call `enable_io` or `enable_all` on the runtime's builder")
        })?;
        Ok(Self { listener: listening?, watched: None })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Watches this worker.
    #[doc(alias = "watching")]
    #[must_use]
    pub fn with_watched(mut self, worker: WorkerRef) -> Self {
        self.watched = Some(worker);
        self
    }
}

impl Worker for Probe {
    fn name(&self) -> Cow<'static, str> {
        "probe".into()
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        let watched = self.watched.clone().unwrap_or_else(|| cx.root());
        // Dropped at the end, and every connection with it.
        let mut connections = Connections::default();
        while let Some(accepted) = cx.until_stopping(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => connections.admit(stream, watched.clone()),
                Err(error) => {
                    workfleet_notice::warn!("cannot accept a connection: {error}");
                    // The loop looks why it has ended.
                    let _ = cx.until_stopping(tokio::time::sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// From the oldest to the newest. Some may have ended.
    order: VecDeque<AbortHandle>,
}

impl Connections {
    fn admit(&mut self, stream: TcpStream, watched: WorkerRef) {
        // One that panicked has told so on standard error.
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|connection| !connection.is_finished());
        if self.order.len() >= MOST_CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        let connection = self.tasks.spawn(async move {
            // Whatever ends a connection, it concerns its client alone.
            let _ = timeout(CONNECTION_LIMIT, serve(stream, &watched)).await;
        });
        self.order.push_back(connection);
    }
}

async fn serve(mut stream: TcpStream, watched: &WorkerRef) -> io::Result<()> {
    let mut head = Vec::new();
    let response = match read_head(&mut stream, &mut head).await? {
        Head::Whole => respond(&head, watched),
        Head::TooLong => Response::empty("431 Request Header Fields Too Large"),
        Head::Cut => return Ok(()),
    };
    stream.write_all(response.encode().as_bytes()).await?;
    stream.shutdown().await?;
    linger(&mut stream).await
}

enum Head {
    Whole,
    TooLong,
    /// The client has hung up.
    Cut,
}

/// Reads a request up to the empty line after its headers.
async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<Head> {
    let mut chunk = [0; 512];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(Head::Cut);
        }
        head.extend_from_slice(&chunk[..read]);
        let is_end = |window: &[u8]| window.ends_with(b"\n\n") || window == b"\n\r\n";
        // What ends in this chunk may have begun in the one before.
        let begin = head.len().saturating_sub(read + 3);
        if head[begin..].windows(3).any(is_end) || head == b"\n\n" {
            return Ok(Head::Whole);
        }
        if head.len() >= HEAD_LIMIT_BYTES {
            return Ok(Head::TooLong);
        }
    }
}

/// Reads and forgets what the client still sends, up to a limit.
async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    let mut forgotten = [0; 512];
    let mut left = LINGER_LIMIT_BYTES;
    while left > 0 {
        match stream.read(&mut forgotten).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
    /// HEAD has none, but its length is told.
    has_body: bool,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

impl Response {
    fn empty(status: &'static str) -> Self {
        Self { status, content_type: TEXT, body: String::new(), has_body: true }
    }

    fn encode(&self) -> String {
        let body = if self.has_body { self.body.as_str() } else { "" };
        format!(
            "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.status,
            self.content_type,
            self.body.len()
        )
    }
}

fn respond(head: &[u8], watched: &WorkerRef) -> Response {
    let bad = || Response::empty("400 Bad Request");
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(line) = str::from_utf8(line) else { return bad() };
    let mut words = line.trim_end_matches('\r').split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return bad();
    };
    if !version.starts_with("HTTP/1.") {
        return bad();
    }
    let path = target.split('?').next().unwrap_or_default();
    let check = |holds: bool| {
        if holds {
            ("200 OK", "ok\n".to_owned())
        } else {
            ("503 Service Unavailable", format!("{}\n", watched.status()))
        }
    };
    let mut content_type = TEXT;
    let (status, body) = match (method, path) {
        ("GET" | "HEAD", "/livez") => check(!watched.state().is_stopped()),
        ("GET" | "HEAD", "/readyz") => check(watched.status().ready),
        ("GET" | "HEAD", "/status") => ("200 OK", format!("{}\n", watched.status())),
        ("GET" | "HEAD", "/status.json") => {
            content_type = JSON;
            ("200 OK", format!("{}\n", json::of_status(&watched.status())))
        }
        ("GET" | "HEAD", _) => ("404 Not Found", String::new()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    Response { status, content_type, body, has_body: method != "HEAD" }
}
