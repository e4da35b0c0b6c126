//! The admin server within the mesh: in plain text, or with the mesh's TLS, as a meshed Prometheus has them, and by the policy of its port.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use meshkit_core::Error;
use meshkit_http::Body;
use meshkit_policy::{Client, TlsState};
use meshkit_runtime::admin::{Admin, Admit, Opened, Reply};
use meshkit_tls::{Prefixed, Snapshot, Tag, TlsIo, accept, client_hello};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_util::either::Either;
use tower::service_fn;

use crate::{
    endpoint::Application,
    inbound::{Guard, Guards},
};

/// How long a hello and a handshake may take.
const TLS_LIMIT: Duration = Duration::from_secs(1);

type Plain = Prefixed<TcpStream>;

/// Takes connections to the admin server.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// What clients ask for in a handshake that is meant for the proxy.
    pub(super) server_name: Arc<str>,
    pub(super) tls: watch::Receiver<Arc<Snapshot>>,
    /// Who may come in.
    pub(super) guards: Guards,
}

impl Door {
    /// Ends TLS where the client asks for this proxy. All else is for the HTTP server, which refuses what it cannot read.
    pub(super) async fn open(self, io: TcpStream, peer: SocketAddr) -> io::Result<Opened<Either<Plain, TlsIo<Plain>>>> {
        let timed_out = |what: &str| io::Error::new(io::ErrorKind::TimedOut, format!("{what} timed out"));
        let (io, tls) = match client_hello::detect(io, TLS_LIMIT).await.map_err(|_| timed_out("TLS detection"))?? {
            (client_hello::Detected::Hello(Some(name)), io) if *name == *self.server_name => {
                let config = self.tls.borrow().server(Tag::Plain).map_err(io::Error::other)?;
                let (io, tls) = timeout(TLS_LIMIT, accept(io, config)).await.map_err(|_| timed_out("the TLS handshake"))??;
                (Either::Right(io), TlsState::Terminated { client_id: tls.client_id })
            }
            (_, io) => (Either::Left(io), TlsState::NoTls),
        };
        let client = Client { ip: peer.ip().to_canonical(), tls };
        Ok(Opened { io, admit: Arc::new(Admission(self.guards.guard(peer, client))) })
    }
}

struct Admission(Guard);

impl Admit for Admission {
    fn admit(&self, head: &mut http::request::Parts) -> Result<(), Box<Reply>> {
        self.0.admit(head).map_err(|refusal| Box::new(refusal.map(|_| Bytes::new().into())))
    }
}

/// The admin server as the inbound side has it, for what comes through the proxy, which has asked the policy already. A second connection, of
/// the proxy to itself, would look like one of a program on this machine, which may do more than others.
pub(super) fn application(admin: Admin) -> Application {
    Application::new(service_fn(move |request: Request<Body>| {
        let admin = admin.clone();
        async move { Ok::<Response<Body>, Error>(admin.respond(request).await.map(Body::wrap)) }
    }))
}
