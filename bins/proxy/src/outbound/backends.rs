//! Balancers of a destination's backends: made here, shared by all that name the same backend.

use std::sync::Arc;

use ::http::Request;
use futures_util::future::Either;
use meshkit_balance::{Balance, Config, accrual, track, track::Penalty, updates};
use meshkit_core::{Endpoint, Ratio};
use meshkit_http::Body;
use meshkit_policy::Meta;
use meshkit_retry::{Timeout, TimeoutLayer};
use meshkit_wire::outbound::{Accrual, Backend, Dispatch, Hints};
use tower::Layer as _;

use super::Settings;
use crate::{
    control::Discovery,
    driven::Driven,
    endpoint::{AnyBody, EndpointService, Handles, Transport},
    metrics::{
        BalancerFamilies, BalancerHandle, Edge, Labels, Metrics,
        route::{backend_labels, parent_labels},
        target,
    },
};

/// An endpoint with its time limits: what a balancer of requests picks from.
pub(super) type Limited = Timeout<AnyBody<EndpointService>>;
/// Balances requests.
pub(super) type Requests = Balance<Limited, track::Http, BalancerHandle>;
/// Balances connections.
pub(super) type Connects = Balance<Transport, track::Connect, BalancerHandle>;

/// Makes the balancers of a destination.
#[derive(Clone, Debug)]
pub(super) struct Backends {
    /// The name that the metrics call the destination by.
    pub(super) authority: String,
    pub(super) settings: Settings,
    pub(super) discovery: Discovery,
    pub(super) metrics: Metrics,
}

/// The balancers of one snapshot, each by its backend; those that the snapshot before has, too, are taken over with their connections.
#[derive(Debug)]
pub(super) struct Made<B>(Vec<(Arc<Backend>, Arc<Driven<B>>)>);

impl<B> Made<B> {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// The balancer of a backend: known, or that of the snapshot before, or a new one. `None` if the backend cannot be reached.
    pub(super) fn get(
        &mut self,
        before: Option<&Self>,
        backend: &Arc<Backend>,
        make: impl FnOnce() -> Option<Driven<B>>,
    ) -> Option<Arc<Driven<B>>> {
        let known = |made: &Self| {
            let same = |(known, _): &&(Arc<Backend>, _)| Arc::ptr_eq(known, backend) || known == backend;
            made.0.iter().find(same).map(|(_, balancer)| Arc::clone(balancer))
        };
        if let Some(balancer) = known(self) {
            return Some(balancer);
        }
        let balancer = before.and_then(known).or_else(|| make().map(Arc::new))?;
        self.0.push((Arc::clone(backend), Arc::clone(&balancer)));
        Some(balancer)
    }
}

impl Backends {
    /// A balancer of requests.
    pub(super) fn requests(&self, parent: &Meta, backend: &Backend) -> Option<Driven<Requests>> {
        let (config, updates) = self.resolve(backend, self.settings.queue_capacity)?;
        let (authority, settings, metrics) = (self.authority.clone(), self.settings.clone(), self.metrics.clone());
        let make = move |endpoint: Arc<Endpoint>| {
            let endpoint = local(endpoint, &settings);
            let handles = handles(&metrics, &endpoint, &authority);
            TimeoutLayer::default().layer(AnyBody(EndpointService::new(endpoint, &settings.endpoint, handles)))
        };
        let labels = parent_labels(parent).into_iter().chain(backend_labels(&backend.meta)).collect();
        let observe = self.metrics.balancers.http.handle(labels, self.settings.failfast);
        let (balance, driver) = Balance::observed(config, track::Http::default(), observe, make);
        Some(Driven::new(balance, driver.run::<_, Request<Body>>(updates)))
    }

