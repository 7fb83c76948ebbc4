//! A service on tokio that gives its hard work to worker processes: who sends it a line with a number is told how many
//! primes there are below it.
//!
//! ```sh
//! cargo run --release --example attach-to-async -- 127.0.0.1:7000
//! printf '1000\n100000000\n' | nc 127.0.0.1 7000
//! ```
//!
//! The first Ctrl-C lets the requests that run come to their end and answers them; the second kills the workers.

use std::{env, error::Error, sync::Arc};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use signal_hook::{consts::SIGINT, low_level::pipe};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};
use workfleet::{prelude::*, task::MessageStream};

/// Counts the primes below a limit.
#[derive(Debug, Serialize, Deserialize)]
struct Primes {
    below: u64,
}

/// A count has begun.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    below: u64,
    worker: String,
}

impl TaskMessage for Begun {
    const NAME: &'static str = "begun";
}

impl TaskSpec for Primes {
    const NAME: &'static str = "primes";
    type Output = usize;
}

impl Task for Primes {
    fn run(self, cx: &TaskContext) -> Result<usize, TaskError> {
        cx.send_message(&Begun { below: self.below, worker: cx.worker().to_owned() })?;
        let mut count = 0;
        for n in 2..self.below {
            cx.check_cancelled()?;
            count += usize::from((2..n).take_while(|d| d * d <= n).all(|d| n % d != 0));
        }
        Ok(count)
    }
}

/// What every connection needs.
struct Service {
    manager: ProcessManager,
}

impl Service {
    /// Answers one line after the other, until the client or the service has enough.
    async fn serve(&self, mut client: TcpStream, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
        let (lines, mut replies) = client.split();
        let mut lines = BufReader::new(lines).lines();
        loop {
            let line = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                line = lines.next_line() => line?,
            };
            let Some(line) = line else { return Ok(()) };
            let reply = self.answer(&line).await.unwrap_or_else(|error| format!("error: {error}"));
            replies.write_all(format!("{reply}\n").as_bytes()).await?;
        }
    }

    async fn answer(&self, line: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
        let handle = self.manager.submit(Primes { below: line.trim().parse()? })?;
        // Dropping this future, with its connection, would not stop the task: `handle.cancel()` would.
        Ok(handle.await?.to_string())
    }
}

/// Tells what the tasks say, until the manager closes.
async fn tell(mut messages: MessageStream<Begun>) {
    while let Some(message) = messages.next().await {
        match message {
            Ok(Message { content: Begun { below, worker }, .. }) => {
                eprintln!("{worker} counts below {below}")
            }
            Err(error) => eprintln!("{error}"),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new().task::<Primes>();
    workfleet::init(&registry); // also inside a runtime: in a worker process this never returns

    let address = env::args().nth(1).ok_or("usage: attach-to-async <address>")?;
    let listener = TcpListener::bind(address).await?;
    let manager = ProcessManager::builder(registry).workers(2).start_async().await?;
    let service = Arc::new(Service { manager });
    println!("listening on {}", listener.local_addr()?);

    // Each Ctrl-C is a byte, which is kept until somebody waits for it.
    let (mut interrupts, interrupt) = UnixStream::pair()?;
    pipe::register(SIGINT, interrupt.into_std()?)?;
    let (stop, stopped) = watch::channel(false);
    // It is there before the first task, and ends with the manager.
    let teller = tokio::spawn(tell(service.manager.message_stream_until_close()));
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted?;
                let (service, stopped) = (Arc::clone(&service), stopped.clone());
                clients.spawn(async move { service.serve(client, stopped).await });
            }
            Some(ended) = clients.join_next() => match ended? {
                Ok(()) => {}
                Err(error) => eprintln!("a client is gone: {error}"),
            },
            interrupted = interrupts.read_u8() => {
                interrupted?;
                break;
            }
        }
    }

    stop.send_replace(true);
    let drained = async { while clients.join_next().await.is_some() {} };
    let policy = tokio::select! {
        () = drained => ClosePolicy::Join,
        interrupted = interrupts.read_u8() => interrupted.map(|_| ClosePolicy::Kill)?,
    };
    // Dropping the manager instead would leave the report to the log, and the workers' end to the background.
    let report = service.manager.close_async(policy).await?;
    teller.await?;
    println!("{report}");
    Ok(())
}
