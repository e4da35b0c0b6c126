//! The endpoints that a balancer holds, against the set that discovery has described.

use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt as _;
use meshkit_balance::{Balance, Config, digest, track, updates, zone::Preference};
use meshkit_core::{Cause, Endpoint, Error, ProtocolHint, Update, endpoint::Locality};
use tokio::sync::mpsc;
use tower::Service;

use crate::{Input, Verdict, drive::drive};

const ADDRS: u8 = 8;
/// Longer than any run: nothing here is about time.
const FAILFAST: Duration = Duration::from_secs(3_600);
/// Requests that may wait.
const QUEUE_CAPACITY: usize = 4;
/// Updates and requests: more say nothing new.
const MAX_EVENTS: usize = 256;

/// What the endpoints do, told from outside.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    busy: HashSet<SocketAddr>,
    waiting: Vec<Waker>,
}

/// An endpoint's service: ready unless it is busy. It answers with its address, or never.
struct Fake {
    endpoint: Arc<Endpoint>,
    world: World,
    polled_ready: bool,
}

/// Whether a request is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Answer,
    Hang,
}

type Held = Pin<Box<dyn Future<Output = Result<Arc<Endpoint>, Error>> + Send>>;

/// The first byte is a setting, then each event is an update, a change of an endpoint's mind, or a request. After each of them the balancer holds exactly
/// what discovery has described, and a request goes to an endpoint that exists, takes traffic and is ready, if there is one.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime of one thread needs nothing");
    let _entered = runtime.enter();
    let setting = input.byte();
    let config = Config::default().seed(u64::from(setting)).queue_capacity(QUEUE_CAPACITY).failfast(FAILFAST);
    let config = if setting & 1 == 0 { config } else { config.zone(Preference::default()) };
    let world = World::default();
    let make = {
        let world = world.clone();
        move |endpoint| Fake { endpoint, world: world.clone(), polled_ready: false }
    };
    let (mut balance, driver) = Balance::connect(config, make);
    let (sender, receiver) = updates::channel(1);
    let mut driver = Box::pin(driver.run(receiver));
    let mut truth = BTreeMap::new();
    let mut held: Vec<Held> = Vec::new();
    let mut answered = false;
    for _ in 0..MAX_EVENTS {
        if input.is_empty() {
            break;
        }
        match input.below(4) {
            0 => update(&mut input, &sender, &mut truth),
            1 => world.turn(addr(input.byte()), input.flag()),
            2 if !held.is_empty() => drop(held.swap_remove(input.below(held.len()))),
            _ => {
                let ask = input.pick(&[Ask::Answer, Ask::Hang]);
                answered |= request(&mut balance, ask, &truth, &world, &mut held);
            }
        }
        drive(driver.as_mut());
        check(&balance, &truth, &world, held.len());
    }
    Verdict::when(answered)
}

fn addr(n: u8) -> SocketAddr {
    ([10, 0, 0, n % ADDRS], 80).into()
}

fn endpoint(input: &mut Input<'_>) -> Endpoint {
    let endpoint = Endpoint::new(addr(input.byte())).weight(input.pick(&[10_000, 1, 0]));
    let endpoint = endpoint.locality(input.pick(&[Locality::Unknown, Locality::Local, Locality::Remote]));
    endpoint.protocol(input.pick(&[ProtocolHint::Unknown, ProtocolHint::Http2]))
}

/// Tells the balancer, and does the same to the truth.
fn update(input: &mut Input<'_>, sender: &mpsc::Sender<Update>, truth: &mut BTreeMap<SocketAddr, Endpoint>) {
    let kind = input.below(4);
    let count = input.below(usize::from(ADDRS));
    let update = match kind {
        0 => Update::Add((0..count).map(|_| endpoint(input)).collect()),
        1 => Update::Remove((0..count).map(|_| addr(input.byte())).collect()),
        2 => Update::Reset((0..count).map(|_| endpoint(input)).collect()),
        _ => Update::DoesNotExist,
    };
    match &update {
        Update::Add(_) => {}
        Update::Remove(gone) => truth.retain(|addr, _| !gone.contains(addr)),
        Update::Reset(_) | Update::DoesNotExist => truth.clear(),
    }
    truth.extend(update.endpoints().iter().map(|endpoint| (endpoint.addr, endpoint.clone())));
    sender.try_send(update).expect("the driver takes each update before the next");
}