    /// A balancer of connections.
    pub(super) fn connects(
        &self,
        families: &BalancerFamilies,
        parent: &Meta,
        backend: &Backend,
        capacity: usize,
    ) -> Option<Driven<Connects>> {
        let (config, updates) = self.resolve(backend, capacity)?;
        let (authority, settings, metrics) = (self.authority.clone(), self.settings.clone(), self.metrics.clone());
        let make = move |endpoint: Arc<Endpoint>| {
            let endpoint = local(endpoint, &settings);
            let tcp = handles(&metrics, &endpoint, &authority).tcp;
            Transport::new(endpoint, None, &settings.endpoint, tcp)
        };
        let concrete = match &backend.dispatch {
            Dispatch::Balance { path, .. } => path.clone(),
            Dispatch::Forward(endpoint) => endpoint.addr.to_string(),
            Dispatch::Fail => String::new(),
        };
        let names = [("logical", self.authority.clone()), ("concrete", concrete)];
        let labels = parent_labels(parent).into_iter().chain(backend_labels(&backend.meta)).chain(names).collect();
        let observe = families.handle(labels, self.settings.failfast);
        let (balance, driver) = Balance::observed(config, track::Connect, observe, make);
        Some(Driven::new(balance, driver.run::<_, ()>(updates)))
    }

    /// How the endpoints of a backend are told apart, and which there are.
    fn resolve(&self, backend: &Backend, queue_capacity: usize) -> Option<(Config, Updates)> {
        let config = Config::default()
            .queue_capacity(queue_capacity)
            .failfast(self.settings.failfast)
            // Every balancer rolls its own dice.
            .seed(self.settings.endpoint.dice.roll());
        match &backend.dispatch {
            Dispatch::Fail => None,
            Dispatch::Forward(endpoint) => Some((config, Either::Left(updates::fixed([endpoint.clone()])))),
            Dispatch::Balance { path, load } => {
                let mut config = config.default_rtt(load.default_rtt).decay(load.decay);
                if let Some((rtt, max_retry_after)) = load.penalty {
                    config = config.penalty(Penalty::default().rtt(rtt).max_retry_after(max_retry_after));
                }
                if let Some(accrual) = backend.accrual.as_ref().and_then(breaker) {
                    config = config.accrual(accrual);
                }
                Some((config, Either::Right(self.discovery.endpoints(path.clone()))))
            }
        }
    }
}

/// Endpoints that never change, or those that discovery knows.
type Updates = Either<updates::Fixed, updates::Receiver>;

/// When an endpoint is given a rest; `None` where the numbers do not say.
fn breaker(accrual: &Accrual) -> Option<accrual::Config> {
    Some(match *accrual {
        Accrual::Consecutive { max_failures, backoff } => accrual::Config::consecutive(max_failures, backoff),
        Accrual::Unified { success_rate, window, min_requests, max_failures, backoff, hints } => {
            let config = accrual::Config::unified(window, Ratio::new(success_rate)?, min_requests, max_failures, backoff);
            match hints {
                Hints::Ignored => config,
                Hints::Respected => config.honor_retry_after(backoff.max()),
            }
        }
    })
}

/// An endpoint in this very workload is reached without a detour.
fn local(endpoint: Arc<Endpoint>, settings: &Settings) -> Arc<Endpoint> {
    if !settings.local_ips.contains(&endpoint.addr.ip()) {
        return endpoint;
    }
    let mut plain = Endpoint::new(endpoint.addr).weight(endpoint.weight);
    plain.labels = Arc::clone(&endpoint.labels);
    Arc::new(plain)
}

fn handles(metrics: &Metrics, endpoint: &Endpoint, authority: &str) -> Handles {
    let tls = match &endpoint.tls {
        Some(tls) => [("tls", "true".to_owned()), ("server_id", tls.identity.to_string())],
        None => [("tls", "no_identity".to_owned()), ("no_tls_reason", "not_provided_by_service_discovery".to_owned())],
    };
    let own = |(k, v): (&str, String)| (k.to_owned(), v);
    let destination = || endpoint.labels.iter().map(|(k, v)| (format!("dst_{k}"), v.clone()));
    let known: Vec<_> = target(endpoint.addr).into_iter().chain(tls).map(own).chain(destination()).collect();
    let direction = || own(("direction", "outbound".to_owned()));
    let http: Vec<_> = [direction(), own(("authority", authority.to_owned()))].into_iter().chain(known.iter().cloned()).collect();
    let tcp: Vec<_> = [direction(), own(("peer", "dst".to_owned()))].into_iter().chain(known).collect();
    let names = ["deployment", "statefulset", "daemonset", "k8s_job", "pod"];
    let edge = names.iter().find_map(|key| endpoint.labels.get(*key)).map(|name| Edge(name.clone()));
    Handles { http: metrics.http.handle(&Labels::new(http), edge.as_ref()), tcp: metrics.tcp.endpoint(tcp, endpoint.locality) }
}
