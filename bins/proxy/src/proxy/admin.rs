//! Connections to the admin server: in plain text, or with the mesh's TLS, as a meshed Prometheus has them.

use std::{io, sync::Arc, time::Duration};

use meshkit_tls::{Prefixed, Snapshot, Tag, TlsIo, accept, client_hello};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_util::either::Either;

/// How long a hello and a handshake may take.
const TLS_LIMIT: Duration = Duration::from_secs(1);

type Plain = Prefixed<TcpStream>;

/// Ends TLS where the client asks for this proxy. All else is for the HTTP server, which refuses what it cannot read.
pub(super) async fn open(
    io: TcpStream,
    server_name: Arc<str>,
    tls: watch::Receiver<Arc<Snapshot>>,
) -> io::Result<Either<Plain, TlsIo<Plain>>> {
    let timed_out = |what: &str| io::Error::new(io::ErrorKind::TimedOut, format!("{what} timed out"));
    match client_hello::detect(io, TLS_LIMIT).await.map_err(|_| timed_out("TLS detection"))?? {
        (client_hello::Detected::Hello(Some(name)), io) if *name == *server_name => {
            let config = tls.borrow().server(Tag::Plain).map_err(io::Error::other)?;
            let (io, _) = timeout(TLS_LIMIT, accept(io, config)).await.map_err(|_| timed_out("the TLS handshake"))??;
            Ok(Either::Right(io))
        }
        (_, io) => Ok(Either::Left(io)),
    }
}
