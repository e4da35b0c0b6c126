//! Our end connects, `openssl s_server` answers.

use std::{io, net::SocketAddr, num::NonZeroU16, time::Duration};

use meshkit_core::{Cause, Error};
use meshkit_tls::{ConnectLayer, Connector, HandshakeError, Reason, Store, Tag, TlsIo, TransportHeader, transport_header::SessionProtocol};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{
    ca::{Ca, HOUR, Leaf, now, server},
    openssl::{Files, PATIENCE, Peer},
};

const VOTING: &str = "voting.emojivoto.serviceaccount.identity.linkerd.cluster.local";

/// A server that sends each line back, reversed.
struct Server {
    peer: Peer,
    addr: SocketAddr,
    _files: Files,
}

impl Server {
    async fn start(ca: &Ca, leaf: &Leaf, args: &[&str]) -> Self {
        let files = Files::new(&[ca]);
        let listen = ["s_server", "-accept", "127.0.0.1:0"].map(str::to_owned);
        let args = args.iter().map(ToString::to_string);
        let mut peer = Peer::start(listen.into_iter().chain(files.present(leaf)).chain(files.trust()).chain(args));
        let line = peer.hears("ACCEPT").await.expect("the server listens");
        let addr = line.split(' ').nth(1).unwrap().parse().unwrap();
        Self { peer, addr, _files: files }
    }
}

async fn connect(layer: &ConnectLayer, addr: SocketAddr) -> Result<TlsIo<TcpStream>, Error> {
    layer.layer(service_fn(TcpStream::connect)).oneshot(addr).await
}

fn to(name: &str, store: &Store) -> ConnectLayer {
    ConnectLayer::new(Connector::new(server(name), Tag::Plain, store.subscribe())).limit(PATIENCE)
}

/// Says a line and hears the answer.
async fn say(io: &mut TlsIo<TcpStream>, line: &str) -> io::Result<String> {
    io.write_all(format!("{line}\n").as_bytes()).await?;
    io.flush().await?;
    let mut answer = String::new();
    timeout(PATIENCE, BufReader::new(io).read_line(&mut answer)).await.expect("the server answers or ends")?;
    Ok(answer)
}

fn reason(error: &Error) -> &Reason {
    HandshakeError::find(error).unwrap_or_else(|| panic!("{error:?}")).reason()
}

#[tokio::test]
async fn both_ends_prove_who_they_are() {
    let ca = Ca::new("root");
    let server = Server::start(&ca, &ca.leaf(&[VOTING]), &["-rev", "-Verify", "1"]).await;
    let client = ca.store("web.emojivoto");
    let mut io = connect(&to(VOTING, &client), server.addr).await.unwrap();
    assert_eq!(say(&mut io, "a vote").await.unwrap(), "etov a\n");
}

#[tokio::test]
async fn an_issuer_between_the_anchor_and_the_leaf_is_no_obstacle() {
    let root = Ca::new("root");
    let issuer = root.vouches_for("issuer");
    let files = Files::new(&[]);
    let chain = files.write("chain.pem", &issuer.pem);
    let server = Server::start(&root, &issuer.leaf(&[VOTING]), &["-rev", "-cert_chain", chain.to_str().unwrap()]).await;
    let mut io = connect(&to(VOTING, &root.store("web.emojivoto")), server.addr).await.unwrap();
    assert_eq!(say(&mut io, "ab").await.unwrap(), "ba\n");
}

#[tokio::test]
async fn without_credentials_a_client_gets_through_only_where_none_are_asked_for() {
    let ca = Ca::new("root");
    let client = Store::new(std::sync::Arc::new(meshkit_tls::provider()), ca.anchors(), "web.emojivoto".parse().unwrap()).unwrap();
    let open = Server::start(&ca, &ca.leaf(&[VOTING]), &["-rev"]).await;
    let mut io = connect(&to(VOTING, &client), open.addr).await.unwrap();
    assert_eq!(say(&mut io, "ab").await.unwrap(), "ba\n");

    let closed = Server::start(&ca, &ca.leaf(&[VOTING]), &["-rev", "-Verify", "1"]).await;
    // A server of TLS 1.3 says no after the client's end is done: with the first read, or in the middle of the first write.
    let mut io = connect(&to(VOTING, &client), closed.addr).await.unwrap();
    let refused = say(&mut io, "ab").await;
    assert!(!matches!(refused.as_deref(), Ok("ba\n")), "{refused:?}");
}

