//! `openssl s_client` connects, our end answers.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use meshkit_core::{Cause, Error, Identity};
use meshkit_tls::{AcceptLayer, Accepted, HandshakeError, Reason, Store, Tag, TlsIo, rustls::AlertDescription};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{
    ca::{Ca, HOUR, Leaf, now},
    openssl::{Files, PATIENCE, Peer},
};

const VOTING: &str = "voting.emojivoto";

/// Tells each client who it is, then sends back what it says.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    errors: mpsc::UnboundedReceiver<Error>,
    _serving: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(store: &Store, tag: Tag, limit: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accept = AcceptLayer::new(store.subscribe(), tag).limit(limit).layer(service_fn(greet));
        let (sender, errors) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let (accept, sender) = (accept.clone(), sender.clone());
                connections.spawn(async move {
                    if let Err(error) = accept.oneshot(io).await {
                        let _ = sender.send(error);
                    }
                });
            }
        });
        Self { addr, errors, _serving: serving }
    }

    /// The next handshake that fails. A client that is killed later on is none.
    async fn error(&mut self) -> Error {
        loop {
            let error = timeout(PATIENCE, self.errors.recv()).await.expect("the handshake fails").unwrap();
            if HandshakeError::find(&error).is_some() {
                return error;
            }
        }
    }
}

async fn greet(accepted: Accepted<TcpStream>) -> io::Result<()> {
    let Accepted { mut io, client } = accepted;
    let id = client.client_id.as_ref().map_or("nobody", Identity::as_str);
    io.write_all(format!("you are {id}, {:?}\n", client.header).as_bytes()).await?;
    io.flush().await?;
    echo(io).await
}

async fn echo(mut io: TlsIo<TcpStream>) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match io.read(&mut buffer).await? {
            0 => return io.shutdown().await,
            read => io.write_all(&buffer[..read]).await?,
        }
        io.flush().await?;
    }
}

/// A client that believes this authority, and presents this certificate.
pub(crate) fn client(addr: SocketAddr, files: &Files, leaf: Option<&Leaf>, args: &[&str]) -> Peer {
    let connect = ["s_client", "-connect", &addr.to_string(), "-servername", VOTING].map(str::to_owned);
    let present = leaf.map(|leaf| files.present(leaf));
    let args = args.iter().map(ToString::to_string);
    Peer::start(connect.into_iter().chain(files.trust()).chain(present.into_iter().flatten()).chain(args))
}

#[tokio::test]
async fn both_ends_prove_who_they_are() {
    let ca = Ca::new("root");
    let server = Server::start(&ca.store(VOTING), Tag::Plain, PATIENCE).await;
    let files = Files::new(&[&ca]);
    let name = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
    let spiffe = "spiffe://root.linkerd.cluster.local/ns/emojivoto/sa/web";
    for names in [&[name, spiffe][..], &[spiffe, name]] {
        let mut client = client(server.addr, &files, Some(&ca.leaf(names)), &["-quiet", "-verify_hostname", VOTING]);
        // The first name in the certificate counts.
        assert_eq!(client.hears("you are").await.unwrap(), format!("you are {}, Plain", names[0]));
        client.say("a vote").await;
        assert_eq!(client.hears("vote").await.unwrap(), "a vote");
    }
}

#[tokio::test]
async fn the_chain_up_to_the_anchor_is_sent() {
    let root = Ca::new("root");
    let issuer = root.vouches_for("issuer");
    let store = root.store(VOTING);
    let name = VOTING.parse().unwrap();
    let leaf = issuer.leaf(&[VOTING]);
    let key = meshkit_tls::KeyPair::from_pkcs8(&leaf.key.serialize_der()).unwrap();
    let chain = vec![leaf.certificate.der().clone(), issuer.der()];
    let provider = meshkit_tls::provider();
    store.set_credentials(meshkit_tls::Credentials::new(&provider, &root.anchors(), &name, chain, &key, now()).unwrap());
    let server = Server::start(&store, Tag::Plain, PATIENCE).await;
    let files = Files::new(&[&root]);
    let mut client = client(server.addr, &files, None, &["-quiet"]);
    assert!(client.hears("you are").await.is_some());
}

#[tokio::test]
async fn a_client_without_a_certificate_is_nobody() {
    let ca = Ca::new("root");
    let server = Server::start(&ca.store(VOTING), Tag::Plain, PATIENCE).await;
    let files = Files::new(&[&ca]);
    let mut nobody = client(server.addr, &files, None, &["-quiet"]);
    assert_eq!(nobody.hears("you are").await.unwrap(), "you are nobody, Plain");
    // Vouched for, and without a name that is an identity.
    let mut unnamed = client(server.addr, &files, Some(&ca.leaf(&[])), &["-quiet"]);
    assert_eq!(unnamed.hears("you are").await.unwrap(), "you are nobody, Plain");
}