/// Sends a request; a hanging one goes on being held. Returns whether one was answered.
fn request(
    balance: &mut Balance<Fake, track::Connect>,
    ask: Ask,
    truth: &BTreeMap<SocketAddr, Endpoint>,
    world: &World,
    held: &mut Vec<Held>,
) -> bool {
    let takes = |endpoint: &Endpoint| endpoint.weight > 0 && !world.is_busy(endpoint.addr);
    let mut response: Held = Box::pin(balance.call(ask));
    match (&mut response).now_or_never() {
        Some(Ok(endpoint)) => {
            assert!(ask == Ask::Answer);
            assert_eq!(truth.get(&endpoint.addr), Some(&*endpoint), "an endpoint that is gone");
            // It may have become busy since it said that it is ready: then it said so for this request.
            assert!(endpoint.weight > 0, "{endpoint:?} takes nothing");
            true
        }
        Some(Err(error)) => {
            assert_eq!(*error.cause(), Cause::LoadShed, "{error}");
            assert_eq!(balance.queue_length(), QUEUE_CAPACITY, "{error}");
            assert!(!truth.values().any(takes), "{error}, with {truth:?}");
            false
        }
        None => {
            assert!(ask == Ask::Hang || !truth.values().any(takes), "not answered, with {truth:?}");
            if ask == Ask::Hang {
                held.push(response);
            }
            false
        }
    }
}

fn check(balance: &Balance<Fake, track::Connect>, truth: &BTreeMap<SocketAddr, Endpoint>, world: &World, held_count: usize) {
    assert_eq!(balance.digest(), digest(truth.values()), "{truth:?}");
    let counts = balance.endpoints();
    let idle = truth.values().filter(|endpoint| endpoint.weight == 0).count();
    let able = truth.values().filter(|endpoint| endpoint.weight > 0 && !world.is_busy(endpoint.addr)).count();
    assert_eq!(counts.ready + counts.pending + counts.ejected + counts.idle, truth.len(), "{counts:?} {truth:?}");
    assert_eq!((counts.idle, counts.ejected), (idle, 0), "{counts:?} {truth:?}");
    // One that became busy since is found to be so when it is needed.
    assert!(counts.ready >= able, "{counts:?} {truth:?}");
    assert!(balance.pending_count() + balance.queue_length() <= held_count, "{held_count} requests are held");
}

impl World {
    fn is_busy(&self, addr: SocketAddr) -> bool {
        self.0.lock().expect("one thread").busy.contains(&addr)
    }

    fn turn(&self, addr: SocketAddr, busy: bool) {
        let mut inner = self.0.lock().expect("one thread");
        if busy {
            inner.busy.insert(addr);
            return;
        }
        inner.busy.remove(&addr);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Clone for Fake {
    fn clone(&self) -> Self {
        Self { endpoint: Arc::clone(&self.endpoint), world: self.world.clone(), polled_ready: false }
    }
}

impl Service<Ask> for Fake {
    type Response = Arc<Endpoint>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Arc<Endpoint>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut inner = self.world.0.lock().expect("one thread");
        self.polled_ready = !inner.busy.contains(&self.endpoint.addr);
        if self.polled_ready {
            return Poll::Ready(Ok(()));
        }
        inner.waiting.push(cx.waker().clone());
        Poll::Pending
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        assert!(std::mem::take(&mut self.polled_ready), "called without having been polled ready");
        let endpoint = Arc::clone(&self.endpoint);
        match ask {
            Ask::Answer => Box::pin(async { Ok(endpoint) }),
            Ask::Hang => Box::pin(std::future::pending()),
        }
    }
}
