//! What a connection takes from the heap on top of what the TLS library takes for its handshake.
#![allow(unsafe_code)] // A global allocator cannot be written without.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

#[path = "loopback/ca.rs"]
#[allow(dead_code)]
mod ca;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    num::NonZeroU16,
    task::{Context, Poll},
    time::Duration,
};

use ca::{Ca, server};
use meshkit_tls::{
    AcceptLayer, Accepted, ConnectLayer, Connector, Store, Tag, TlsIo, TransportHeader,
    client_hello::{Detected, Parsed, detect, parse},
    rustls::pki_types::ServerName,
    transport_header::Decoded,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, Service};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator unchanged; the counter neither allocates nor runs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Gives back what it is called with, and allocates nothing.
#[derive(Clone)]
struct Same;

impl<T> Service<T> for Same {
    type Response = T;
    type Error = Infallible;
    type Future = Ready<Result<T, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, value: T) -> Self::Future {
        ready(Ok(value))
    }
}

const NAME: &str = "voting.emojivoto";

fn pipe() -> (DuplexStream, DuplexStream) {
    duplex(32 << 10)
}

/// Both ends of a connection, and what its handshake took.
async fn layered(web: &Store, voting: &Store) -> (TlsIo<DuplexStream>, TlsIo<DuplexStream>, usize) {
    let mut connect = ConnectLayer::new(Connector::new(server(NAME), Tag::Plain, web.subscribe())).layer(Same);
    let mut accept = AcceptLayer::new(voting.subscribe(), Tag::Plain).layer(Same);
    // The first connection prepares the configuration.
    let (here, there) = pipe();
    let (io, accepted) = tokio::join!(connect.call(here), Service::<DuplexStream>::call(&mut accept, there));
    drop((io.unwrap(), accepted.unwrap()));
    let (here, there) = pipe();
    let before = COUNT.get();
    let (io, accepted) = tokio::join!(connect.call(here), Service::<DuplexStream>::call(&mut accept, there));
    let count = COUNT.get() - before;
    let Accepted { io: there, client } = accepted.unwrap();
    assert_eq!(client.client_id, Some("web.emojivoto".parse().unwrap()));
    (io.unwrap(), there, count)
}

/// The same by the library alone, with the same configurations.
async fn bare(web: &Store, voting: &Store) -> (impl AsyncWrite + Unpin, impl AsyncRead + Unpin, usize) {
    let connector = tokio_rustls::TlsConnector::from(web.snapshot().client(&server(NAME), Tag::Plain).unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(voting.snapshot().server(Tag::Plain).unwrap());
    let (here, there) = pipe();
    let name = ServerName::try_from(NAME).unwrap();
    let before = COUNT.get();
    let (io, accepted) = tokio::join!(connector.connect(name.to_owned(), here), acceptor.accept(there));
    let count = COUNT.get() - before;
    (io.unwrap(), accepted.unwrap(), count)
}

#[tokio::test]
async fn a_handshake_takes_a_dozen_more_than_the_librarys_own() {
    let ca = Ca::new("root");
    let (web, voting) = (ca.store("web.emojivoto"), ca.store(NAME));
    let (mut ours, mut librarys) = (usize::MAX, usize::MAX);
    for _ in 0..40 {
        // Signatures differ in length, and the extensions of a hello in their order, and so does what it takes to write them down.
        ours = ours.min(layered(&web, &voting).await.2);
        librarys = librarys.min(bare(&web, &voting).await.2);
    }
    // At each end a box for the handshake and one for the stream; the client's certificate while it is read, and its name.
    assert!(ours <= librarys + 16, "{ours} against {librarys}");
}

/// What a message takes, sent and received, once a few have passed.
async fn message(mut from: impl AsyncWrite + Unpin, mut to: impl AsyncRead + Unpin) -> usize {
    let mut least = usize::MAX;
    for _ in 0..4 {
        let before = COUNT.get();
        from.write_all(&[7; 256]).await.unwrap();
        from.flush().await.unwrap();
        to.read_exact(&mut [0; 256]).await.unwrap();
        least = least.min(COUNT.get() - before);
    }
    least
}

#[tokio::test]
async fn what_passes_takes_what_the_library_takes() {
    let ca = Ca::new("root");
    let (web, voting) = (ca.store("web.emojivoto"), ca.store(NAME));
    let (here, there, _) = layered(&web, &voting).await;
    let (their_here, their_there, _) = bare(&web, &voting).await;
    let ours = message(here, there).await;
    assert_eq!(ours, message(their_here, their_there).await);
    // The record, and the bytes in it.
    assert!(ours <= 2, "{ours}");
}

#[tokio::test]
async fn a_hello_that_came_whole_is_looked_at_for_the_name_alone() {
    let hello = hello();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (said, wanted) in [(&hello[..], 1), (b"GET / HTTP/1.1\r\n\r\n", 0)] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, _) = listener.accept().await.unwrap();
        client.write_all(said).await.unwrap();
        io.readable().await.unwrap();
        let before = COUNT.get();
        let detected = detect(io, Duration::from_secs(30)).await.unwrap().unwrap();
        assert_eq!(COUNT.get() - before, wanted);
        assert_eq!(matches!(detected.0, Detected::Hello(Some(name)) if name == NAME), wanted == 1);
    }
    let before = COUNT.get();
    assert!(matches!(parse(&hello[..hello.len() - 1]), Parsed::NeedMore));
    assert_eq!(COUNT.get() - before, 0);
}

/// As a client of the mesh begins, with a post-quantum key share.
fn hello() -> Vec<u8> {
    let web = Ca::new("root").store("web.emojivoto");
    let config = web.snapshot().client(&server(NAME), Tag::Header).unwrap();
    let mut client = meshkit_tls::rustls::ClientConnection::new(config, NAME.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    assert!(bytes.len() > 1024, "{}", bytes.len());
    bytes
}

#[test]
fn a_transport_header_is_one_allocation_and_its_name() {
    let port = NonZeroU16::new(8080).unwrap();
    for (name, read) in [(None, 0), (Some("web.emojivoto.svc.cluster.local:80".to_owned()), 1)] {
        let header = TransportHeader { port, name, protocol: None };
        let before = COUNT.get();
        let bytes = header.encode();
        assert_eq!(COUNT.get() - before, 1);
        let before = COUNT.get();
        let decoded = TransportHeader::decode(&bytes);
        assert_eq!(COUNT.get() - before, read);
        assert_eq!(decoded, Ok(Decoded::Header(header, bytes.len())));
    }
}
