//! Connections that are not looked at, and TLS that ends in the application: each goes where its route says.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use meshkit_balance::{
    Distribute,
    distribute::{Backend as Share, Strategy},
};
use meshkit_core::{Cause, Dice, Error};
use meshkit_policy::{Meta, outbound::OpaqueRoute, tls};
use meshkit_tls::TlsIo;
use meshkit_wire::outbound::{Backend, Dispatch, Distribution, Load, OpaqueRule, RouteBackend};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt as _};

use super::{
    backends::{Backends, Connects, Made},
    destination::Snapshot,
    logical,
};
use crate::metrics::{BalancerFamilies, ConnectionFamilies, Counted, RouteConnection};

/// Connections of a service profile that wait for an endpoint, at most.
const PROFILE_QUEUE_CAPACITY: usize = 100;

/// Where the connections of a destination go, as one snapshot says.
#[derive(Debug)]
pub(super) struct Connections {
    of: Snapshot,
    stacks: Stacks,
    made: Made<Connects>,
    metrics: ConnectionFamilies,
    target: Option<SocketAddr>,
}

#[derive(Debug)]
enum Stacks {
    Opaque(Option<Stack>),
    Tls(Vec<tls::Route<Stack>>),
}

/// One route.
#[derive(Debug)]
struct Stack {
    meta: Meta,
    filters: Arc<[tls::Filter]>,
    distribute: Distribute<usize, ConnectService>,
}

/// A connection to an endpoint, and what counts it for its route.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) io: Io,
    /// Counts the end of the connection when it is dropped.
    pub(super) _counted: RouteConnection,
}

type Io = Counted<TlsIo<TcpStream>>;

impl Connections {
    /// Makes the stacks. Balancers of backends that `before` has, too, are taken over.
    pub(super) fn new(of: Snapshot, before: Option<&Self>, backends: &Backends, (addr, port): (Option<SocketAddr>, u16)) -> Self {
        let metrics = &backends.metrics;
        let families = match &of.policy.protocol {
            meshkit_wire::outbound::Protocol::Tls(_) => &metrics.balancers.tls,
            _ => &metrics.balancers.tcp,
        };
        let mut maker = Maker { parent: &of.policy.parent, before: before.map(|b| &b.made), backends, families, made: Made::new() };
        let targets = of.profile.as_ref().map(|profile| &*profile.targets).filter(|targets| !targets.is_empty());
        let stacks = match (targets, of.policy.protocol.tls()) {
            (Some(targets), _) => {
                let meta = Meta::builtin("serviceprofile");
                let backend = |target: &meshkit_wire::profile::Target| {
                    let dispatch = Dispatch::Balance { path: target.authority.to_string(), load: Load::default() };
                    let meta = target.backend.clone().unwrap_or_else(|| meta.clone());
                    (RouteBackend { backend: Arc::new(Backend { meta, dispatch, accrual: None }), filters: [].into() }, target.weight)
                };
                let distribution = Distribution::Random(targets.iter().filter(|target| target.weight > 0).map(backend).collect());
                Stacks::Opaque(Some(maker.stack(&meta, [].into(), &distribution, PROFILE_QUEUE_CAPACITY)))
            }
            (None, Some(routes)) if !of.is_opaque() => {
                let route = |route: &tls::Route<OpaqueRule>| tls::Route {
                    meta: route.meta.clone(),
                    names: route.names.clone(),
                    policy: maker.route(&route.meta, &route.policy),
                };
                Stacks::Tls(routes.iter().map(route).collect())
            }
            _ => {
                let made_up = || logical::policy(of.profile.as_deref(), addr, port)?.protocol.opaque().cloned();
                // The profile may say that a destination is opaque whose policy has routes of HTTP only.
                let route = match of.policy.protocol.opaque() {
                    None if of.profile.as_ref().is_some_and(|profile| profile.opaque) => made_up(),
                    route => route.cloned(),
                };
                Stacks::Opaque(route.map(|OpaqueRoute { meta, policy }| maker.route(&meta, &policy)))
            }
        };
        let made = maker.made;
        Self { metrics: metrics.connections.clone(), stacks, made, target: addr, of }
    }

