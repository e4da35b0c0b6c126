use std::time::Duration;

use bytes::Bytes;
use tower_layer::Layer;

use super::{Connect, Connector};
use crate::TransportHeader;

/// How long opening a connection and shaking hands may take, if nothing else is said.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// Puts mutual TLS over a service that opens connections to one endpoint.
#[derive(Clone, Debug)]
pub struct ConnectLayer {
    pub(super) connector: Connector,
    /// As it goes over the wire: it is the same for every connection.
    pub(super) header: Option<Bytes>,
    pub(super) limit: Duration,
}

impl ConnectLayer {
    /// Connections on which the connector's server must prove who it is, within [`DEFAULT_LIMIT`].
    #[must_use]
    pub const fn new(connector: Connector) -> Self {
        Self { connector, header: None, limit: DEFAULT_LIMIT }
    }

    /// Begins each connection with a transport header, if the connector offers one ([`Tag::Header`](crate::Tag)) and the server takes it.
    #[must_use]
    pub fn header(mut self, header: &TransportHeader) -> Self {
        self.header = Some(header.encode().into());
        self
    }

    /// Bounds the time of it all: until the connection is open, both are known, and the header is written.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl<S> Layer<S> for ConnectLayer {
    type Service = Connect<S>;

    fn layer(&self, inner: S) -> Connect<S> {
        Connect { inner, layer: self.clone() }
    }
}
