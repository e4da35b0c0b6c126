//! Calls to a controller, balanced over its replicas.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, uri::InvalidUri};
use meshkit_balance::{Balance, Config, track, updates};
use meshkit_core::{
    Authority, Endpoint, Error, Identity, ProtocolHint, Update,
    endpoint::{KeepAlive, WhileIdle},
};
use meshkit_http::Body;
use meshkit_tls::Snapshot;
use meshkit_wire::Channel;
use tokio::{runtime::Handle, sync::watch};
use tower::Service;
use tracing::{debug, info};

use super::dns::Dns;
use crate::{
    driven::Driven,
    endpoint::{self, EndpointService, Handles},
    metrics::{BalancerHandle, ControlFamilies, TcpHandle},
    net::TcpConnect,
};

/// Calls that wait for a replica.
const QUEUE_CAPACITY: usize = 1000;
/// How long they wait.
const FAILFAST: Duration = Duration::from_secs(30);
/// When to ask again for a name that could not be resolved.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);
/// Finds a replica whose machine is gone while watches are open.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { interval: Duration::from_secs(10), timeout: Duration::from_secs(5), while_idle: WhileIdle::Quiet };

/// Where a controller is and who it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `host:port`.
    pub addr: Authority,
    /// Who must answer; `None` is plaintext, on a loopback address only.
    pub identity: Option<Identity>,
}

/// Opens channels to controllers.
#[derive(Clone, Debug)]
pub struct Channels {
    /// Finds the replicas.
    pub dns: Dns,
    /// How they are reached.
    pub endpoint: endpoint::Settings,
    /// How those on this machine are reached.
    pub local: TcpConnect,
    /// Hears of it all.
    pub metrics: ControlFamilies,
    /// Runs the connections: the control thread.
    pub control: Handle,
}

/// Whether a channel says who calls from its first connection on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There is a certificate, or there is not yet.
pub enum Caller {
    /// Connects only when there is a certificate.
    Certified,
    /// Connects at once: who asks for a certificate has none.
    Anyone,
}

type Replicas = Balance<EndpointService, track::Http, BalancerHandle>;

impl Channels {
    /// A channel to a controller, for the client of this name. It ends when all its clones are dropped.
    ///
    /// # Errors
    /// The address cannot stand in a URI.
    pub fn open(&self, client: &'static str, controller: &Controller, caller: Caller) -> Result<Channel, InvalidUri> {
        let authority = controller.addr.to_string();
        let uri_authority = authority.parse()?;
        let server = controller.identity.as_ref();
        let handles = Handles { http: self.metrics.calls(&authority, server.map(Identity::as_str)), tcp: TcpHandle::nowhere() };
        let (settings, local) = (self.endpoint.clone(), self.local);
        let make = move |endpoint: Arc<Endpoint>| {
            let mut settings = settings.clone();
            if endpoint.addr.ip().is_loopback() {
                settings.connect = local;
            }
            EndpointService::new(endpoint, &settings, handles.clone())
        };
        let config = Config::default().queue_capacity(QUEUE_CAPACITY).failfast(FAILFAST).seed(self.endpoint.dice.roll());
        let observe = self.metrics.balancer(client, &authority, FAILFAST);
        let (sender, updates) = updates::channel(1);
        let snapshots = self.endpoint.tls.clone();
        let follow = follow(self.dns.clone(), client, controller.clone(), (caller, snapshots), sender);
        let _entered = self.control.enter();
        let (balance, driver) = Balance::observed(config, track::Http::default(), observe, make);
        let driven = Driven::new(balance, async move {
            // The resolver has nothing more to say when the driver ends, and the other way round.
            tokio::join!(driver.run::<_, Request<Body>>(updates), follow);
        });
        Ok(Channel::new(Balanced { replicas: driven.balance().clone(), _driven: Arc::new(driven) }, uri_authority))
    }
}

/// Tells a balancer which replicas there are.
async fn follow(
    dns: Dns,
    client: &'static str,
    controller: Controller,
    (caller, mut snapshots): (Caller, watch::Receiver<Arc<Snapshot>>),
    sender: tokio::sync::mpsc::Sender<Update>,
) {
    if caller == Caller::Certified && snapshots.wait_for(|snapshot| snapshot.credentials().is_some()).await.is_err() {
        return;
    }
    let mut known = Vec::new();
    loop {
        let wait = match dns.resolve(client, &controller.addr).await {
            Ok(answer) => {
                if answer.addrs != known {
                    info!(controller = %controller.addr, addresses = ?answer.addrs, "resolved");
                    known = answer.addrs;
                    let endpoints = known.iter().map(|addr| controller.endpoint(*addr)).collect();
                    if sender.send(Update::Reset(endpoints)).await.is_err() {
                        return;
                    }
                }
                match answer.valid_for {
                    Some(wait) => wait,
                    // The address itself: it stays.
                    None => return,
                }
            }
            Err(error) => {
                debug!(controller = %controller.addr, %error, "what is known stays in use");
                RESOLVE_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

impl Controller {
    fn endpoint(&self, addr: std::net::SocketAddr) -> Endpoint {
        let mut endpoint = Endpoint::new(addr);
        if let Some(identity) = &self.identity {
            endpoint = endpoint.identity(identity.clone());
        }
        endpoint.protocol = ProtocolHint::Http2;
        endpoint.http2.keep_alive = Some(KEEP_ALIVE);
        endpoint
    }
}

/// The replicas of a controller, for as long as somebody calls them.
#[derive(Clone, Debug)]
struct Balanced {
    replicas: Replicas,
    _driven: Arc<Driven<Replicas>>,
}

impl Service<Request<tonic::body::Body>> for Balanced {
    type Response = <Replicas as Service<Request<Body>>>::Response;
    type Error = Error;
    type Future = <Replicas as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.replicas, cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        self.replicas.call(request.map(Body::wrap))
    }
}
