use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::sleep;
use tokio_test::{assert_pending, assert_ready, task};
use tower::ServiceExt;

use super::*;

const MIN: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
struct Peer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    attempts: AtomicUsize,
    refuses: AtomicBool,
    broken: AtomicBool,
}

#[derive(Clone)]
struct Connection(Peer);

impl Service<&'static str> for Peer {
    type Response = Connection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: &'static str) -> Self::Future {
        self.0.attempts.fetch_add(1, SeqCst);
        let peer = self.clone();
        Box::pin(async move {
            sleep(Duration::from_millis(100)).await;
            if peer.0.refuses.load(SeqCst) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(Connection(peer)) }
        })
    }
}

impl Service<u8> for Connection {
    type Response = u8;
    type Error = io::Error;
    type Future = Ready<io::Result<u8>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let broken = self.0.0.broken.swap(false, SeqCst);
        Poll::Ready(if broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }

    fn call(&mut self, n: u8) -> Self::Future {
        ready(Ok(n))
    }
}

fn to(peer: &Peer) -> Reconnect<Peer, &'static str> {
    Reconnect::new(peer.clone(), "peer", Backoff::new(MIN, MIN * 8, 0.0).unwrap(), Dice::new(0))
}

#[tokio::test(start_paused = true)]
async fn clones_share_one_connection() {
    let peer = Peer::default();
    let svc = to(&peer);
    let calls = [svc.clone().oneshot(1), svc.clone().oneshot(2)];
    let [one, two] = calls.map(tokio::spawn);
    assert_eq!((one.await.unwrap().unwrap(), two.await.unwrap().unwrap()), (1, 2));
    assert_eq!(peer.0.attempts.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_connects_are_tried_again_with_backoff() {
    let peer = Peer::default();
    peer.0.refuses.store(true, SeqCst);
    let mut svc = to(&peer);
    let mut readiness = task::spawn(ServiceExt::<u8>::ready(&mut svc));
    assert_pending!(readiness.poll());
    for (secs, attempts) in [(1, 1), (2, 2), (4, 3), (8, 4)] {
        assert_eq!(peer.0.attempts.load(SeqCst), attempts);
        sleep(Duration::from_millis(110)).await;
        assert!(readiness.is_woken());
        assert_pending!(readiness.poll());
        sleep(MIN * secs).await;
        assert_pending!(readiness.poll());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_at_once_is_not_dialed_in_a_loop() {
    let peer = Peer::default();
    let mut svc = to(&peer);
    ServiceExt::<u8>::ready(&mut svc).await.unwrap();
    peer.0.broken.store(true, SeqCst);
    let mut readiness = task::spawn(ServiceExt::<u8>::ready(&mut svc));
    assert_pending!(readiness.poll());
    assert_eq!(peer.0.attempts.load(SeqCst), 1);
    sleep(MIN * 2).await;
    assert_pending!(readiness.poll());
    sleep(MIN).await;
    assert_ready!(readiness.poll()).unwrap();
    drop(readiness);
    // An old one is replaced without waiting.
    sleep(MIN * 9).await;
    peer.0.broken.store(true, SeqCst);
    assert_pending!(task::spawn(ServiceExt::<u8>::ready(&mut svc)).poll());
    assert_eq!(peer.0.attempts.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_goes_away_while_connecting_leaves_the_connect_to_the_others() {
    let peer = Peer::default();
    let svc = to(&peer);
    let mut gone = task::spawn(svc.clone().oneshot(1u8));
    let mut stays = task::spawn(svc.clone().oneshot(2u8));
    assert_pending!(gone.poll());
    assert_pending!(stays.poll());
    drop(gone);
    sleep(MIN).await;
    assert!(stays.is_woken());
    assert_eq!(assert_ready!(stays.poll()).unwrap(), 2);
}

#[test]
fn everything_can_be_sent() {
    fn sent<T: Send + Sync>(_: &T) {}
    sent(&to(&Peer::default()));
}