#[tokio::test]
async fn who_cannot_be_believed_is_refused_and_told_why() {
    let (ca, elsewhere) = (Ca::new("root"), Ca::new("root"));
    let mut server = Server::start(&ca.store(VOTING), Tag::Plain, PATIENCE).await;
    let files = Files::new(&[&ca]);
    let cases = [
        (ca.leaf_within(&["web.ns"], now() - 2 * HOUR, now() - HOUR), "the client's certificate expired 3", "certificate expired"),
        (ca.leaf_within(&["web.ns"], now() + HOUR, now() + 2 * HOUR), "the client's certificate is not valid for another 3", "alert"),
        (elsewhere.leaf(&["web.ns"]), "no trust anchor vouches for the client's certificate", "alert"),
    ];
    for (leaf, why, alert) in cases {
        let refused = client(server.addr, &files, Some(&leaf), &["-quiet"]);
        let error = server.error().await;
        assert_eq!(error.cause(), &Cause::Io);
        let words = HandshakeError::find(&error).unwrap().to_string();
        assert!(words.contains(why), "{words:?} does not say {why:?}");
        let (_, said) = refused.end().await;
        assert!(said.contains(alert) && !said.contains("you are"), "{said}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_believe_this_end_is_told_apart() {
    let (ca, elsewhere) = (Ca::new("root"), Ca::new("other root"));
    let mut server = Server::start(&ca.store(VOTING), Tag::Plain, PATIENCE).await;
    let files = Files::new(&[&elsewhere]);
    let _client = client(server.addr, &files, None, &["-quiet"]);
    let error = server.error().await;
    let reason = HandshakeError::find(&error).unwrap().reason();
    assert_eq!(reason, &Reason::Refused(AlertDescription::UnknownCA));
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let ca = Ca::new("root");
    let mut server = Server::start(&ca.store(VOTING), Tag::Plain, PATIENCE).await;
    let files = Files::new(&[&ca]);
    let old = client(server.addr, &files, Some(&ca.leaf(&["web.ns"])), &["-quiet", "-tls1_2"]);
    assert_eq!(HandshakeError::find(&server.error().await).unwrap().reason(), &Reason::Incompatible);
    let (_, said) = old.end().await;
    assert!(said.contains("alert protocol version"), "{said}");
}

#[tokio::test]
async fn a_transport_header_is_agreed_on_by_alpn() {
    let ca = Ca::new("root");
    let store = ca.store(VOTING);
    let files = Files::new(&[&ca]);
    let mut tagged = Server::start(&store, Tag::Header, PATIENCE).await;
    let plain = Server::start(&store, Tag::Plain, PATIENCE).await;
    for (server, alpn, agreed) in
        [(&tagged, "h2,transport.l5d.io/v1", "Header"), (&tagged, "", "Plain"), (&plain, "transport.l5d.io/v1", "Plain")]
    {
        let args: &[&str] = if alpn.is_empty() { &["-quiet"] } else { &["-quiet", "-alpn", alpn] };
        let mut client = client(server.addr, &files, None, args);
        assert_eq!(client.hears("you are").await.unwrap(), format!("you are nobody, {agreed}"));
    }
    // Nothing in common is said so, as RFC 7301 asks.
    let other = client(tagged.addr, &files, None, &["-quiet", "-alpn", "h2"]);
    let reason = HandshakeError::find(&tagged.error().await).unwrap().reason().clone();
    assert_eq!(reason, Reason::Incompatible);
    let (_, said) = other.end().await;
    assert!(said.contains("no application protocol"), "{said}");
}

#[tokio::test]
async fn before_the_first_certificate_nobody_gets_in_and_after_it_everybody() {
    let ca = Ca::new("root");
    let name: Identity = VOTING.parse().unwrap();
    let store = Store::new(Arc::new(meshkit_tls::provider()), ca.anchors(), name.clone()).unwrap();
    let mut server = Server::start(&store, Tag::Plain, PATIENCE).await;
    let files = Files::new(&[&ca]);
    let early = client(server.addr, &files, None, &["-quiet"]);
    assert_eq!(HandshakeError::find(&server.error().await).unwrap().reason(), &Reason::NoCredentials);
    assert!(!early.end().await.1.contains("you are"));
    store.set_credentials(ca.credentials(&name));
    assert!(client(server.addr, &files, None, &["-quiet"]).hears("you are").await.is_some());
}

#[tokio::test]
async fn garbage_and_silence_are_told_apart() {
    let ca = Ca::new("root");
    let store = ca.store(VOTING);
    let mut server = Server::start(&store, Tag::Plain, PATIENCE).await;
    let mut garbage = TcpStream::connect(server.addr).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\nhost: voting\r\n\r\n").await.unwrap();
    assert_eq!(HandshakeError::find(&server.error().await).unwrap().reason(), &Reason::NotTls);
    drop(TcpStream::connect(server.addr).await.unwrap());
    assert_eq!(HandshakeError::find(&server.error().await).unwrap().reason(), &Reason::Closed);

    let limit = Duration::from_millis(30);
    let mut hasty = Server::start(&store, Tag::Plain, limit).await;
    let _silent = TcpStream::connect(hasty.addr).await.unwrap();
    let error = hasty.error().await;
    assert_eq!(error.cause(), &Cause::DetectTimeout(limit));
    assert_eq!(HandshakeError::find(&error).unwrap().reason(), &Reason::Elapsed(limit));
}
