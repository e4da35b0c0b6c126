//! Bytes that are not looked at.

use std::{io, sync::Arc};

use meshkit_http::copy;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::info;

use super::{Connection, Shared, server_labels};
use crate::metrics::{Labels, target, tls_server};

/// Forwards a connection for as long as the policy allows it.
pub(super) async fn forward<I>(shared: &Arc<Shared>, io: I, connection: Connection) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let Connection { client, peer, addr, app, asked } = &connection;
    let mut policy = app.port.policy();
    let labels = |extra: Vec<(&'static str, String)>| {
        let known = target(*addr).into_iter().chain(server_labels(&app.policy(), *addr)).chain(tls_server(&client.tls));
        Labels::new(known.chain(extra))
    };
    let current = Arc::clone(&policy.borrow_and_update());
    match current.authorize_tcp(client) {
        Ok(permit) => {
            let authz = vec![
                ("authz_group", permit.group().to_owned()),
                ("authz_kind", permit.kind().to_owned()),
                ("authz_name", permit.name().to_owned()),
            ];
            shared.metrics.authz.tcp_allow.handle(&labels(authz)).incr();
        }
        Err(denied) => {
            shared.metrics.authz.tcp_deny.handle(&labels(Vec::new())).incr();
            info!(server = %current.server, client.addr = %peer, %denied, "Connection denied");
            return Ok(());
        }
    }
    if let Some(asked) = asked {
        let _held = shared.drain.clone();
        return asked.forward(shared.count(io, &connection), client.tls.client_id()).await;
    }
    if shared.settings.is_own(addr.port()) {
        return Err(io::Error::other(format!("inbound connection must not target port {}", addr.port())));
    }
    let io = shared.count(io, &connection);
    let Some(transport) = &app.transport else {
        return Err(io::Error::other(format!("what listens at {addr} in this process speaks HTTP only")));
    };
    let server = transport.open().await.map_err(io::Error::other)?;
    let _held = shared.drain.clone();
    let mut copy = std::pin::pin!(copy::duplex(io, server));
    loop {
        tokio::select! {
            copied = &mut copy => return copied.map(|_| ()),
            changed = policy.changed() => {
                if changed.is_err() {
                    return copy.await.map(|_| ());
                }
                let current = Arc::clone(&policy.borrow_and_update());
                if let Err(denied) = current.authorize_tcp(client) {
                    shared.metrics.authz.tcp_terminate.handle(&labels(Vec::new())).incr();
                    info!(server = %current.server, client.addr = %peer, %denied, "Connection ended: its authorization was withdrawn");
                    return Ok(());
                }
            }
        }
    }
}
