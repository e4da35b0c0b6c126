use super::*;

#[tokio::test(start_paused = true)]
async fn a_dropped_request_is_pending_no_more_and_costs_its_time() {
    let world = World::default();
    world.with(|w| w.latency.insert(1, Duration::from_secs(60)));
    let (mut svc, updates, _driver) = world.balance(Config::default());
    updates.send(add([1])).unwrap();
    settle().await;
    // Before the first poll nothing has been reserved.
    drop(svc.call(()));
    let pending = |svc: &Balance<Fake, track::Connect>| svc.pending_count();
    assert_eq!(pending(&svc), 0);
    let mut running = task::spawn(svc.call(()));
    assert_pending!(running.poll());
    assert_eq!(pending(&svc), 1);
    sleep(Duration::from_secs(5)).await;
    drop(running);
    assert_eq!(pending(&svc), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_endpoint_service_is_made_anew() {
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default());
    updates.send(add([1])).unwrap();
    settle().await;
    world.with(|w| w.broken.insert(1));
    assert_eq!(svc.call(()).await.unwrap(), 1);
    assert_eq!(world.with(|w| w.made[&1]), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_endpoint_keeps_its_service_and_a_changed_one_its_estimate() {
    let world = World::default();
    let (svc, updates, _driver) = world.balance(Config::default());
    updates.send(add([1])).unwrap();
    updates.send(add([1])).unwrap();
    updates.send(Update::Reset(vec![endpoint(1)])).unwrap();
    settle().await;
    assert_eq!(world.with(|w| w.made[&1]), 1);
    updates.send(Update::Add(vec![endpoint(1).weight(5)])).unwrap();
    settle().await;
    assert_eq!(world.with(|w| w.made[&1]), 2);
    assert_eq!((svc.endpoints().ready, svc.endpoints().pending), (1, 0));
    updates.send(Update::DoesNotExist).unwrap();
    settle().await;
    assert_eq!(svc.endpoints(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_lost_update_is_mended_by_a_reset_and_seen_in_the_digest() {
    let (svc, updates, _driver) = World::default().balance(Config::default());
    let truth = [endpoint(2), endpoint(3)];
    updates.send(add([1, 2])).unwrap();
    // Lost: remove 1, add 3.
    settle().await;
    assert_ne!(svc.digest(), crate::digest(&truth));
    updates.send(Update::Reset(truth.to_vec())).unwrap();
    settle().await;
    assert_eq!(svc.digest(), crate::digest(&truth));
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_the_last_handle_but_not_before_the_last_who_waits() {
    let world = World::default();
    let (mut svc, updates, driver) = world.balance(Config::default());
    let waiting = tokio::spawn(svc.call(()));
    drop(svc);
    settle().await;
    assert!(!driver.is_finished());
    updates.send(add([1])).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
    driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_driver_ready_endpoints_serve_and_nobody_waits_in_vain() {
    let world = World::default();
    let (mut svc, updates, driver) = world.balance(Config::default());
    let waiting = tokio::spawn(svc.call(()));
    settle().await;
    driver.abort();
    assert_eq!(waiting.await.unwrap().unwrap_err().cause(), &Cause::Unexpected);

    let (mut svc2, updates2, driver) = world.balance(Config::default());
    updates2.send(add([1])).unwrap();
    settle().await;
    driver.abort();
    settle().await;
    assert_eq!(svc2.ready().await.unwrap().call(()).await.unwrap(), 1);
    drop(updates);
}

#[tokio::test(start_paused = true)]
async fn an_updates_stream_that_ends_leaves_the_endpoints() {
    let (svc, updates, _driver) = World::default().balance(Config::default());
    updates.send(add([1])).unwrap();
    drop(updates);
    settle().await;
    assert_eq!(svc.oneshot(()).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hammered_pool_never_loses_count() {
    // Endpoints come, go and push back while requests are sent and given up at random.
    let world = World::default();
    let (mut svc, updates, _driver) = world.balance(Config::default().queue_capacity(16).accrual(consecutive(5)));
    let dice = Dice::new(99);
    let mut running = Vec::new();
    for round in 0..2_000u64 {
        let port = 1 + dice.below(6) as u16;
        match dice.below(6) {
            0 => updates.send(add([port])).unwrap(),
            1 => updates.send(Update::Remove(vec![endpoint(port).addr])).unwrap(),
            2 => world.ready(port, dice.hit(Ratio::new(0.7).unwrap())),
            3 => world.slow([(port, round % 40)]),
            _ => running.push(tokio::spawn(timeout(Duration::from_millis(u64::from(dice.below(50))), svc.call(())))),
        }
        if dice.below(4) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    for run in running {
        let _ = run.await.unwrap();
    }
    (1..=6).for_each(|port| world.ready(port, true));
    updates.send(Update::Reset((1..=6).map(endpoint).collect())).unwrap();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(svc.endpoints().ready, 6);
    assert_eq!(svc.pending_count(), 0);
    assert_eq!(svc.queue_length(), 0);
    assert!(svc.call(()).await.is_ok());
}

#[derive(Default)]
struct Seen {
    shut: AtomicBool,
    requests: AtomicUsize,
    ready: AtomicUsize,
}

impl Observe for Seen {
    fn endpoints(&self, counts: crate::observe::Counts) {
        self.ready.store(counts.ready, Ordering::SeqCst);
    }
    fn request(&self, _waited: Duration) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }
    fn gate(&self, gate: Gate) {
        self.shut.store(gate == Gate::Shut, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_endpoints_requests_and_the_gate() {
    let (world, seen) = (World::default(), Arc::new(Seen::default()));
    let make = move |endpoint: Arc<Endpoint>| Fake { port: endpoint.addr.port(), world: world.clone(), ready: false };
    let (mut svc, driver) = Balance::observed(Config::default(), track::Connect, Arc::clone(&seen), make);
    let (updates, receiver) = mpsc::unbounded_channel();
    let _driver = tokio::spawn(driver.run(Updates(receiver)));
    assert!(svc.call(()).await.is_err());
    assert!(seen.shut.load(Ordering::SeqCst));
    updates.send(add([1])).unwrap();
    settle().await;
    svc.call(()).await.unwrap();
    assert!(!seen.shut.load(Ordering::SeqCst));
    assert_eq!((seen.ready.load(Ordering::SeqCst), seen.requests.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handle_keeps_its_readiness_to_itself() {
    let (mut svc, _updates, _driver) = World::default().balance(Config::default().queue_capacity(0));
    assert!(!svc.is_available());
    let mut first = task::spawn(svc.clone().ready_oneshot());
    assert_pending!(first.poll());
    drop(first);
    assert_pending!(task::spawn(svc.ready()).poll());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_an_endpoint_is_passed_on_with_its_cause() {
    let world = World::default();
    world.with(|w| w.failing.insert(1));
    let (mut svc, updates, _driver) = world.balance(Config::default());
    updates.send(add([1])).unwrap();
    assert_eq!(svc.call(()).await.unwrap_err().cause(), &Cause::Io);
    assert_eq!(svc.pending_count(), 0);
}

// The one test on real threads and real time: it looks for a deadlock and for a lost wake-up, and does not measure anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_lost_between_threads() {
    let world = World::default();
    let (svc, updates, _driver) = world.balance(Config::default().failfast(Duration::from_secs(60)).queue_capacity(64));
    updates.send(add(1..=3)).unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let mut svc = svc.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    svc.ready().await.unwrap().call(()).await.unwrap();
                    yield_now().await;
                }
            })
        })
        .collect();
    let flapping = tokio::spawn(async move {
        let dice = Dice::new(5);
        loop {
            world.ready(1 + dice.below(3) as u16, false);
            yield_now().await;
            (1..=3).for_each(|port| world.ready(port, true));
            yield_now().await;
        }
    });
    for caller in callers {
        timeout(Duration::from_secs(30), caller).await.expect("a request was lost").unwrap();
    }
    flapping.abort();
}

#[test]
fn everything_can_be_sent() {
    fn sent<T: Send>(_: &T) {}
    let world = World::default();
    let make = move |endpoint: Arc<Endpoint>| Fake { port: endpoint.addr.port(), world: world.clone(), ready: false };
    let (mut svc, driver) = Balance::connect(Config::default(), make);
    sent(&svc);
    sent(&svc.call(()));
    sent(&driver.run(Updates(mpsc::unbounded_channel().1)));
}

#[test]
fn what_every_request_carries_stays_small() {
    // Held by each request in flight, on top of the endpoint's own future or body.
    assert!(size_of::<track::Pending>() <= 152, "{}", size_of::<track::Pending>());
    let future = size_of::<super::super::ResponseFuture<Fake, (), track::Http>>();
    assert!(future <= 200, "{future}");
    assert_eq!(size_of::<Balance<Fake, track::Connect>>(), 24);
}

/// Every fresh instance needs to be polled twice.
struct Cold(u8);

impl Clone for Cold {
    fn clone(&self) -> Self {
        Self(0)
    }
}

impl Service<()> for Cold {
    type Response = ();
    type Error = Error;
    type Future = std::future::Ready<Result<(), Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.0 == 1 {
            return Poll::Ready(Ok(()));
        }
        self.0 = 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert_eq!(std::mem::take(&mut self.0), 1, "called without having been polled ready");
        std::future::ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_takes_time_to_get_ready_is_called_itself_and_not_its_clone() {
    let (mut svc, driver) = Balance::connect(Config::default(), |_| Cold(0));
    tokio::spawn(driver.run(crate::updates::fixed([endpoint(1)])));
    for _ in 0..3 {
        timeout(Duration::from_secs(1), svc.ready().await.unwrap().call(())).await.expect("never ready").unwrap();
    }
    let many: Vec<_> = (0..5).map(|_| tokio::spawn(svc.call(()))).collect();
    for one in many {
        one.await.unwrap().unwrap();
    }
}
