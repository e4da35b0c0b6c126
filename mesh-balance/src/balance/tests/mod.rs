use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use meshkit_core::{Backoff, Cause, Dice, Endpoint, Error, Ratio, Update};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, yield_now},
    time::{Instant, sleep, timeout},
};
use tokio_test::{assert_pending, assert_ready, task};
use tower::ServiceExt;
use tower_service::Service;

use super::{Balance, Config};
use crate::{
    accrual,
    observe::{Gate, Observe},
    track,
    zone::Preference,
};

mod breakers;
mod lifetime;
mod lost;
mod picking;
mod waiting;

const FAILFAST: Duration = Duration::from_secs(3);

/// What the endpoints of a test do, and what was done to them.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    unready: HashSet<u16>,
    waiting: Vec<Waker>,
    latency: HashMap<u16, Duration>,
    failing: HashSet<u16>,
    broken: HashSet<u16>,
    served: HashMap<u16, usize>,
    made: HashMap<u16, usize>,
}

impl World {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    fn ready(&self, port: u16, ready: bool) {
        let waiting = self.with(|w| {
            if ready {
                w.unready.remove(&port)
            } else {
                w.unready.insert(port)
            };
            std::mem::take(&mut w.waiting)
        });
        waiting.into_iter().for_each(Waker::wake);
    }

    fn slow(&self, millis: impl IntoIterator<Item = (u16, u64)>) {
        self.with(|w| w.latency.extend(millis.into_iter().map(|(port, ms)| (port, Duration::from_millis(ms)))));
    }

    fn served(&self, port: u16) -> usize {
        self.with(|w| w.served.get(&port).copied().unwrap_or(0))
    }

    fn balance(&self, config: Config) -> (Balance<Fake, track::Connect>, mpsc::UnboundedSender<Update>, JoinHandle<()>) {
        let world = self.clone();
        let make = move |endpoint: Arc<Endpoint>| {
            let port = endpoint.addr.port();
            world.with(|w| *w.made.entry(port).or_default() += 1);
            Fake { port, world: world.clone(), ready: false }
        };
        let (balance, driver) = Balance::connect(config, make);
        let (updates, receiver) = mpsc::unbounded_channel();
        (balance, updates, tokio::spawn(driver.run(Updates(receiver))))
    }
}

struct Updates(mpsc::UnboundedReceiver<Update>);

impl Stream for Updates {
    type Item = Update;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        self.0.poll_recv(cx)
    }
}

struct Fake {
    port: u16,
    world: World,
    ready: bool,
}

impl Clone for Fake {
    fn clone(&self) -> Self {
        Self { port: self.port, world: self.world.clone(), ready: false }
    }
}

impl Service<()> for Fake {
    type Response = u16;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<u16, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let port = self.port;
        let polled = self.world.with(|w| {
            if w.broken.remove(&port) {
                Poll::Ready(Err(Error::new(Cause::Io)))
            } else if w.unready.contains(&port) {
                w.waiting.push(cx.waker().clone());
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            }
        });
        self.ready = matches!(polled, Poll::Ready(Ok(())));
        polled
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        let port = self.port;
        let (latency, fails) = self.world.with(|w| {
            *w.served.entry(port).or_default() += 1;
            (w.latency.get(&port).copied().unwrap_or_default(), w.failing.contains(&port))
        });
        Box::pin(async move {
            if !latency.is_zero() {
                sleep(latency).await;
            }
            if fails { Err(Error::new(Cause::Io)) } else { Ok(port) }
        })
    }
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::new(([127, 0, 0, 1], port).into())
}

fn add(ports: impl IntoIterator<Item = u16>) -> Update {
    Update::Add(ports.into_iter().map(endpoint).collect())
}

/// Lets the driver do what it has to.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

fn consecutive(max: u32) -> accrual::Config {
    accrual::Config::consecutive(max, Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.0).unwrap())
}
