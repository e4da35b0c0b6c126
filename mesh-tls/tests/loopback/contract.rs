//! The readiness contract of both layers: readiness forwarded, clones not ready, reservations given back, errors passed on.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use meshkit_core::{Cause, Error};
use meshkit_tls::{Accept, AcceptLayer, Accepted, Connect, ConnectLayer, Connector, HandshakeError, Reason, Tag, TransportHeader};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::Instant,
};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::ca::{Ca, server};

const LIMIT: Duration = Duration::from_secs(3);

/// What a call of [`Permits`] comes to.
#[derive(Clone, Copy)]
enum Answer {
    Yes,
    Fail,
    Hang,
}

/// A service with permits: readiness takes one, a call uses it, a clone has none. It answers with what it is called with.
struct Permits {
    left: Arc<AtomicUsize>,
    held: bool,
    answer: Answer,
}

struct Call<T>(Option<T>, Answer);

impl Permits {
    fn one(answer: Answer) -> (Self, Arc<AtomicUsize>) {
        let left = Arc::new(AtomicUsize::new(1));
        (Self { left: Arc::clone(&left), held: false, answer }, left)
    }
}

impl<T: Unpin> Service<T> for Permits {
    type Response = T;
    type Error = Error;
    type Future = Call<T>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let take = |n: usize| n.checked_sub(1);
        self.held = self.held || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if self.held { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, value: T) -> Call<T> {
        assert!(std::mem::take(&mut self.held), "called without being ready");
        self.left.fetch_add(1, Ordering::Relaxed);
        Call(Some(value), self.answer)
    }
}

impl<T: Unpin> Future for Call<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.1 {
            Answer::Yes => Poll::Ready(Ok(self.0.take().unwrap())),
            Answer::Fail => Poll::Ready(Err(Error::new(Cause::LoadShed))),
            Answer::Hang => Poll::Pending,
        }
    }
}

