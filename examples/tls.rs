//! How do two processes prove to each other who they are, and how do certificates change while they talk?
//!
//! ```text
//! cargo run -p meshkit-examples --example tls
//! ```

mod ca;

use ca::LocalCa;
use meshkit_core::{Identity, endpoint::ServerTls};
use meshkit_tls::{AcceptLayer, Accepted, ClientTls, ConnectLayer, Connector, HandshakeError, Store, Tag, TlsIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::{Layer, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let (web, voting): (Identity, Identity) = ("web.emojivoto".parse()?, "voting.emojivoto".parse()?);
    let ca = LocalCa::new("root.local")?;
    let (client, server) = (ca.store(&web)?, ca.store(&voting)?);

    let to_voting = Connector::new(named(&voting), Tag::Plain, client.subscribe());
    let (mut ours, mut theirs, peer) = connect(&to_voting, &server).await?;
    println!("web connects to voting:       voting sees {:?}", peer.client_id.as_ref().map(Identity::as_str));

    // Handshakes from here on use a new certificate. The connection that is open keeps the old one, and goes on.
    server.set_credentials(ca.issue(&voting)?);
    let (_, _, peer) = connect(&to_voting, &server).await?;
    println!("after voting got another one: voting sees {:?}", peer.client_id.as_ref().map(Identity::as_str));
    ours.write_all(b"a vote").await?;
    ours.flush().await?;
    let mut vote = [0; 6];
    theirs.read_exact(&mut vote).await?;
    println!("on the first connection:      voting reads {:?}", String::from_utf8_lossy(&vote));

    // Whoever answers must be who was asked for, and must be vouched for by an anchor.
    let to_emoji = Connector::new(named(&"emoji.emojivoto".parse()?), Tag::Plain, client.subscribe());
    println!("web asks voting for emoji:    {}", refused(connect(&to_emoji, &server).await)?);
    let elsewhere = LocalCa::new("root.elsewhere")?.store(&voting)?;
    println!("a voting of another CA:       {}", refused(connect(&to_voting, &elsewhere).await)?);
    Ok(())
}

fn named(identity: &Identity) -> ServerTls {
    ServerTls { identity: identity.clone(), server_name: identity.as_str().into() }
}

type Connected = (TlsIo<DuplexStream>, TlsIo<DuplexStream>, ClientTls);

/// Shakes hands over a pipe. Over TCP, the layers go over `service_fn(TcpStream::connect)` and before what serves a connection.
async fn connect(client: &Connector, server: &Store) -> Result<Connected, BoxError> {
    let connect = ConnectLayer::new(client.clone()).layer(service_fn(async |io| Ok::<DuplexStream, BoxError>(io)));
    let accept = AcceptLayer::new(server.subscribe(), Tag::Plain).layer(service_fn(async |io| Ok::<Accepted<_>, BoxError>(io)));
    let (ours, theirs) = tokio::io::duplex(16 << 10);
    let (ours, theirs) = tokio::join!(connect.oneshot(ours), accept.oneshot(theirs));
    let ours = ours?;
    let Accepted { io: theirs, client } = theirs?;
    Ok((ours, theirs, client))
}

/// Why the handshake failed.
fn refused<T>(result: Result<T, BoxError>) -> Result<String, BoxError> {
    match result {
        Ok(_) => Err("the handshake must fail".into()),
        Err(error) => {
            let why = HandshakeError::find(&*error).ok_or("the handshake must be what failed")?;
            Ok(format!("refused: {why}"))
        }
    }
}