    pub(super) const fn of(&self) -> &Snapshot {
        &self.of
    }

    /// Connects for bytes that are not looked at.
    pub(super) async fn opaque(&self) -> Result<Forwarded, Error> {
        let Stacks::Opaque(Some(stack)) = &self.stacks else {
            return Err(Error::new(Cause::NoRoute).message("there is no route for bytes that are not HTTP"));
        };
        let target = self.target.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let counted = self.metrics.tcp(&self.of.policy.parent, &stack.meta, target);
        stack.connect(tls::Traffic::Tcp, counted).await
    }

    /// Connects for a TLS client that asks for this name.
    pub(super) async fn tls(&self, name: &str) -> Result<Forwarded, Error> {
        let Stacks::Tls(routes) = &self.stacks else { return self.opaque().await };
        let route = tls::find(routes, name).ok_or_else(|| Error::new(Cause::NoRoute).message(format!("no TLS route for {name:?}")))?;
        let counted = self.metrics.tls(&self.of.policy.parent, &route.meta, name);
        route.policy.connect(tls::Traffic::Tls, counted).await
    }
}

impl Stack {
    async fn connect(&self, traffic: tls::Traffic, mut counted: RouteConnection) -> Result<Forwarded, Error> {
        let connected = match tls::apply(&self.filters, traffic) {
            Ok(()) => self.distribute.clone().oneshot(traffic).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(io) => Ok(Forwarded { io, _counted: counted }),
            Err(error) => {
                counted.failed(&error);
                Err(error.within(format!("route {}", self.meta.name())))
            }
        }
    }
}

/// Makes the stacks of one snapshot.
struct Maker<'a> {
    parent: &'a Meta,
    before: Option<&'a Made<Connects>>,
    backends: &'a Backends,
    families: &'a BalancerFamilies,
    made: Made<Connects>,
}

impl Maker<'_> {
    fn route(&mut self, meta: &Meta, rule: &OpaqueRule) -> Stack {
        self.stack(meta, Arc::clone(&rule.filters), &rule.distribution, self.backends.settings.tcp_queue_capacity)
    }

    fn stack(&mut self, meta: &Meta, filters: Arc<[tls::Filter]>, to: &Distribution<tls::Filter>, capacity: usize) -> Stack {
        let strategy = if matches!(to, Distribution::First(_)) { Strategy::First } else { Strategy::Weighted };
        let shares = to.backends().enumerate().map(|(i, (backend, weight))| {
            let make = || self.backends.connects(self.families, self.parent, &backend.backend, capacity);
            let balancer = self.made.get(self.before, &backend.backend, make);
            let service = ConnectService {
                balance: balancer.map(|balancer| balancer.balance().clone()),
                backend: Arc::clone(&backend.backend),
                filters: Arc::clone(&backend.filters),
            };
            Share::new(i, weight, service)
        });
        let shares: Vec<_> = shares.collect();
        let dice: &Dice = &self.backends.settings.endpoint.dice;
        Stack { meta: meta.clone(), filters, distribute: Distribute::new(strategy, shares, dice.clone()) }
    }
}

/// Connects to one backend, if it can be reached at all.
#[derive(Clone, Debug)]
struct ConnectService {
    balance: Option<Connects>,
    backend: Arc<Backend>,
    filters: Arc<[tls::Filter]>,
}

impl Service<tls::Traffic> for ConnectService {
    type Response = Io;
    type Error = Error;
    // Connection set-up.
    type Future = Pin<Box<dyn Future<Output = Result<Io, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // What cannot be reached takes its share, and fails it.
        self.balance.as_mut().map_or(Poll::Ready(Ok(())), |balance| Service::<()>::poll_ready(balance, cx))
    }

    fn call(&mut self, traffic: tls::Traffic) -> Self::Future {
        let refused = tls::apply(&self.filters, traffic).err();
        match (&mut self.balance, refused) {
            (_, Some(refused)) => Box::pin(std::future::ready(Err(refused))),
            (Some(balance), None) => Box::pin(balance.call(())),
            (None, None) => Box::pin(std::future::ready(Err(super::no_dispatcher(&self.backend)))),
        }
    }
}
