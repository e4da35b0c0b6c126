use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tower_layer::Layer;

use super::Accept;
use crate::{Snapshot, Tag};

/// How long a client may take to shake hands, if nothing else is said.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// Puts mutual TLS before a service that is called with each accepted connection.
///
/// Clients need no certificate to get through: who may do what without one is a matter of policy, which sees the
/// [`ClientTls`](super::ClientTls). A certificate that is presented must be vouched for.
#[derive(Clone, Debug)]
pub struct AcceptLayer {
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) tag: Tag,
    pub(super) limit: Duration,
}

impl AcceptLayer {
    /// Answers with the newest of these credentials, within [`DEFAULT_LIMIT`]; `tag` says whether transport headers are taken.
    #[must_use]
    pub const fn new(snapshots: watch::Receiver<Arc<Snapshot>>, tag: Tag) -> Self {
        Self { snapshots, tag, limit: DEFAULT_LIMIT }
    }

    /// Bounds the time of a handshake. What the inner service does with the connection is not bounded by it.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl<S> Layer<S> for AcceptLayer {
    type Service = Accept<S>;

    fn layer(&self, inner: S) -> Accept<S> {
        Accept { inner, layer: self.clone() }
    }
}
