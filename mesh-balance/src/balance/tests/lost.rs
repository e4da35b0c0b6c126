//! Updates that get lost on their way.

use std::{
    collections::BTreeMap,
    future::{Pending, Ready, pending, ready},
    net::SocketAddr,
};

use super::*;
use crate::updates::{Check, Discovery, checked};

/// A source that knows the truth, and loses one update.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<Truth>>);

#[derive(Default)]
struct Truth {
    endpoints: BTreeMap<SocketAddr, Endpoint>,
    subscriber: Option<mpsc::UnboundedSender<Update>>,
    sent: usize,
    lose: Option<usize>,
    lost: usize,
}

impl Source {
    fn losing(n: usize) -> Self {
        let source = Self::default();
        source.0.lock().unwrap().lose = Some(n);
        source
    }

    fn change(&self, update: Update) {
        let mut truth = self.0.lock().unwrap();
        match &update {
            Update::Add(_) => {}
            Update::Remove(gone) => truth.endpoints.retain(|addr, _| !gone.contains(addr)),
            Update::Reset(_) | Update::DoesNotExist => truth.endpoints.clear(),
        }
        truth.endpoints.extend(update.endpoints().iter().map(|e| (e.addr, e.clone())));
        truth.send(update);
    }

    fn digest(&self) -> u64 {
        crate::digest(self.0.lock().unwrap().endpoints.values())
    }
}

impl Truth {
    fn send(&mut self, update: Update) {
        let n = self.sent;
        self.sent += 1;
        if let Some(subscriber) = self.subscriber.as_ref().filter(|_| self.lose != Some(n)) {
            let _ = subscriber.send(update);
        }
    }
}

impl Discovery for Source {
    type Updates = Updates;
    type Digest = Ready<Option<u64>>;

    fn subscribe(&mut self) -> Updates {
        let mut truth = self.0.lock().unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        truth.subscriber = Some(sender);
        let all = truth.endpoints.values().cloned().collect();
        truth.send(Update::Add(all));
        Updates(receiver)
    }

    fn digest(&mut self) -> Ready<Option<u64>> {
        ready(Some(Self::digest(self)))
    }

    fn lost(&mut self) {
        self.0.lock().unwrap().lost += 1;
    }
}

/// What becomes of endpoints in eight seconds; weights change, too.
fn history(seed: u64) -> Vec<Update> {
    let dice = Dice::new(seed);
    let port = || 1 + u16::try_from(dice.below(6)).unwrap();
    let some = || (0..=dice.below(3)).map(|_| endpoint(port()).weight(1 + dice.below(3))).collect::<Vec<_>>();
    let step = |n: u32| match dice.below(6) {
        0 if n > 0 => Update::Remove(some().iter().map(|e| e.addr).collect()),
        1 if n > 0 => Update::DoesNotExist,
        2 => Update::Reset(some()),
        _ => Update::Add(some()),
    };
    (0..8).map(step).collect()
}

fn balance_over<D>(source: D) -> (Balance<Fake, track::Connect>, JoinHandle<()>)
where
    D: Discovery<Updates: Send, Digest: Send> + Send + 'static,
{
    let world = World::default();
    let (balance, driver) =
        Balance::connect(Config::default(), move |e: Arc<Endpoint>| Fake { port: e.addr.port(), world: world.clone(), ready: false });
    (balance, tokio::spawn(driver.run(checked(source, Check::default()))))
}

#[tokio::test(start_paused = true)]
async fn whichever_update_is_lost_the_pool_is_the_truth_within_30_seconds() {
    for seed in 0..20 {
        // The first is what the subscription begins with; then eight changes; then nothing is lost.
        for lose in 0..=9 {
            let source = Source::losing(lose);
            source.0.lock().unwrap().endpoints.insert(endpoint(7).addr, endpoint(7));
            let (balance, _driver) = balance_over(source.clone());
            for update in history(seed) {
                source.change(update);
                sleep(Duration::from_secs(1)).await;
            }
            sleep(Duration::from_secs(30)).await;
            assert_eq!(balance.digest(), source.digest(), "seed {seed}, update {lose} was lost");
            let lost = source.0.lock().unwrap().lost;
            assert!(lost <= usize::from(lose < 9), "seed {seed}: {lost} new subscriptions for one loss");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_noticed_and_told() {
    let source = Source::losing(1);
    let (balance, _driver) = balance_over(source.clone());
    settle().await;
    source.change(add([1, 2]));
    settle().await;
    assert_eq!(balance.endpoints().ready, 0, "it was lost");
    sleep(Duration::from_secs(30)).await;
    assert_eq!((balance.endpoints().ready, source.0.lock().unwrap().lost), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn updates_that_are_only_late_are_not_lost() {
    let source = Source::default();
    let (balance, _driver) = balance_over(source.clone());
    settle().await;
    // The truth is ahead of its update by a little, at every question.
    for port in 1..10u16 {
        sleep(Duration::from_secs(19)).await;
        source.0.lock().unwrap().endpoints.insert(endpoint(port).addr, endpoint(port));
        sleep(Duration::from_secs(2)).await;
        source.change(add([port]));
    }
    settle().await;
    assert_eq!(source.0.lock().unwrap().lost, 0);
    assert_eq!(balance.digest(), source.digest());
}

/// Sends what it is given, and cannot or will not say what it has.
struct Mute<F>(Option<mpsc::UnboundedReceiver<Update>>, fn() -> F);

impl<F: Future<Output = Option<u64>>> Discovery for Mute<F> {
    type Updates = Updates;
    type Digest = F;

    fn subscribe(&mut self) -> Updates {
        Updates(self.0.take().expect("subscribed to once"))
    }

    fn digest(&mut self) -> F {
        self.1()
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_tell_is_believed() {
    let never = || -> Pending<Option<u64>> { pending() };
    let (cannot, first) = mpsc::unbounded_channel();
    let (hangs, second) = mpsc::unbounded_channel();
    let (one, _one) = balance_over(Mute(Some(first), || ready(None)));
    let (two, _two) = balance_over(Mute(Some(second), never));
    for port in 1..5u16 {
        cannot.send(add([port])).unwrap();
        hangs.send(add([port])).unwrap();
        sleep(Duration::from_secs(60)).await;
        assert_eq!((one.endpoints().ready, two.endpoints().ready), (usize::from(port), usize::from(port)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_subscription_is_the_end() {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (balance, _driver) = balance_over(Mute(Some(receiver), || ready(Some(1))));
    sender.send(add([1])).unwrap();
    drop(sender);
    // It is not asked again, although the digests differ.
    sleep(Duration::from_secs(300)).await;
    assert_eq!(balance.endpoints().ready, 1);
}
