//! A connection to a controller that is opened when needed, and again when it broke.

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use meshkit_core::{Authority, Host, Identity, endpoint::ServerTls};
use meshkit_tls::{Connector, Snapshot, Tag, TlsIo};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::net::TcpConnect;

/// Where a controller is and who it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `host:port`.
    pub addr: Authority,
    /// Who must answer; `None` is plaintext, on a loopback address only.
    pub identity: Option<Identity>,
}

/// A lazy channel: the first call connects.
///
/// # Errors
/// The address cannot stand in a URI.
pub fn channel(
    controller: &Controller,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    connect: TcpConnect,
) -> Result<Channel, tonic::transport::Error> {
    let tls = controller.identity.clone().map(|identity| {
        let server_name = identity.as_str().into();
        Connector::new(ServerTls { identity, server_name }, Tag::Plain, snapshots)
    });
    let addr = controller.addr.clone();
    let open = tower::service_fn(move |_| {
        let (addr, tls) = (addr.clone(), tls.clone());
        async move {
            let set_up = async {
                let io = open(&addr, connect).await?;
                match &tls {
                    Some(tls) => tls.connect(io, None).await,
                    None => Ok(TlsIo::Plain(io)),
                }
            };
            connect.within(set_up).await.map(TokioIo::new).map_err(|e| e.within(format!("controller {addr}")))
        }
    });
    Ok(Endpoint::from_shared(format!("http://{}", controller.addr))?.connect_with_connector_lazy(open))
}

/// Tries every address of the name, in the resolver's order.
async fn open(addr: &Authority, connect: TcpConnect) -> io::Result<tokio::net::TcpStream> {
    let name = match addr.host() {
        Host::Ip(ip) => return connect.open((*ip, addr.port()).into()).await,
        Host::Name(name) if &**name == "localhost." => return connect.open(([127, 0, 0, 1], addr.port()).into()).await,
        Host::Name(name) => name,
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address"));
    for resolved in tokio::net::lookup_host((&**name, addr.port())).await? {
        match connect.open(resolved).await {
            Ok(io) => return Ok(io),
            Err(error) => last = error,
        }
    }
    Err(last)
}