impl Clone for Permits {
    fn clone(&self) -> Self {
        Self { left: Arc::clone(&self.left), held: false, answer: self.answer }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        if self.held {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn connecting<S>(ca: &Ca, inner: S) -> Connect<S> {
    let connector = Connector::new(server("voting.ns"), Tag::Plain, ca.store("web.ns").subscribe());
    ConnectLayer::new(connector).limit(LIMIT).layer(inner)
}

fn accepting<S>(ca: &Ca, inner: S) -> Accept<S> {
    AcceptLayer::new(ca.store("voting.ns").subscribe(), Tag::Plain).limit(LIMIT).layer(inner)
}

async fn is_ready<T>(service: &mut impl Service<T>) -> bool {
    poll_fn(|cx| Poll::Ready(service.poll_ready(cx).is_ready())).await
}

fn left(permits: &AtomicUsize) -> usize {
    permits.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inner_services_and_a_clone_has_none() {
    let ca = Ca::new("root");
    let (permits, _) = Permits::one(Answer::Yes);
    let mut connect = connecting(&ca, permits);
    assert!(is_ready::<DuplexStream>(&mut connect).await && is_ready::<DuplexStream>(&mut connect).await, "it may be asked again");
    assert!(!is_ready::<DuplexStream>(&mut connect.clone()).await);

    let (permits, _) = Permits::one(Answer::Yes);
    let mut accept = accepting(&ca, permits);
    assert!(is_ready::<DuplexStream>(&mut accept).await && is_ready::<DuplexStream>(&mut accept).await, "it may be asked again");
    assert!(!is_ready::<DuplexStream>(&mut accept.clone()).await);
}

#[tokio::test]
async fn the_instance_that_was_ready_gets_the_connection() {
    let ca = Ca::new("root");
    let (opening, opened) = Permits::one(Answer::Yes);
    let (serving, served) = Permits::one(Answer::Yes);
    let (mut connect, mut accept) = (connecting(&ca, opening), accepting(&ca, serving));
    let (ours, theirs) = duplex(16 << 10);
    assert!(is_ready::<DuplexStream>(&mut connect).await && is_ready::<DuplexStream>(&mut accept).await);
    let (answering, calling) = (accept.call(theirs), connect.call(ours));
    assert_eq!(left(&served), 0, "the permit waits with the handshake");
    assert!(!is_ready::<DuplexStream>(&mut accept).await, "the spare is not ready");
    let (io, accepted) = tokio::join!(calling, answering);
    assert_eq!(accepted.unwrap().client.client_id.unwrap().as_str(), "web.ns");
    assert!(io.is_ok());
    assert_eq!((left(&opened), left(&served)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_is_given_back() {
    let ca = Ca::new("root");
    for answer in [Answer::Hang, Answer::Yes] {
        let (permits, free) = Permits::one(answer);
        let mut connect = connecting(&ca, permits);
        assert!(is_ready::<DuplexStream>(&mut connect).await);
        drop(connect.clone());
        let _ = tokio::time::timeout(LIMIT / 2, connect.call(duplex(1).0)).await;
        assert_eq!(left(&free), 1, "dropped in flight");
        assert!(is_ready::<DuplexStream>(&mut connect).await);
        drop(connect);
        assert_eq!(left(&free), 1, "dropped before the call");

        let (permits, free) = Permits::one(answer);
        let mut accept = accepting(&ca, permits);
        assert!(is_ready::<DuplexStream>(&mut accept).await);
        let (_ours, theirs) = duplex(1);
        let _ = tokio::time::timeout(LIMIT / 2, accept.call(theirs)).await;
        assert_eq!(left(&free), 1, "dropped during the handshake");
        assert!(is_ready::<DuplexStream>(&mut accept).await);
        drop(accept);
        assert_eq!(left(&free), 1, "dropped before the call");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_an_answer_drops_the_connection() {
    let ca = Ca::new("root");
    let accept = accepting(&ca, Permits::one(Answer::Yes).0);
    let (mut ours, theirs) = duplex(1);
    let _ = tokio::time::timeout(LIMIT / 2, accept.oneshot(theirs)).await;
    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_limit_counts_for_opening_and_for_the_handshake_and_for_no_more() {
    let ca = Ca::new("root");
    for answer in [Answer::Hang, Answer::Yes] {
        let start = Instant::now();
        let (ours, _theirs) = duplex(1 << 10);
        let error = connecting(&ca, Permits::one(answer).0).oneshot(ours).await.unwrap_err();
        assert_eq!((error.cause(), start.elapsed()), (&Cause::ConnectTimeout(LIMIT), LIMIT));
        assert_eq!(HandshakeError::find(&error).unwrap().reason(), &Reason::Elapsed(LIMIT));
    }
    let start = Instant::now();
    let (ours, theirs) = duplex(16 << 10);
    let slow = service_fn(async |accepted: Accepted<DuplexStream>| {
        tokio::time::sleep(2 * LIMIT).await;
        Ok::<_, Error>(accepted)
    });
    let (io, accepted) = tokio::join!(connecting(&ca, Permits::one(Answer::Yes).0).oneshot(ours), accepting(&ca, slow).oneshot(theirs));
    assert!(io.is_ok() && accepted.is_ok());
    assert!(start.elapsed() >= 2 * LIMIT);
}

#[tokio::test]
async fn inner_errors_keep_their_cause() {
    let ca = Ca::new("root");
    let error = connecting(&ca, Permits::one(Answer::Fail).0).oneshot(duplex(1).0).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::LoadShed);
    let refused = service_fn(async |_: ()| Err::<DuplexStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused)));
    let error = connecting(&ca, refused).oneshot(()).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::Io);
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<io::Error>()));

    let (ours, theirs) = duplex(16 << 10);
    let (connect, accept) = (connecting(&ca, Permits::one(Answer::Yes).0), accepting(&ca, Permits::one(Answer::Fail).0));
    let (_io, error) = tokio::join!(connect.oneshot(ours), accept.oneshot(theirs));
    assert_eq!(error.unwrap_err().cause(), &Cause::LoadShed);
}

/// Never ready again.
#[derive(Clone)]
struct Broken;

impl<T> Service<T> for Broken {
    type Response = DuplexStream;
    type Error = io::Error;
    type Future = std::future::Ready<Result<DuplexStream, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn call(&mut self, _: T) -> Self::Future {
        std::future::ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

#[tokio::test]
async fn an_inner_service_that_fails_to_get_ready_is_not_hidden() {
    let ca = Ca::new("root");
    let error = poll_fn(|cx| Service::<()>::poll_ready(&mut connecting(&ca, Broken), cx)).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::Io);
    let error = poll_fn(|cx| Service::<DuplexStream>::poll_ready(&mut accepting(&ca, Broken), cx)).await.unwrap_err();
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<io::Error>()));
}

#[tokio::test]
async fn a_name_that_cannot_be_asked_for_is_refused_before_a_byte_is_sent() {
    let ca = Ca::new("root");
    let mut nameless = server("voting.ns");
    nameless.server_name = "not a name".into();
    let connector = Connector::new(nameless, Tag::Plain, ca.store("web.ns").subscribe());
    let (ours, mut theirs) = duplex(1 << 10);
    let error = ConnectLayer::new(connector).layer(Permits::one(Answer::Yes).0).oneshot(ours).await.unwrap_err();
    assert_eq!(HandshakeError::find(&error).unwrap().reason(), &Reason::ServerName);
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_transport_header_comes_first_and_the_bytes_behind_it_are_not_lost() {
    let ca = Ca::new("root");
    let port = std::num::NonZeroU16::new(8080).unwrap();
    let header = TransportHeader { port, name: Some("voting.emojivoto:80".to_owned()), protocol: None };
    for tag in [Tag::Header, Tag::Plain] {
        let connector = Connector::new(server("voting.ns"), Tag::Header, ca.store("web.ns").subscribe());
        let connect = ConnectLayer::new(connector).header(&header).layer(Permits::one(Answer::Yes).0);
        let accept = AcceptLayer::new(ca.store("voting.ns").subscribe(), tag).layer(Permits::one(Answer::Yes).0);
        let (ours, theirs) = duplex(16 << 10);
        let (io, accepted) = tokio::join!(connect.oneshot(ours), accept.oneshot(theirs));
        let (mut io, Accepted { io: theirs, client }) = (io.unwrap(), accepted.unwrap());
        assert_eq!(client.header, tag);
        io.write_all(b"hello").await.unwrap();
        io.shutdown().await.unwrap();
        let mut text = String::new();
        match tag {
            Tag::Header => {
                let (read, mut rest) = TransportHeader::read(theirs).await.unwrap();
                assert_eq!(read, header);
                rest.read_to_string(&mut text).await.unwrap();
            }
            // A server that takes none gets none.
            Tag::Plain => {
                let mut theirs = theirs;
                theirs.read_to_string(&mut text).await.unwrap();
            }
        }
        assert_eq!(text, "hello");
    }
}

#[tokio::test]
async fn services_and_futures_are_send_and_of_bounded_size() {
    fn is_send<T: Send + 'static>(value: &T) -> usize {
        size_of_val(value)
    }
    let ca = Ca::new("root");
    let (mut connect, mut accept) = (connecting(&ca, Permits::one(Answer::Yes).0), accepting(&ca, Permits::one(Answer::Yes).0));
    assert!(is_send(&connect) <= 96, "{}", is_send(&connect));
    assert!(is_send(&accept) <= 96, "{}", is_send(&accept));
    assert!(is_ready::<DuplexStream>(&mut connect).await && is_ready::<DuplexStream>(&mut accept).await);
    let (ours, theirs) = duplex(1);
    let (connecting, accepting) = (is_send(&connect.call(ours)), is_send(&accept.call(theirs)));
    assert!(connecting <= 2048, "{connecting}");
    assert!(accepting <= 2048, "{accepting}");
}