#[tokio::test]
async fn a_spiffe_id_is_an_identity_like_another() {
    let ca = Ca::new("root");
    let id = "spiffe://root.linkerd.cluster.local/ns/emojivoto/sa/voting";
    let server = Server::start(&ca, &ca.leaf(&["other.name", id]), &["-rev", "-Verify", "1"]).await;
    let store = ca.store("spiffe://root.linkerd.cluster.local/ns/emojivoto/sa/web");
    let mut expected = crate::ca::server("voting.external");
    expected.identity = id.parse().unwrap();
    let layer = ConnectLayer::new(Connector::new(expected, Tag::Plain, store.subscribe())).limit(PATIENCE);
    let mut io = connect(&layer, server.addr).await.unwrap();
    assert_eq!(say(&mut io, "ab").await.unwrap(), "ba\n");
}

#[tokio::test]
async fn who_cannot_be_believed_is_refused_and_told_why() {
    let (ca, elsewhere) = (Ca::new("root"), Ca::new("root"));
    let client = ca.store("web.emojivoto");
    let cases = [
        (ca.leaf_within(&[VOTING], now() - 2 * HOUR, now() - HOUR), "the server's certificate expired 3"),
        (ca.leaf_within(&[VOTING], now() + HOUR, now() + 2 * HOUR), "the server's certificate is not valid for another 3"),
        (elsewhere.leaf(&[VOTING]), "no trust anchor vouches for the server's certificate"),
        (ca.leaf(&["emoji.emojivoto", "spiffe://td/emoji"]), "the server presents emoji.emojivoto, spiffe://td/emoji"),
        (ca.leaf(&[]), "the server presents no identity"),
    ];
    for (leaf, why) in cases {
        let server = Server::start(&ca, &leaf, &["-rev"]).await;
        let error = connect(&to(VOTING, &client), server.addr).await.unwrap_err();
        assert_eq!(error.cause(), &Cause::Io);
        let words = HandshakeError::find(&error).unwrap().to_string();
        assert!(words.contains(why), "{words:?} does not say {why:?}");
        if let Reason::WrongIdentity(wrong) = reason(&error) {
            assert_eq!(wrong.expected().as_str(), VOTING);
        }
    }
}

#[tokio::test]
async fn a_server_that_speaks_tls_1_2_at_most_is_refused() {
    let ca = Ca::new("root");
    let server = Server::start(&ca, &ca.leaf(&[VOTING]), &["-rev", "-tls1_2"]).await;
    let error = connect(&to(VOTING, &ca.store("web.emojivoto")), server.addr).await.unwrap_err();
    assert!(matches!(reason(&error), Reason::Refused(_) | Reason::Incompatible), "{error:?}");
}

#[tokio::test]
async fn a_header_is_sent_where_it_was_agreed_on_and_nowhere_else() {
    let ca = Ca::new("root");
    let client = ca.store("web.emojivoto");
    let header = TransportHeader { port: NonZeroU16::new(u16::from(b'A')).unwrap(), name: None, protocol: Some(SessionProtocol::Http2) };
    let connector = Connector::new(server(VOTING), Tag::Header, client.subscribe());
    let layer = ConnectLayer::new(connector).header(&header).limit(PATIENCE);
    for (args, agreed) in [(&["-alpn", "transport.l5d.io/v1"][..], true), (&[], false)] {
        let mut server = Server::start(&ca, &ca.leaf(&[VOTING]), args).await;
        let mut io = connect(&layer, server.addr).await.unwrap();
        assert_eq!(io.alpn().is_some(), agreed);
        io.write_all(b"the first line\n").await.unwrap();
        io.flush().await.unwrap();
        // The server prints what comes, behind what it knows of the connection. The preface ends in two line breaks.
        let header = "\ntransport.l5d.io/v1\n\n\0\0\0\u{6}\u{8}A\u{1a}\u{2}\u{12}\0the first line";
        let printed = server.peer.until("the first line").await.unwrap();
        assert_eq!(printed.ends_with(header), agreed, "{printed:?}");
        assert_eq!(printed.ends_with("\nthe first line"), !agreed, "{printed:?}");
    }
}

#[tokio::test]
async fn what_is_no_mesh_is_told_apart() {
    let ca = Ca::new("root");
    let client = ca.store("web.emojivoto");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();

    let silent = to(VOTING, &client).limit(Duration::from_millis(30));
    let error = connect(&silent, addr).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::ConnectTimeout(Duration::from_millis(30)));
    drop(listener.accept().await.unwrap());

    let layer = to(VOTING, &client);
    let other = async {
        let (mut io, _) = listener.accept().await.unwrap();
        io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        io
    };
    let (error, _io) = tokio::join!(connect(&layer, addr), other);
    assert_eq!(reason(&error.unwrap_err()), &Reason::NotTls);

    let (error, ()) = tokio::join!(connect(&layer, addr), async { drop(listener.accept().await.unwrap()) });
    assert_eq!(reason(&error.unwrap_err()), &Reason::Closed);

    drop(listener);
    let error = connect(&layer, addr).await.unwrap_err();
    assert_eq!((error.cause(), HandshakeError::find(&error).is_none()), (&Cause::Io, true));
}
