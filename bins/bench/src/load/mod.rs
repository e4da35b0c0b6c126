//! The load generator: closed loop or at a fixed rate, one thread.
//!
//! At a fixed rate, requests are due at times that do not depend on the responses, and a request's latency counts from when it was due. One that
//! had to wait for a free connection has waited: nothing hides behind coordinated omission (Tene, *How NOT to Measure Latency*).

mod bytes;
mod http1;
mod http2;
mod idle;
mod pace;
mod tally;

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use self::pace::Pace;
pub use self::{
    idle::Idle,
    pace::Arrival,
    tally::{Outcome, Tally},
};

/// How long one request may take before it counts as failed.
const LIMIT: Duration = Duration::from_secs(10);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// `GET` by HTTP/1.1.
    Http1,
    /// `GET` by HTTP/2.
    Http2,
    /// A unary call.
    Grpc,
    /// A new TCP connection for one byte.
    Connect,
    /// Bytes to the server.
    Upload,
    /// Bytes from the server.
    Download,
}

/// A load, as it will be.
#[derive(Clone, Debug)]
pub struct Load {
    /// What is sent.
    pub protocol: Protocol,
    /// Where to.
    pub target: SocketAddr,
    /// What the requests name as their host.
    pub authority: String,
    /// What they ask for.
    pub path: String,
    /// How many connections.
    pub connections: usize,
    /// How many requests at once on each, where the protocol can.
    pub streams: usize,
    /// When requests are sent.
    pub arrival: Arrival,
}

/// A load that runs until it is dropped.
#[derive(Debug)]
pub struct Running {
    tally: Rc<RefCell<Tally>>,
    tasks: JoinSet<()>,
}

/// What one connection's task has.
#[derive(Clone)]
struct Worker {
    load: Rc<Load>,
    pace: Rc<Pace>,
    tally: Rc<RefCell<Tally>>,
}

impl Load {
    /// Starts it. Needs a [`LocalSet`](tokio::task::LocalSet) around it.
    ///
    /// # Errors
    /// The kernel gives no timer.
    pub fn start(self) -> io::Result<Running> {
        let tally = Rc::new(RefCell::new(Tally::default()));
        let mut tasks = JoinSet::new();
        let pace = Rc::new(Pace::new(self.arrival));
        if let Some(ticker) = Pace::ticker(&pace)? {
            tasks.spawn_local(ticker);
        }
        let load = Rc::new(self);
        for _ in 0..load.connections {
            let worker = Worker { load: Rc::clone(&load), pace: Rc::clone(&pace), tally: Rc::clone(&tally) };
            match load.protocol {
                Protocol::Http1 => tasks.spawn_local(worker.repeat(http1::run)),
                Protocol::Http2 | Protocol::Grpc => tasks.spawn_local(worker.repeat(http2::run)),
                Protocol::Connect => tasks.spawn_local(worker.repeat(bytes::connect)),
                Protocol::Upload => tasks.spawn_local(worker.repeat(bytes::upload)),
                Protocol::Download => tasks.spawn_local(worker.repeat(bytes::download)),
            };
        }
        Ok(Running { tally, tasks })
    }
}

impl Running {
    /// What happened since the start or since the last call.
    #[must_use]
    pub fn take(&self) -> Tally {
        self.tally.replace(Tally::default()).ended()
    }

    /// Ends it, and waits until its connections are closed.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Worker {
    /// A connection that broke is a failed request, and is replaced.
    async fn repeat<F: Future<Output = io::Result<()>>>(self, run: impl Fn(Self) -> F) {
        loop {
            if run(self.clone()).await.is_err() {
                self.tally.borrow_mut().fail();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let stream = within(TcpStream::connect(self.load.target)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The outcome, or that it took too long.
async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, what).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
